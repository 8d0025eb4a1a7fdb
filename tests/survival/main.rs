//! An upload survives its token, its client's address and the restart of either side; and nobody else gets in by that.
//!
//! In process, with a clock that stands still until a case moves it: ages, grace and the holes of the system that this
//! one replaces. As a process: restarts, a Redis that dies, what is written down, and the page for client authors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect"
)]

#[path = "../common/mod.rs"]
mod common;

mod ages;
mod grace;
mod guide;
mod holes;
mod leaks;
mod limits;
mod outages;
mod restarts;
mod site;
mod tokens;
