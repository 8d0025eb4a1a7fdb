//! Who may write what, until when: a pure function from a request's credential to a [`Grant`].
//!
//! ```text
//!  Authorization: Bearer a.b.c ─┐
//!  ?token=a.b.c                 ├─ strongest() ─ one credential ─┬─ jwt::verify ────┐
//!  ?v2=hex or ?token=hex        │                                └─ slot_token::… ──┴─ Grant | Denied
//!  ?v=hex                      ─┘
//! ```
//!
//! The request presents one credential: the strongest that is there, whether it is good or not. Why not try them in
//! turn until one fits? Because then a request with a refused JWT and a leaked `v1` token, which never expires, would
//! be let in, and nobody reading the log could say by which of the two.
//!
//! Nothing here reads a clock, a socket or a store, and nothing here knows a status code. The rules are numbered in
//! `protocol-spec/credentials.md`.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit};
use jsonwebtoken::{DecodingKey, EncodingKey};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

mod jwt;
mod slot_token;
#[cfg(test)]
mod tests;
mod upload_grant;

pub use jwt::{MintError, SlotClaims, mint};
pub use upload_grant::{GrantClaims, authorize_grant, mint_grant};

/// Longest credential looked at, in bytes. Prosody's JWT for a name of 1,000 emoji stays below 8 KiB.
const LONGEST_CREDENTIAL: usize = 16 * 1024;

/// The secrets that slots may be signed with, newest first, so that a secret can be replaced while slots signed with
/// the older one are still out. Minting takes the newest; verifying tries all of them.
pub struct Keyring {
    newest: Key,
    older: Vec<Key>,
}

/// One secret in the forms its users want it in. The key of each MAC is the secret's raw bytes.
struct Key {
    mac: Hmac<Sha256>,
    verify: DecodingKey,
    sign: EncodingKey,
}

/// Why a [`Keyring`] could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("no slot secret is configured")]
    NoSecret,
    /// An empty secret would let anybody mint slots.
    #[error("a slot secret is empty")]
    EmptySecret,
}

impl Keyring {
    /// Takes the raw bytes of each secret, newest first.
    pub fn new(secrets: Vec<Vec<u8>>) -> Result<Self, KeyringError> {
        let mut keys =
            secrets.iter().map(|secret| Key::new(secret)).collect::<Result<Vec<_>, _>>()?.into_iter();
        let newest = keys.next().ok_or(KeyringError::NoSecret)?;
        Ok(Self { newest, older: keys.collect() })
    }

    fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.older)
    }
}

impl Key {
    fn new(secret: &[u8]) -> Result<Self, KeyringError> {
        // [AUT-1] an empty secret signs nothing
        if secret.is_empty() {
            return Err(KeyringError::EmptySecret);
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| KeyringError::EmptySecret)?;
        Ok(Self { mac, verify: DecodingKey::from_secret(secret), sign: EncodingKey::from_secret(secret) })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} secrets, masked)", 1 + self.older.len())
    }
}

/// A ring that can be exchanged while it is in use, so that secrets rotate without a restart.
#[derive(Debug)]
pub struct Keys(RwLock<Arc<Keyring>>);

impl Keys {
    /// These keys to begin with.
    #[must_use]
    pub fn new(ring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(ring)))
    }

    /// The ring as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Take another ring from now on.
    pub fn replace(&self, ring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }
}

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

/// The form of the credential that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HMAC of path and length, without expiry.
    V1,
    /// HMAC of path, length and content type, without expiry.
    V2,
    /// A JWT of Prosody's mod_http_file_share, or one of our own [`mint`].
    Jwt,
    /// A JWT that lets its subject create uploads, of [`mint_grant`].
    Grant,
    /// The unguessable URL of an upload, where the configuration lets it suffice.
    Url,
}

impl Scheme {
    /// A word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Jwt => "jwt",
            Self::Grant => "grant",
            Self::Url => "url",
        }
    }
}

/// Where the credential stood. A refused one in the header asks for a WWW-Authenticate answer, one in the URL does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Header,
    Query,
}

/// Permission to write the one upload at the presented path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub scheme: Scheme,
    /// The JID that the slot was made for, where the token names it.
    pub subject: Option<String>,
    /// The signed length of the complete file in bytes.
    pub size: Option<u64>,
    /// The largest complete length in bytes, where the credential bounds it instead of fixing it.
    pub max_size: Option<u64>,
    /// The file's name as the uploader gave it. Untrusted text: never a path in storage.
    pub filename: Option<String>,
    /// The signed media type, where the token names one. Untrusted text.
    pub content_type: Option<String>,
    /// Milliseconds since the Unix epoch, as all times here.
    pub issued_at_ms: Option<i64>,
    /// From this moment on the credential is refused; `None` when its form has no expiry.
    pub expires_at_ms: Option<i64>,
    /// When the finished file may be deleted, where the token says so.
    pub retain_until_ms: Option<i64>,
}

impl Grant {
    /// What the unguessable URL of an upload grants by itself.
    #[must_use]
    pub fn of_url() -> Self {
        Self {
            scheme: Scheme::Url,
            subject: None,
            size: None,
            max_size: None,
            filename: None,
            content_type: None,
            issued_at_ms: None,
            expires_at_ms: None,
            retain_until_ms: None,
        }
    }
}

