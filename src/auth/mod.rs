//! Who may write what, until when: a pure function from a request's credential to a [`Grant`].
//!
//! ```text
//!  X-Session-Token: a.b.c        ─┐                               ┌─ resume, jwt ──┐
//!  Authorization: Bearer a.b.c    │                               │                │
//!  Authorization: Bearer MAC=     │                               ├─ bearer ───────┤
//!  ?X-Amz-Signature=hex           ├─ strongest ── one credential ─┼─ sigv4 ────────┼─ Grant | Denied
//!  ?token=a.b.c                   │                               │                │
//!  ?token=MAC=                    │                               └─ slot_token ───┘
//!  ?v2=hex or ?token=hex          │
//!  ?v=hex                        ─┘
//! ```
//!
//! The request presents one credential: the strongest that is there, whether it is good or not. Why not try them in
//! turn until one fits? Because then a request with a refused JWT and a leaked `v1` token, which never expires, would
//! be let in, and nobody reading the log could say by which of the two.
//!
//! Nothing here reads a clock, a socket or a store, and nothing here knows a status code. The rules are numbered in
//! `protocol-spec/credentials.md`.

mod bearer;
mod jwt;
mod keyring;
mod presented;
mod resume;
mod sigv4;
mod slot_token;
#[cfg(test)]
mod tests;
mod upload_grant;

use keyring::Key;
use presented::{Credential, strongest};

pub use jwt::{MintError, SlotClaims, mint};
pub use keyring::{Keyring, KeyringError, Keys};
pub use presented::Presented;
pub use resume::{ResumeClaims, mint_resume};
pub use upload_grant::{GrantClaims, authorize_grant, authorize_owner, mint_grant};

/// Longest credential looked at, in bytes. Prosody's JWT for a name of 1,000 emoji stays below 8 KiB.
const LONGEST_CREDENTIAL: usize = 16 * 1024;

/// The form of the credential that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HMAC of path and length, without expiry.
    V1,
    /// HMAC of path, length and content type, without expiry.
    V2,
    /// A JWT of Prosody's mod_http_file_share, or one of our own [`mint`].
    Jwt,
    /// A MAC of ejabberd's proposed mod_http_upload_hmac, in either layout.
    Bearer,
    /// A presigned PUT of Amazon S3, Signature Version 4.
    SigV4,
    /// A JWT that lets its subject create uploads, of [`mint_grant`].
    Grant,
    /// A JWT that goes on with one upload, of [`mint_resume`].
    Resume,
    /// A live session of the upload, where its credential has expired or is not shown again.
    Session,
    /// The unguessable URL of an upload, where the configuration lets it suffice.
    Url,
}

impl Scheme {
    /// Whether it is for the one file that a slot was asked for, and signed by whoever hands out slots.
    pub fn is_slot_token(self) -> bool {
        match self {
            Self::V1 | Self::V2 | Self::Jwt | Self::Bearer | Self::SigV4 => true,
            Self::Grant | Self::Resume | Self::Session | Self::Url => false,
        }
    }

    /// A word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Jwt => "jwt",
            Self::Bearer => "bearer",
            Self::SigV4 => "sigv4",
            Self::Grant => "grant",
            Self::Resume => "resume",
            Self::Session => "session",
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
    /// Set when the credential signs the file's name and not its whole path, and so fits other paths with the same last
    /// segment, or signs a path that two names may have: SHA-256 of the credential, in hex. The caller binds it to the first upload that it is used for, and
    /// refuses it for any other.
    pub fingerprint: Option<String>,
    /// The session that gave out the credential, by the hash of its id; the credential ends with it. The caller asks whether
    /// it is there.
    pub session: Option<String>,
}

impl Grant {
    /// What the unguessable URL of an upload grants by itself.
    #[must_use]
    pub fn of_url() -> Self {
        Self::of(Scheme::Url)
    }

    /// A grant of this scheme that says nothing more.
    #[must_use]
    pub fn of(scheme: Scheme) -> Self {
        Self {
            scheme,
            subject: None,
            size: None,
            max_size: None,
            filename: None,
            content_type: None,
            issued_at_ms: None,
            expires_at_ms: None,
            retain_until_ms: None,
            fingerprint: None,
            session: None,
        }
    }
}

