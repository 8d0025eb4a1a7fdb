//! Conditional requests, RFC 9110 section 13, for a file that exists and never changes.

use std::time::SystemTime;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};

use super::{Servable, modified_second};

/// What the preconditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

/// The first four steps of RFC 9110 section 13.2.2, in its order of precedence.
pub(super) fn judge(request: &HeaderMap, file: &Servable) -> Verdict {
    let modified = modified_second(file);
    // Steps 1 and 2: a date is not looked at beside a tag
    let unchanged = if request.contains_key(IF_MATCH) {
        names_the_file(request, IF_MATCH, &file.etag, Comparison::Strong)
    } else {
        date(request, IF_UNMODIFIED_SINCE).is_none_or(|since| modified <= since)
    };
    if !unchanged {
        return Verdict::Failed;
    }
    // Steps 3 and 4: the same for the other pair
    let known = if request.contains_key(IF_NONE_MATCH) {
        names_the_file(request, IF_NONE_MATCH, &file.etag, Comparison::Weak)
    } else {
        date(request, IF_MODIFIED_SINCE).is_some_and(|since| modified <= since)
    };
    if known { Verdict::NotModified } else { Verdict::Proceed }
}

/// RFC 9110 section 13.1.5: true without the field, or when it names this very file. Both a weak tag and another date
/// are false. The date is a strong validator here: a file is completed once, and never again under its URL.
pub(super) fn if_range_holds(request: &HeaderMap, file: &Servable) -> bool {
    let mut values = request.get_all(IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.to_str().is_ok_and(|text| {
            let text = text.trim();
            text == file.etag || parse_date(text) == Some(modified_second(file))
        }),
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9110 section 8.8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum Comparison {
    Strong,
    Weak,
}

/// Whether the field is `*`, or one of its tags is the file's. A list that breaks off counts up to the break.
pub(in crate::wire) fn names_the_file(
    request: &HeaderMap,
    field: HeaderName,
    etag: &str,
    comparison: Comparison,
) -> bool {
    request.get_all(field).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.trim() == "*"
            || EntityTags(list).any(|(weak, tag)| tag == etag && (comparison == Comparison::Weak || !weak))
    })
}

/// The tags of a list, each with its quotes and whether it is weak. Commas may stand inside of the quotes.
struct EntityTags<'a>(&'a str);

impl<'a> Iterator for EntityTags<'a> {
    type Item = (bool, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([',', ' ', '\t']);
        let (weak, rest) = match rest.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let end = rest.strip_prefix('"')?.find('"')? + 2;
        let (tag, rest) = rest.split_at_checked(end)?;
        // What follows a tag is a comma or the end: a run of two tags is no list
        let delimited = rest.trim_start_matches([' ', '\t']);
        self.0 = if delimited.is_empty() || delimited.starts_with(',') { delimited } else { "" };
        Some((weak, tag))
    }
}

/// Seconds since the Unix epoch. A repeated field or one that is no HTTP-date is ignored, as RFC 9110 sections 13.1.3 and
/// 13.1.4 ask.
pub(in crate::wire) fn date(request: &HeaderMap, field: HeaderName) -> Option<u64> {
    let mut values = request.get_all(field).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_date(value.to_str().ok()?.trim())
}

fn parse_date(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}