/// Why a request got no [`Grant`]. Holds neither secret nor token text, so it may be logged and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("no credential was presented")]
    Missing,
    #[error("the credential is malformed: {why}")]
    Malformed { carrier: Carrier, why: &'static str },
    /// Signed with none of our secrets, or for another path, length or content type: for v1 and v2 these are one.
    #[error("the credential's signature does not match this request")]
    BadSignature { carrier: Carrier },
    #[error("the credential was issued for another upload")]
    WrongPath { carrier: Carrier },
    #[error("the credential is for {signed} bytes, the request announces {claimed}")]
    WrongSize { signed: u64, claimed: u64 },
    /// v1 and v2 sign the length, so they cannot be verified while it is unknown.
    #[error("the complete length must be announced: the credential signs it")]
    LengthRequired,
    #[error("the credential is not valid yet")]
    NotYetValid { from_ms: i64 },
    /// Judged last: an expired credential is right in everything else.
    #[error("the credential has expired")]
    Expired { at_ms: i64 },
}

/// Judges the strongest credential of a request at `now_ms`, milliseconds since the Unix epoch.
pub fn authorize(keys: &Keyring, presented: &Presented<'_>, now_ms: i64) -> Result<Grant, Denied> {
    match strongest(presented)? {
        Credential::Jwt { carrier, token } => jwt::verify(keys, presented, carrier, &token, now_ms),
        Credential::V2(hex) => slot_token::verify_v2(keys, presented, &hex),
        Credential::V1(hex) => slot_token::verify_v1(keys, presented, &hex),
    }
}

/// The JWT that a request presents, and where.
fn jwt_of<'a>(presented: &Presented<'a>) -> Result<(Carrier, Cow<'a, str>), Denied> {
    match strongest(presented)? {
        Credential::Jwt { carrier, token } => Ok((carrier, token)),
        Credential::V2(_) | Credential::V1(_) => Err(malformed_query("a grant is a JWT")),
    }
}

enum Credential<'a> {
    Jwt { carrier: Carrier, token: Cow<'a, str> },
    V2(Cow<'a, str>),
    V1(Cow<'a, str>),
}

/// Picks the one credential that counts, by its form alone.
///
/// [AUT-2] The order is: Bearer header, `token` with a JWT, `v2` or `token` with hex, `v`. What is weaker is not looked
/// at, however the stronger one turns out.
fn strongest<'a>(presented: &Presented<'a>) -> Result<Credential<'a>, Denied> {
    if let Some(header) = presented.authorization
        && let Some(token) = bearer(header)?
    {
        // [AUT-6] a Bearer of a form we do not know still is the request's credential
        return match is_jwt(token) {
            true => Ok(Credential::Jwt { carrier: Carrier::Header, token: Cow::Borrowed(token) }),
            false => Err(malformed_header("the Bearer token is not a JWT")),
        };
    }
    let query = presented.query.unwrap_or_default();
    let token = parameter(query, "token")?;
    if let Some(token) = &token
        && is_jwt(token)
    {
        return Ok(Credential::Jwt { carrier: Carrier::Query, token: token.clone() });
    }
    match (token, parameter(query, "v2")?) {
        // [AUT-3] two names for one credential are one too many
        (Some(_), Some(_)) => Err(malformed_query("both v2 and token are given")),
        (Some(hex), None) if slot_token::has_tag_length(&hex) => Ok(Credential::V2(hex)),
        (Some(_), None) => Err(malformed_query("token is neither a JWT nor 64 hex digits")),
        (None, Some(hex)) => Ok(Credential::V2(hex)),
        (None, None) => parameter(query, "v")?.map(Credential::V1).ok_or(Denied::Missing),
    }
}

/// The token of a Bearer header; `None` when the header is empty or speaks of another scheme.
fn bearer(header: &[u8]) -> Result<Option<&str>, Denied> {
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

/// The value of a query parameter, percent-decoded once; `+` stays a plus. Names are compared as they stand.
fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Denied> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let Some(value) = values.next() else { return Ok(None) };
    // [AUT-3] of two values neither is the one
    if values.next().is_some() {
        return Err(malformed_query("a credential parameter is repeated"));
    }
    // [AUT-4] an empty, endless or unreadable value is a credential gone wrong, not an absent one
    if value.is_empty() {
        return Err(malformed_query("a credential parameter is empty"));
    }
    if value.len() > LONGEST_CREDENTIAL {
        return Err(malformed_query("a credential parameter is too long"));
    }
    let value = percent_decode_str(value).decode_utf8();
    value.map(Some).map_err(|_| malformed_query("a credential parameter is not UTF-8"))
}

/// Three parts with dots between them: the compact form of RFC 7515.
fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// [AUT-7] No XMPP server can sign a NUL in a path, since XML cannot hold one. It separates the fields of v2: were it let
/// through, a v2 slot asked for with the content type `x 999` would pass as a v1 slot of 999 bytes.
fn refuse_nul(path: &str, carrier: Carrier) -> Result<(), Denied> {
    if path.contains('\0') { Err(Denied::WrongPath { carrier }) } else { Ok(()) }
}

fn malformed_header(why: &'static str) -> Denied {
    Denied::Malformed { carrier: Carrier::Header, why }
}

fn malformed_query(why: &'static str) -> Denied {
    Denied::Malformed { carrier: Carrier::Query, why }
}