/// What the configuration adds to the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long after its issue a Bearer token of layout 1 expires, in milliseconds. It signs the moment of issue alone.
    pub bearer_lifetime_ms: i64,
    /// The same of layout 2, which signs both moments.
    pub bearer_resilient_lifetime_ms: i64,
    /// Whether a presigned URL may sign length and type as parameters of its query instead of as headers.
    pub presigned_headers_in_query: bool,
}

impl Default for Rules {
    /// The lifetimes that the module's proposal names.
    fn default() -> Self {
        Self {
            bearer_lifetime_ms: 3_600_000,
            bearer_resilient_lifetime_ms: 86_400_000,
            presigned_headers_in_query: false,
        }
    }
}

/// Why a request got no [`Grant`]. Its text holds neither secret nor token nor name, so it may be logged and shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("no credential was presented")]
    Missing,
    #[error("the credential is malformed: {why}")]
    Malformed { carrier: Carrier, why: &'static str },
    /// Signed with none of our secrets, or for another path, length or content type: where a MAC is all there is, these
    /// are one.
    #[error("the credential's signature does not match this request")]
    BadSignature { carrier: Carrier },
    /// The same of a MAC that signs the content type too, which clients set as they like: a good slot whose PUT names
    /// another type looks like a forged one.
    #[error("the credential's signature does not match this request or its content type")]
    BadSignatureOrType { carrier: Carrier },
    #[error("the credential was issued for another upload")]
    WrongPath { carrier: Carrier },
    #[error("the credential is for {signed} bytes, the request announces {claimed}")]
    WrongSize { signed: u64, claimed: u64 },
    /// Every MAC signs the length, so none can be verified while it is unknown.
    #[error("the complete length must be announced: the credential signs it")]
    LengthRequired,
    #[error("the credential is not valid yet")]
    NotYetValid { from_ms: i64 },
    /// Judged last: the credential is right in everything else, and `grant` is what it granted until then. Whoever takes
    /// it all the same, for a grace period or a session, decides so by name.
    #[error("the credential has expired")]
    Expired { at_ms: i64, grant: Box<Grant> },
}

impl Denied {
    /// [AUT-100] Whether somebody who guesses credentials would see this: a signature that none of the secrets made. What
    /// is genuine and does not fit, what is malformed and what is late is no guess.
    #[must_use]
    pub fn is_a_guess(&self) -> bool {
        match self {
            Self::BadSignature { .. } => true,
            Self::Missing
            | Self::Malformed { .. }
            | Self::BadSignatureOrType { .. }
            | Self::WrongPath { .. }
            | Self::WrongSize { .. }
            | Self::LengthRequired
            | Self::NotYetValid { .. }
            | Self::Expired { .. } => false,
        }
    }
}

/// Judges the strongest credential of a request to write an upload at `now_ms`, milliseconds since the Unix epoch.
///
/// # Errors
/// Why it grants nothing.
pub fn authorize(
    keys: &Keyring,
    rules: &Rules,
    presented: &Presented<'_>,
    now_ms: i64,
) -> Result<Grant, Denied> {
    let grant = match strongest(presented)? {
        Credential::Jwt { carrier, token } => {
            let claims = jwt::signed_claims(keys, carrier, &token)?;
            // [AUT-70] the scope, which is signed, tells the one from the other
            match resume::is_resume(&claims) {
                true => resume::judge(&claims, presented, carrier, now_ms),
                false => jwt::judge(&claims, presented, carrier, now_ms),
            }
        }
        Credential::Bearer { carrier, mac } => bearer::judge(keys, rules, presented, carrier, &mac),
        Credential::SigV4 => sigv4::judge(keys, rules, presented, now_ms),
        Credential::V2(hex) => slot_token::verify_v2(keys, presented, &hex),
        Credential::V1(hex) => slot_token::verify_v1(keys, presented, &hex),
    }?;
    unexpired(grant, now_ms)
}

/// [AUT-25] Expired at the moment that the credential names, without leeway; judged when all else is right.
fn unexpired(grant: Grant, now_ms: i64) -> Result<Grant, Denied> {
    match grant.expires_at_ms {
        Some(at_ms) if now_ms >= at_ms => Err(Denied::Expired { at_ms, grant: Box::new(grant) }),
        Some(_) | None => Ok(grant),
    }
}

/// The last segment of a path.
fn last_segment(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
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

/// A number without sign, fraction or leading zeros: one spelling each.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text == "0" || !text.starts_with('0');
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain && is_digits { text.parse().ok() } else { None }
}
