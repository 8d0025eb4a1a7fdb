//! Profile `session`: an upload survives its token, its client's address and its client's restart
//! (`protocol-spec/session.md`).
//!
//! Nothing here waits for a token to expire: the suite mints tokens that have expired already, for slots that a live
//! token of the same claims began. Requests carry no User-Agent where grace must not be what lets them in.

mod abuse;
mod address;
mod ending;
mod grace;
mod holes;
mod joining;
mod opening;
mod recovery;
mod refresh;
mod resource;

use crate::case::{Case, Condition, Need};

pub(super) const TABLES: &[&[Case]] = &[
    opening::CASES,
    joining::CASES,
    recovery::CASES,
    refresh::CASES,
    ending::CASES,
    holes::CASES,
    resource::CASES,
    grace::CASES,
    address::CASES,
    abuse::CASES,
];

const TWO_ADDRESSES: &[Need] = &[Need::Session(Condition::TwoAddresses)];
const TRUSTED_PROXY: &[Need] = &[Need::Session(Condition::TrustedProxy)];

/// Sizes of files, in bytes, and of what is sent of them at first.
const SIZE: usize = 30_000;
const HALF: usize = 12_000;

/// Seconds since a token expired, where no window matters.
const HOUR: i64 = 3600;

/// A subject that is not the suite's usual one.
const STRANGER: &str = "mercutio@verona.tld";
