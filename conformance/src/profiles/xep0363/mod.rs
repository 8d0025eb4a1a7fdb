//! Profile `xep0363`: plain PUT and download, as an XMPP client lives through them (`protocol-spec/xep-0363.md`).

mod connection;
mod cors;
mod credentials;
mod download;
mod foreign;
mod names;
mod put;
mod ranges;
mod refusal;
mod takeover;

use crate::case::Case;

pub(super) const TABLES: &[&[Case]] = &[
    put::CASES,
    credentials::CASES,
    foreign::CASES,
    refusal::CASES,
    takeover::CASES,
    names::CASES,
    connection::CASES,
    download::CASES,
    ranges::CASES,
    cors::CASES,
];
