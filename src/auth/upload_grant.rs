//! The grant to create uploads: a JWT that names a subject, how large a file may be, and until when.
//!
//! It has the form of a slot token and is signed with the same kind of secret, but carries `scope: "upload"` where the
//! other names a slot, so that neither passes for the other.

use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use serde_json::Value;

use super::{Denied, Grant, Keyring, MintError, Presented, Scheme, jwt};

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

/// Judges the grant that a request presents, in `Authorization: Bearer` or `?token=`.
///
/// # Errors
/// Why it is none.
pub fn authorize_grant(keys: &Keyring, presented: &Presented<'_>, now_ms: i64) -> Result<Grant, Denied> {
    let (carrier, token) = super::jwt_of(presented)?;
    let malformed = |why| Denied::Malformed { carrier, why };
    let claims = jwt::signed_claims(keys, carrier, &token)?;
    // [AUT-40] a slot token is no grant: it is for one upload, and this is for any
    if claims.get("scope").and_then(Value::as_str) != Some(SCOPE) {
        return Err(Denied::WrongPath { carrier });
    }
    let subject = claims.get("sub").and_then(Value::as_str).filter(|s| !s.is_empty());
    let subject = subject.ok_or(malformed("the claim sub is missing"))?;
    let max_size = match claims.get("max_size") {
        None | Some(Value::Null) => None,
        Some(value) => Some(jwt::whole_bytes(value).ok_or(malformed("the claim max_size is not a length"))?),
    };
    let time = |name| claims.get(name).and_then(jwt::epoch_ms);
    let expires_at_ms = time("exp").ok_or(malformed("the claim exp is missing"))?;
    if let Some(from_ms) = time("nbf")
        && now_ms < from_ms
    {
        return Err(Denied::NotYetValid { from_ms });
    }
    // [AUT-41] the size is held against the complete length, where the request names one
    if let (Some(signed), Some(claimed)) = (max_size, presented.length)
        && claimed > signed
    {
        return Err(Denied::WrongSize { signed, claimed });
    }
    if now_ms >= expires_at_ms {
        return Err(Denied::Expired { at_ms: expires_at_ms });
    }
    Ok(Grant {
        scheme: Scheme::Grant,
        subject: Some(subject.to_owned()),
        size: None,
        max_size,
        filename: None,
        content_type: None,
        issued_at_ms: time("iat"),
        expires_at_ms: Some(expires_at_ms),
        retain_until_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SlotClaims, mint};

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
        let presented = Presented {
            path: "",
            query: None,
            authorization: Some(header.as_bytes()),
            length,
            content_types: &[],
        };
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
            query: None,
            authorization: Some(header.as_bytes()),
            length: Some(5),
            content_types: &[],
        };
        assert!(super::super::authorize(&keys(), &presented, NOW).is_err());
    }
}
