//! The grant to create uploads: a JWT that names a subject, how large a file may be, and until when.
//!
//! It has the form of a slot token and is signed with the same kind of secret, but carries `scope: "upload"` where the
//! other names a slot, so that neither passes for the other.

use std::borrow::Cow;

use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use serde_json::Value;

use super::jwt::{self, Claims};
use super::{
    Carrier, Credential, Denied, Grant, Keyring, MintError, Presented, Scheme, resume, strongest, unexpired,
};

const SCOPE: &str = "upload";

/// What [`mint_grant`] signs. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantClaims {
    /// Who may upload; also who may touch what was uploaded, where every verb asks for a grant.
    pub subject: String,
    /// The largest upload in bytes; `None` leaves it to the server's own limit.
    pub max_size: Option<u64>,
    pub issued_at_ms: i64,
    pub expires_at_ms: i64,
}

#[derive(Serialize)]
struct Wire<'a> {
    sub: &'a str,
    scope: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size: Option<u64>,
}

/// Signs a grant with the ring's newest secret.
///
/// # Errors
/// A time that no JWT can hold.
pub fn mint_grant(keys: &Keyring, claims: &GrantClaims) -> Result<String, MintError> {
    let wire = Wire {
        sub: &claims.subject,
        scope: SCOPE,
        iat: jwt::second(claims.issued_at_ms)?,
        exp: jwt::second(claims.expires_at_ms)?,
        max_size: claims.max_size,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &keys.newest.sign)
        .map_err(|_| MintError::Signing)
}

/// Judges the grant that a creation presents: in `Authorization: Bearer`, `X-Session-Token` or `?token=`.
///
/// # Errors
/// Why it is none.
pub fn authorize_grant(keys: &Keyring, presented: &Presented<'_>, now_ms: i64) -> Result<Grant, Denied> {
    let (carrier, token) = jwt_of(presented)?;
    let claims = jwt::signed_claims(keys, carrier, &token)?;
    unexpired(judge(&claims, presented, carrier, now_ms)?, now_ms)
}

/// Judges who touches an upload whose every verb asks for a grant: the grant that could have created it, or a resume token
/// for it. That the grant's subject is the upload's owner is the caller's part.
///
/// # Errors
/// Why it is neither.
pub fn authorize_owner(keys: &Keyring, presented: &Presented<'_>, now_ms: i64) -> Result<Grant, Denied> {
    let (carrier, token) = jwt_of(presented)?;
    let claims = jwt::signed_claims(keys, carrier, &token)?;
    // [AUT-74]
    let grant = match resume::is_resume(&claims) {
        true => resume::judge(&claims, presented, carrier, now_ms),
        false => judge(&claims, presented, carrier, now_ms),
    }?;
    unexpired(grant, now_ms)
}

/// The JWT that a request presents, and where.
fn jwt_of<'a>(presented: &Presented<'a>) -> Result<(Carrier, Cow<'a, str>), Denied> {
    let carrier = match strongest(presented)? {
        Credential::Jwt { carrier, token } => return Ok((carrier, token)),
        Credential::Bearer { carrier, .. } => carrier,
        Credential::SigV4 | Credential::V2(_) | Credential::V1(_) => Carrier::Query,
    };
    Err(Denied::Malformed { carrier, why: "a grant is a JWT" })
}

/// Judges everything but the expiry.
fn judge(all: &Value, presented: &Presented<'_>, carrier: Carrier, now_ms: i64) -> Result<Grant, Denied> {
    let claims = Claims { all, carrier };
    // [AUT-40] a slot token is no grant: it is for one upload, and this is for any
    if all.get("scope").and_then(Value::as_str) != Some(SCOPE) {
        return Err(Denied::WrongPath { carrier });
    }
    let subject = claims.text("sub", "the claim sub is not text")?.filter(|sub| !sub.is_empty());
    let max_size = claims.length("max_size", "the claim max_size is not a length")?;
    let grant = Grant {
        subject: Some(subject.ok_or(claims.malformed("the claim sub is missing"))?.to_owned()),
        max_size,
        issued_at_ms: claims.time("iat", "the claim iat is not a time")?,
        expires_at_ms: Some(claims.expiry()?),
        ..Grant::of(Scheme::Grant)
    };
    claims.begun(now_ms)?;
    jwt::at_most(max_size, presented.length)?;
    Ok(grant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Rules, SlotClaims, mint};

    const NOW: i64 = 1_700_000_000_000;

    fn keys() -> Keyring {
        Keyring::new(vec![b"s3cret".to_vec()]).unwrap()
    }

    fn claims() -> GrantClaims {
        GrantClaims {
            subject: "romeo".into(),
            max_size: Some(100),
            issued_at_ms: NOW,
            expires_at_ms: NOW + 60_000,
        }
    }

    fn judge(token: &str, length: Option<u64>, now_ms: i64) -> Result<Grant, Denied> {
        let header = format!("Bearer {token}");
        let presented = Presented { authorization: Some(header.as_bytes()), length, ..Presented::nothing() };
        authorize_grant(&keys(), &presented, now_ms)
    }

    #[test]
    fn a_grant_covers_what_is_not_larger_until_it_expires() {
        let token = mint_grant(&keys(), &claims()).unwrap();
        assert_eq!(judge(&token, Some(100), NOW).unwrap().subject.as_deref(), Some("romeo"));
        assert_eq!(judge(&token, None, NOW).unwrap().max_size, Some(100));
        assert_eq!(judge(&token, Some(101), NOW), Err(Denied::WrongSize { signed: 100, claimed: 101 }));
        assert!(matches!(judge(&token, None, NOW + 60_000), Err(Denied::Expired { .. })));
    }

    #[test]
    fn neither_a_slot_token_nor_another_secret_grants_creation() {
        let slot = SlotClaims {
            subject: Some("romeo".into()),
            slot: "a".into(),
            filename: "b".into(),
            size: 5,
            content_type: None,
            issued_at_ms: NOW,
            expires_at_ms: NOW + 60_000,
            retain_until_ms: None,
        };
        let token = mint(&keys(), &slot).unwrap();
        assert!(matches!(judge(&token, None, NOW), Err(Denied::WrongPath { .. })));
        let other = Keyring::new(vec![b"other".to_vec()]).unwrap();
        let token = mint_grant(&other, &claims()).unwrap();
        assert!(matches!(judge(&token, None, NOW), Err(Denied::BadSignature { .. })));
    }

    #[test]
    fn a_grant_opens_no_slot() {
        let token = mint_grant(&keys(), &claims()).unwrap();
        let header = format!("Bearer {token}");
        let presented = Presented {
            path: "a/b",
            authorization: Some(header.as_bytes()),
            length: Some(5),
            ..Presented::nothing()
        };
        assert!(super::super::authorize(&keys(), &Rules::default(), &presented, NOW).is_err());
    }
}
