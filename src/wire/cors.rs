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

/// Names of request headers that a preflight may have allowed beyond ours: a page with several tracing tools sends a dozen.
const MOST_NAMES: usize = 64;
/// Bytes of `Access-Control-Request-Headers` that are read.
const LONGEST_LIST: usize = 4096;

/// The operator's choice of origins.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins whose pages may read our answers; `None` for those of every one.
    pub origins: Option<Vec<HeaderValue>>,
    /// Whether these pages may have the browser send cookies and the like, for a proxy in front that asks for them.
    pub allow_credentials: bool,
    /// Seconds for which a browser may keep a preflight's answer.
    pub max_age: u64,
}

impl Cors {
    /// Headers of every answer, to a page of this origin.
    pub fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        let Some(origins) = &self.origins else {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        };
        // [XEP-138] the answer to another origin, or to none, is another one
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(known) = origins.iter().find(|known| Some(*known) == origin) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, known.clone());
            if self.allow_credentials {
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
    }

    /// The answer to OPTIONS, preflight or not.
    #[must_use]
    pub fn options(&self, request: &HeaderMap) -> Reply {
        let requested = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        // [TUS-123] 200 and not 204: both are good for a preflight, and some clients take nothing else for success
        Reply::new(StatusCode::OK)
            .with(header::ALLOW, METHODS)
            .with(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
            .with(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed(requested))
            .with(header::ACCESS_CONTROL_MAX_AGE, self.max_age)
            .with(header::VARY, "Access-Control-Request-Headers")
    }
}

/// [XEP-137] Our own request headers, and those that a preflight asks for: what proxies, tracing tools and applications add
/// is nothing to us, and does no harm. `*` would not do, since it leaves Authorization out.
fn allowed(requested: Option<&HeaderValue>) -> String {
    let text = requested.and_then(|value| value.to_str().ok()).filter(|text| text.len() <= LONGEST_LIST);
    let is_ours = |name: &str| REQUEST_HEADERS.split(", ").any(|ours| ours.eq_ignore_ascii_case(name));
    let more = text
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim_matches([' ', '\t']))
        .take(MOST_NAMES)
        .filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok() && !is_ours(name));
    more.fold(REQUEST_HEADERS.to_owned(), |list, name| list + ", " + name)
}

/// The methods of an upload's URL, for `Allow`.
pub const ALLOW: &str = METHODS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_names_are_allowed_where_they_are_names_and_not_too_many() {
        let of = |text: &str| allowed(Some(&HeaderValue::from_str(text).unwrap()));
        assert_eq!(allowed(None), REQUEST_HEADERS);
        assert_eq!(of("sentry-trace, apikey"), format!("{REQUEST_HEADERS}, sentry-trace, apikey"));
        assert_eq!(of("authorization,a b,x:y,,\"q\", tus-resumable"), REQUEST_HEADERS);
        let many = (0..100).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&many).split(", ").count(), REQUEST_HEADERS.split(", ").count() + MOST_NAMES);
        assert_eq!(of(&"x".repeat(LONGEST_LIST + 1)), REQUEST_HEADERS);
    }

    #[test]
    fn named_origins_get_their_own_answer_and_strangers_none() {
        // [XEP-138]
        let named = ["https://a.example", "https://b.example"].map(HeaderValue::from_static);
        let marked = |origins: Option<Vec<HeaderValue>>, allow_credentials, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            let cors = Cors { origins, allow_credentials, max_age: 1 };
            cors.mark(origin.map(HeaderValue::from_static).as_ref(), &mut headers);
            let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (
                text(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                text(header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
                text(header::VARY),
            )
        };
        let some = |text: &str| Some(text.to_owned());
        for origin in [None, Some("https://a.example")] {
            assert_eq!(marked(None, false, origin), (some("*"), None, None));
        }
        let all = || Some(named.to_vec());
        for origin in ["https://a.example", "https://b.example"] {
            assert_eq!(marked(all(), false, Some(origin)), (some(origin), None, some("Origin")));
            assert_eq!(marked(all(), true, Some(origin)), (some(origin), some("true"), some("Origin")));
        }
        for origin in [None, Some("https://c.example"), Some("null"), Some("https://a.example.evil")] {
            assert_eq!(marked(all(), true, origin), (None, None, some("Origin")));
        }
    }
}
