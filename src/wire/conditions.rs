//! Conditions of requests that write or remove, RFC 9110 section 13: `If-Match`, `If-None-Match`, `If-Unmodified-Since`.
//!
//! They are looked at last: a request that would be refused without them is refused for that (section 13.2.1).

use http::{HeaderMap, StatusCode, header};

use super::{
    Call,
    answer::etag,
    download_plan::preconditions::{Comparison, date, names_the_file},
    reply::Reply,
};
use crate::upload::Upload;

/// What a request finds at its URL.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Nothing that GET would serve. An incomplete upload is this to PUT, which makes the file.
    Absent,
    /// An incomplete upload, to a method that is about uploads: it exists, and has no entity tag.
    Incomplete,
    /// A file.
    Complete(&'a Upload),
}

/// Whether a request has any. Most have none, and then nothing needs to be looked up.
#[must_use]
pub fn are_set(headers: &HeaderMap) -> bool {
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// Whether all of them hold.
#[must_use]
pub fn hold(headers: &HeaderMap, target: Target<'_>) -> bool {
    // No tag is empty, so that only `*` names what has none.
    let tag = match target {
        Target::Absent => None,
        Target::Incomplete => Some(String::new()),
        Target::Complete(upload) => Some(etag(upload)),
    };
    let names =
        |field, comparison| tag.as_deref().is_some_and(|tag| names_the_file(headers, field, tag, comparison));
    let is_expected = if headers.contains_key(header::IF_MATCH) {
        names(header::IF_MATCH, Comparison::Strong)
    } else {
        match (target, date(headers, header::IF_UNMODIFIED_SINCE)) {
            (Target::Complete(upload), Some(since)) => {
                let modified = upload.completed_at.unwrap_or(upload.updated_at).0.div_euclid(1000);
                u64::try_from(modified).unwrap_or(0) <= since
            }
            (Target::Complete(_), None) | (Target::Absent | Target::Incomplete, _) => true,
        }
    };
    is_expected && !names(header::IF_NONE_MATCH, Comparison::Weak)
}

/// 412: nothing was done.
pub fn failed(call: &Call<'_>, dialect: &'static str) -> Reply {
    call.house.metrics.refused(dialect, "precondition");
    let detail = "the upload is not what the request's conditions ask for; nothing was changed";
    Reply::problem(StatusCode::PRECONDITION_FAILED, "precondition", detail)
}
