//! The token that goes on with one upload: what a session gives to whoever recovers it.
//!
//! A JWT with the scope `resume`, signed with the ring's newest secret. It names one upload by its whole name, so a token
//! of one base path opens nothing below another that shares its secrets.

use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use serde_json::Value;

use super::jwt::{self, Claims};
use super::{Carrier, Denied, Grant, Keyring, MintError, Presented, Scheme};

const SCOPE: &str = "resume";

/// What [`mint_resume`] signs. Times are milliseconds since the Unix epoch; a JWT holds whole seconds, so they are rounded
/// down, and a token never lives longer than asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeClaims {
    /// The session that gives it, by the hash of its id, of which the id cannot be made.
    pub session: String,
    /// The upload's whole name: base path and path, decoded once.
    pub path: String,
    /// The complete length in bytes, where it is known.
    pub size: Option<u64>,
    /// The largest complete length in bytes, where the first credential bounded it.
    pub max_size: Option<u64>,
    /// Whom the first credential named.
    pub subject: Option<String>,
    /// The file's name, as the first credential gave it.
    pub filename: Option<String>,
    /// The media type, as the first credential gave it.
    pub content_type: Option<String>,
    pub issued_at_ms: i64,
    pub expires_at_ms: i64,
    /// When the finished file may be deleted.
    pub retain_until_ms: Option<i64>,
}

#[derive(Serialize)]
struct Wire<'a> {
    scope: &'a str,
    sid: &'a str,
    path: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filetype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
}

/// Signs a resume token with the ring's newest secret. It needs no percent-encoding.
///
/// # Errors
/// A name that no request can have, or a time that no JWT can hold.
pub fn mint_resume(keys: &Keyring, claims: &ResumeClaims) -> Result<String, MintError> {
    if claims.path.is_empty() || claims.path.contains('\0') {
        return Err(MintError::Path);
    }
    let wire = Wire {
        scope: SCOPE,
        sid: &claims.session,
        path: &claims.path,
        iat: jwt::second(claims.issued_at_ms)?,
        exp: jwt::second(claims.expires_at_ms)?,
        sub: claims.subject.as_deref(),
        size: claims.size,
        max_size: claims.max_size,
        filename: claims.filename.as_deref(),
        filetype: claims.content_type.as_deref(),
        expires: claims.retain_until_ms.map(jwt::second).transpose()?,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &keys.newest.sign)
        .map_err(|_| MintError::Signing)
}

/// Whether these claims are meant to be a resume token's.
pub(super) fn is_resume(claims: &Value) -> bool {
    claims.get("scope").and_then(Value::as_str) == Some(SCOPE)
}

/// Judges everything but the expiry.
pub(super) fn judge(
    all: &Value,
    presented: &Presented<'_>,
    carrier: Carrier,
    now_ms: i64,
) -> Result<Grant, Denied> {
    let claims = Claims { all, carrier };
    let path = claims
        .text("path", "the claim path is not text")?
        .ok_or(claims.malformed("the claim path is missing"))?;
    // [AUT-104]
    let session = claims
        .text("sid", "the claim sid is not text")?
        .ok_or(claims.malformed("the claim sid is missing"))?;
    let size = claims.length("size", "the claim size is not a length")?;
    let max_size = claims.length("max_size", "the claim max_size is not a length")?;
    let text = |name, why| Ok(claims.text(name, why)?.map(str::to_owned));
    let grant = Grant {
        subject: text("sub", "the claim sub is not text")?,
        size,
        max_size,
        filename: text("filename", "the claim filename is not text")?,
        content_type: text("filetype", "the claim filetype is not text")?,
        issued_at_ms: claims.time("iat", "the claim iat is not a time")?,
        expires_at_ms: Some(claims.expiry()?),
        retain_until_ms: claims.time("expires", "the claim expires is not a time")?,
        session: Some(session.to_owned()),
        ..Grant::of(Scheme::Resume)
    };
    // [AUT-71] one upload exactly
    if presented.name(carrier)? != path {
        return Err(Denied::WrongPath { carrier });
    }
    // [AUT-72]
    jwt::exactly(size, presented.length)?;
    jwt::at_most(max_size, presented.length)?;
    claims.begun(now_ms)?;
    Ok(grant)
}
