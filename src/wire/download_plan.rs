//! What a GET or HEAD of a complete file is answered with: status, headers, and which bytes follow.
//!
//! ```text
//! request headers ─ preconditions (RFC 9110 section 13.2.2) ─┬─ 304 / 412
//!                                                            └─ ranges (section 14) ─┬─ 200 whole
//!                                                                                    ├─ 206 one range, or parts
//!                                                                                    └─ 416
//! ```
//!
//! Pure, so that every branch is tested without a socket; the adapter streams what the [`Body`] names. Each answer that
//! has a body has a Content-Length, the multipart ones included, and none is ever compressed: clients show progress and
//! resume by it.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::disposition::{Label, label};
use preconditions::Verdict;
use ranges::Selection;

pub(super) mod preconditions;
mod ranges;
#[cfg(test)]
mod tests;

/// The last second of the year 9999 since the Unix epoch: HTTP-date has no later one.
const LATEST_SECOND: u64 = 253_402_300_799;

/// The bytes behind a URL never change, but the file may be removed; a browser asks again after a day at the latest, and
/// gets a 304. `private`, since the URL is the only key to the file: no proxy between keeps a copy beyond its removal.
const KEPT_BY_CLIENTS: HeaderValue = HeaderValue::from_static("private, max-age=86400, immutable");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Not among the names that the `http` crate knows. Web clients embed files from the upload server's own origin.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A complete file as the ledger knows it. Complete is for ever: none of these changes while the file exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servable {
    /// Bytes.
    pub length: u64,
    /// A strong entity tag with its quotes. Nobody can know it before the upload is complete.
    pub etag: String,
    /// When the upload was completed, in milliseconds since the Unix epoch; HTTP sees the whole seconds.
    pub last_modified_ms: i64,
    /// As the uploader gave it. Untrusted.
    pub content_type: Option<String>,
    /// As the uploader gave it. Untrusted.
    pub filename: String,
}

/// The answer, but for the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// 200, 206, 304, 412 or 416.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
}

/// What follows the headers. Ranges are half-open, in bytes of the file, and never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing, whatever Content-Length says: the answer to a HEAD, or one without content.
    Empty,
    Whole,
    One(Range<u64>),
    /// Each part's own header, which begins with its delimiter, then its bytes; after the last one the trailer.
    Many {
        parts: Vec<(Vec<u8>, Range<u64>)>,
        trailer: Vec<u8>,
    },
}

/// Plans the answer to a GET, or a HEAD, of a complete file.
pub fn plan(method_is_head: bool, request: &HeaderMap, file: &Servable) -> Plan {
    match preconditions::judge(request, file) {
        Verdict::Proceed => {}
        Verdict::NotModified => return not_modified(file),
        Verdict::Failed => return without_content(412),
    }
    // RFC 9110 section 14.2: ranges are defined for GET alone
    if method_is_head {
        return Plan { body: Body::Empty, ..whole(file) };
    }
    // RFC 9110 section 13.2.2, step 5: Range counts only while If-Range holds
    if !preconditions::if_range_holds(request, file) {
        return whole(file);
    }
    match ranges::select(request, file.length) {
        Selection::Whole => whole(file),
        Selection::One(range) => one(file, range),
        Selection::Many(ranges) => many(file, ranges),
        Selection::Unsatisfiable => unsatisfiable(file.length),
    }
}

fn whole(file: &Servable) -> Plan {
    let Label { content_type, content_disposition } = label_of(file);
    let mut headers = described(file);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_DISPOSITION, content_disposition);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.length));
    Plan { status: 200, headers, body: Body::Whole }
}

fn one(file: &Servable, range: Range<u64>) -> Plan {
    let mut plan = whole(file);
    plan.status = 206;
    plan.headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    insert_text(&mut plan.headers, CONTENT_RANGE, content_range(&range, file.length));
    plan.body = Body::One(range);
    plan
}

/// RFC 9110 section 14.6. The Content-Range of each part stands in the part, none in the answer's own header.
fn many(file: &Servable, ranges: Vec<Range<u64>>) -> Plan {
    let mut plan = whole(file);
    let boundary = boundary(file, &ranges);
    let Label { content_type, .. } = label_of(file);
    let parts: Vec<_> = ranges
        .into_iter()
        .enumerate()
        .map(|(index, range)| {
            let mut head = if index == 0 { Vec::new() } else { b"\r\n".to_vec() };
            head.extend_from_slice(format!("--{boundary}\r\nContent-Type: ").as_bytes());
            head.extend_from_slice(content_type.as_bytes());
            let content_range = content_range(&range, file.length);
            head.extend_from_slice(format!("\r\nContent-Range: {content_range}\r\n\r\n").as_bytes());
            (head, range)
        })
        .collect();
    let trailer = format!("\r\n--{boundary}--\r\n").into_bytes();
    let length = parts.iter().fold(trailer.len() as u64, |sum, (head, range)| {
        sum.saturating_add(head.len() as u64).saturating_add(range.end - range.start)
    });
    plan.status = 206;
    plan.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    insert_text(&mut plan.headers, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
    plan.body = Body::Many { parts, trailer };
    plan
}

/// RFC 9110 section 15.4.5: what a 200 would say of caching, and no content.
fn not_modified(file: &Servable) -> Plan {
    Plan { status: 304, headers: described(file), body: Body::Empty }
}

/// RFC 9110 section 15.5.17.
fn unsatisfiable(length: u64) -> Plan {
    let mut plan = without_content(416);
    insert_text(&mut plan.headers, CONTENT_RANGE, format!("bytes */{length}"));
    plan
}

fn without_content(status: u16) -> Plan {
    let mut headers = guarded();
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0_u64));
    Plan { status, headers, body: Body::Empty }
}

/// The guards, the validators and how long to keep the file.
fn described(file: &Servable) -> HeaderMap {
    let mut headers = guarded();
    headers.insert(CACHE_CONTROL, KEPT_BY_CLIENTS);
    insert_text(&mut headers, ETAG, file.etag.clone());
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified_second(file));
    insert_text(&mut headers, LAST_MODIFIED, httpdate::fmt_http_date(modified));
    headers
}

/// What every answer carries, so that a stranger's file is inert in whatever browser opens it.
fn guarded() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers
}

fn label_of(file: &Servable) -> Label {
    label(file.content_type.as_deref(), &file.filename)
}

/// The file's time as HTTP can say it: whole seconds of the years 1970 to 9999.
fn modified_second(file: &Servable) -> u64 {
    u64::try_from(file.last_modified_ms.div_euclid(1000)).unwrap_or(0).min(LATEST_SECOND)
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
}

/// A delimiter that the file cannot hold but by chance (2^-128): its uploader would have had to know the entity tag.
/// Derived, not drawn, so that planning stays pure.
fn boundary(file: &Servable, ranges: &[Range<u64>]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"plimsoll byteranges\0");
    hash.update(file.etag.as_bytes());
    for range in ranges {
        hash.update(range.start.to_be_bytes());
        hash.update(range.end.to_be_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Leaves the header out when the text cannot stand in one, which of our own texts only a broken entity tag can cause.
fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
