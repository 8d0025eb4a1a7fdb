//! Cross-origin access: every route, before any credential is looked at.
//!
//! A browser drops an answer without these headers, a refusal as well as a success, and a web client then reports
//! a network error where it should have shown the reason. So they stand on every answer, and OPTIONS is answered
//! everywhere.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::reply::Reply;

const METHODS: &str = "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Content-Length, Content-Range, Content-Disposition, \
    Accept, Range, If-Match, If-None-Match, If-Range, If-Modified-Since, If-Unmodified-Since, \
    X-Requested-With, X-Request-ID, X-HTTP-Method-Override, \
    X-Session-ID, X-Session-Token, X-Upload-ID, X-Upload-Session, X-Upload-Type, \
    Tus-Resumable, Upload-Length, Upload-Offset, Upload-Defer-Length, Upload-Metadata, Upload-Checksum, Upload-Concat, \
    Upload-Complete, Upload-Draft-Interop-Version, Upload-Limit, Repr-Digest, Content-Digest";
const EXPOSED_HEADERS: &str = "Location, ETag, Last-Modified, Content-Length, Content-Range, Content-Disposition, \
    Accept-Ranges, Range, Retry-After, WWW-Authenticate, X-Request-ID, \
    X-Session-ID, X-Session-Token, X-Session-Expires, X-Upload-Session-Timeout, X-Upload-ID, X-Upload-Status, \
    X-Upload-Type, \
    Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, \
    Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Expires, Upload-Concat, \
    Upload-Complete, Upload-Limit, Upload-Draft-Interop-Version, Repr-Digest";

/// The operator's choice of origins.
#[derive(Clone, Debug)]
pub struct Cors {
    /// `Access-Control-Allow-Origin`.
    pub allow_origin: HeaderValue,
    /// Seconds for which a browser may keep a preflight's answer.
    pub max_age: u64,
}

impl Cors {
    /// Headers of every answer.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let set = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, self.allow_origin.clone()),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("false")),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS)),
        ];
        headers.extend(set.map(|(name, value): (HeaderName, HeaderValue)| (name, value)));
        if self.allow_origin != "*" {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// The answer to OPTIONS, preflight or not.
    #[must_use]
    pub fn options(&self) -> Reply {
        Reply::new(StatusCode::NO_CONTENT)
            .with(header::ALLOW, METHODS)
            .with(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
            .with(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
            .with(header::ACCESS_CONTROL_MAX_AGE, self.max_age)
    }
}

/// The methods of an upload's URL, for `Allow`.
pub const ALLOW: &str = METHODS;
