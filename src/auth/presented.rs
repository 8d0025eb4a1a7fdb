//! What a request shows, and which of it counts.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use super::{
    Carrier, Denied, LONGEST_CREDENTIAL, bearer, malformed_header, malformed_query, refuse_nul, sigv4,
    slot_token,
};

/// What a request shows of itself to be judged.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Percent-decoded once; the base path and the `/` after it are stripped, and `+` is left alone.
    pub path: &'a str,
    /// The raw query without its `?`.
    pub query: Option<&'a str>,
    /// The raw value of the Authorization header.
    pub authorization: Option<&'a [u8]>,
    /// The length of the complete file in bytes: Content-Length of a plain PUT, S of a Content-Range, Upload-Length, or
    /// what the ledger holds. Never the length of one range.
    pub length: Option<u64>,
    /// The content types that a v2 token may have been signed for: the request's and the ledger's. Empty when neither
    /// names one.
    pub content_types: &'a [&'a str],
    /// The raw value of the X-Session-Token header. It is a credential when it has the form of a JWT; else it is a
    /// session's id, of which nothing here knows.
    pub session_token: Option<&'a [u8]>,
    /// The request's path as it was sent: with the base path, and percent-encoded.
    pub raw_path: &'a str,
    /// The hosts that a presigned URL may have been signed for, with their ports where they are not the scheme's own: the
    /// request's Host or `:authority`, and that of the public URL.
    pub hosts: &'a [&'a str],
    /// Another header of the request by its name in small letters, its values joined with commas; `None` when it is
    /// absent. Asked for what a presigned URL signs besides the host, the length and the type.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Presented<'_> {
    /// A request that shows nothing: what the fields that a caller does not know are filled with.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            path: "",
            query: None,
            authorization: None,
            length: None,
            content_types: &[],
            session_token: None,
            raw_path: "",
            hosts: &[],
            header: &|_| None,
        }
    }

    /// The upload's whole name: the raw path decoded once. [AUT-15] It ends with the path that all else is judged by, or
    /// it names another upload.
    pub(super) fn name(&self, carrier: Carrier) -> Result<Cow<'_, str>, Denied> {
        let wrong = Denied::WrongPath { carrier };
        let Ok(name) = percent_decode_str(self.raw_path).decode_utf8() else { return Err(wrong) };
        refuse_nul(&name, carrier)?;
        let base = name.strip_suffix(self.path).filter(|_| !self.path.is_empty());
        match base {
            Some(base) if base.is_empty() || base.ends_with('/') => Ok(name),
            Some(_) | None => Err(wrong),
        }
    }
}

impl fmt::Debug for Presented<'_> {
    /// Leaves the query and the header out, since they carry the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("path", &self.path)
            .field("length", &self.length)
            .field("content_types", &self.content_types)
            .finish_non_exhaustive()
    }
}

