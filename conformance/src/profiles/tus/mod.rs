//! Profile `tus`: tus 1.0.0 with its extensions (`protocol-spec/tus-1.0.md`).
//!
//! The core is asked of every target. An extension's rules are asked where Tus-Extension names it, and a few rules where
//! the command line says how the target is configured.

mod access;
mod checksum;
mod concat;
mod concat_refusal;
mod create;
mod cut;
mod defer;
mod expiration;
mod head;
mod metadata;
mod options;
mod overriding;
mod patch;
mod repeat;
mod syntax;
mod takeover;
mod terminate;
mod version;
mod with_upload;

use crate::case::{Case, Need};

pub(super) const TABLES: &[&[Case]] = &[
    options::CASES,
    version::CASES,
    syntax::CASES,
    overriding::CASES,
    head::CASES,
    patch::CASES,
    cut::CASES,
    create::CASES,
    metadata::CASES,
    with_upload::CASES,
    defer::CASES,
    expiration::CASES,
    checksum::CASES,
    terminate::CASES,
    concat::CASES,
    concat_refusal::CASES,
    access::CASES,
    takeover::CASES,
    repeat::CASES,
];

const MAX_SIZE: &[Need] = &[Need::MaxSize];
const WITH_UPLOAD: &[Need] = &[Need::Extension("creation-with-upload")];
const DEFER: &[Need] = &[Need::Extension("creation-defer-length")];
const EXPIRATION: &[Need] = &[Need::Extension("expiration")];
const CHECKSUM: &[Need] = &[Need::Extension("checksum")];
const TRAILER: &[Need] = &[Need::Extension("checksum-trailer")];
const TERMINATION: &[Need] = &[Need::Extension("termination")];
const CONCATENATION: &[Need] = &[Need::Extension("concatenation")];
