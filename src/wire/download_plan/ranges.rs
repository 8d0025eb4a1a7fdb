//! The Range field of a GET, RFC 9110 section 14.

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// The most parts that one answer has. Each costs a header and a seek; who asks for more gets the whole file.
pub(super) const MOST_PARTS: usize = 16;

/// Which bytes are asked for. Ranges are half-open, not empty and within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// Also when the field is malformed or of another unit, which is to be ignored.
    Whole,
    One(Range<u64>),
    /// At least two, no two of which overlap or touch.
    Many(Vec<Range<u64>>),
    Unsatisfiable,
}

pub(super) fn select(request: &HeaderMap, length: u64) -> Selection {
    let mut values = request.get_all(RANGE).iter();
    // Range is no list: two of them are malformed
    let (Some(value), None) = (values.next(), values.next()) else { return Selection::Whole };
    let Some(specs) = value.to_str().ok().and_then(parse) else { return Selection::Whole };
    // RFC 9110 section 14.1.2: a suffix of an empty file is satisfiable, and is all of it. [XEP-132] `bytes=0-`
    // asks for all of it too, and RFC 9110 section 14.2 lets us ignore the field.
    if length == 0 && specs.iter().any(|spec| matches!(spec, Spec::Suffix(1..) | Spec::From(0))) {
        return Selection::Whole;
    }
    let asked: Vec<_> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    let merged = merged(asked.clone());
    match merged.as_slice() {
        [] => Selection::Unsatisfiable,
        [range] => Selection::One(range.clone()),
        // RFC 9110 section 14.2: many small or overlapping ranges may be an attack, and may be ignored
        [..] if merged.len() > MOST_PARTS => Selection::Whole,
        // RFC 9110 section 15.3.7.2: in the order asked for, unless some were merged
        [..] if merged.len() == asked.len() => Selection::Many(asked),
        [..] => Selection::Many(merged),
    }
}

/// One range as it is written, its positions inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    FromTo(u64, u64),
    From(u64),
    Suffix(u64),
}

impl Spec {
    /// What of it lies within the file; `None` when nothing does.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Suffix(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// All ranges of a `bytes=` set, or `None` when any is malformed: then the whole field is.
fn parse(text: &str) -> Option<Vec<Spec>> {
    let (unit, set) = text.trim().split_once('=')?;
    // RFC 9110 section 14.1: units are case-insensitive
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let members = set.split(',').map(|member| member.trim_matches([' ', '\t']));
    // RFC 9110 section 5.6.1.2: empty members of a list are skipped
    let specs = members.filter(|member| !member.is_empty()).map(spec).collect::<Option<Vec<_>>>()?;
    (!specs.is_empty()).then_some(specs)
}

fn spec(text: &str) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => position(last).map(Spec::Suffix),
        (false, true) => position(first).map(Spec::From),
        (false, false) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Spec::FromTo(first, last))
        }
    }
}

/// Digits alone. A number beyond any file is as good as the largest.
fn position(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Ascending, with those that overlap or touch made one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len().min(MOST_PARTS + 1));
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}
