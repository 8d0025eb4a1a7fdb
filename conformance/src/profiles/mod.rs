//! The tables of cases. A further dialect adds a [`Profile`], a module here, and a page in `protocol-spec/`.

mod content_range;
mod cross;
mod session;
mod tus;
mod xep0363;

use crate::case::{Case, Profile};
use crate::report::Line;

/// The cases of a profile, in the order of its page.
pub fn cases(profile: Profile) -> impl Iterator<Item = (Profile, Case)> {
    let tables: &[&[Case]] = match profile {
        Profile::Xep0363 => xep0363::TABLES,
        Profile::ContentRange => content_range::TABLES,
        Profile::Tus => tus::TABLES,
        Profile::Cross => cross::TABLES,
        Profile::Session => session::TABLES,
    };
    tables.iter().flat_map(|table| table.iter()).map(move |case| (profile, *case))
}

/// The pairs of dialects as a table, when the report has any.
pub fn matrix(lines: &[Line]) -> Option<String> {
    cross::matrix(lines)
}