/// The one credential that counts, by its form.
pub(super) enum Credential<'a> {
    Jwt { carrier: Carrier, token: Cow<'a, str> },
    Bearer { carrier: Carrier, mac: [u8; 32] },
    SigV4,
    V2(Cow<'a, str>),
    V1(Cow<'a, str>),
}

/// Picks the one credential that counts, by its form alone.
///
/// [AUT-2] The order is: a JWT in X-Session-Token; Authorization: Bearer; the X-Amz parameters; `token` with a JWT; `token`
/// with a MAC in base64; `v2`, or `token` with hex; `v`. What is weaker is not looked at, however the stronger one turns
/// out.
pub(super) fn strongest<'a>(presented: &Presented<'a>) -> Result<Credential<'a>, Denied> {
    if let Some(header) = presented.session_token
        && let Some(token) = session_jwt(header)?
    {
        return Ok(Credential::Jwt { carrier: Carrier::Header, token: Cow::Borrowed(token) });
    }
    if let Some(header) = presented.authorization
        && let Some(token) = bearer_token(header)?
    {
        // [AUT-6] a Bearer of a form we do not know still is the request's credential
        return signed_form(Carrier::Header, &Cow::Borrowed(token))
            .ok_or(malformed_header("the Bearer token is neither a JWT nor 32 bytes in base64"));
    }
    let query = presented.query.unwrap_or_default();
    if sigv4::is_presented(query) {
        return Ok(Credential::SigV4);
    }
    let token = parameter(query, "token").map_err(malformed_query)?;
    if let Some(token) = &token
        && let Some(credential) = signed_form(Carrier::Query, token)
    {
        return Ok(credential);
    }
    match (token, parameter(query, "v2").map_err(malformed_query)?) {
        // [AUT-3] two names for one credential are one too many
        (Some(_), Some(_)) => Err(malformed_query("both v2 and token are given")),
        (Some(hex), None) if slot_token::has_tag_length(&hex) => Ok(Credential::V2(hex)),
        (Some(_), None) => Err(malformed_query("token is neither a JWT nor a MAC in base64 or hex")),
        (None, Some(hex)) => Ok(Credential::V2(hex)),
        (None, None) => {
            parameter(query, "v").map_err(malformed_query)?.map(Credential::V1).ok_or(Denied::Missing)
        }
    }
}

/// The two forms that may stand in a Bearer header, and as `token`: 44 letters with padding are no hex, and without dots
/// no JWT.
fn signed_form<'a>(carrier: Carrier, token: &Cow<'a, str>) -> Option<Credential<'a>> {
    if is_jwt(token) {
        return Some(Credential::Jwt { carrier, token: token.clone() });
    }
    let mac = bearer::mac_of(token)?;
    Some(Credential::Bearer { carrier, mac })
}

/// [AUT-14] The JWT of an X-Session-Token header; `None` when the header is a session's id, or anything else that is none
/// of our business.
fn session_jwt(header: &[u8]) -> Result<Option<&str>, Denied> {
    let token = std::str::from_utf8(header.trim_ascii()).ok();
    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()) && is_jwt(token));
    match token {
        Some(token) if token.len() > LONGEST_CREDENTIAL => {
            Err(malformed_header("the session token is too long"))
        }
        Some(_) | None => Ok(token),
    }
}

/// The token of a Bearer header; `None` when the header is empty or speaks of another scheme.
fn bearer_token(header: &[u8]) -> Result<Option<&str>, Denied> {
    let header = header.trim_ascii();
    let (scheme, rest) = match header.iter().position(|byte| *byte == b' ') {
        Some(space) => header.split_at(space),
        None => (header, &[][..]),
    };
    if !scheme.iter().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed_header("the Authorization header is not readable"));
    }
    // [AUT-5] Basic and the like belong to somebody else; the query counts
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = std::str::from_utf8(rest.trim_ascii())
        .ok()
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(malformed_header("the Bearer token is not readable"))?;
    match token.len() {
        0 => Err(malformed_header("the Bearer token is empty")),
        1..=LONGEST_CREDENTIAL => Ok(Some(token)),
        _ => Err(malformed_header("the Bearer token is too long")),
    }
}

/// The value of a query parameter, percent-decoded once; `+` stays a plus. Names are compared as they stand. The error says
/// what is wrong with it.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, &'static str> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let Some(value) = values.next() else { return Ok(None) };
    // [AUT-3] of two values neither is the one
    if values.next().is_some() {
        return Err("a credential parameter is repeated");
    }
    // [AUT-4] an empty, endless or unreadable value is a credential gone wrong, not an absent one
    if value.is_empty() {
        return Err("a credential parameter is empty");
    }
    if value.len() > LONGEST_CREDENTIAL {
        return Err("a credential parameter is too long");
    }
    let value = percent_decode_str(value).decode_utf8();
    value.map(Some).map_err(|_| "a credential parameter is not UTF-8")
}

/// Three parts with dots between them: the compact form of RFC 7515.
fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}
