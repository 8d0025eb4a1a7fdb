//! The JWT that Prosody's mod_http_file_share puts into a slot, and that Plimsoll mints for its own.
//!
//! The claims are untyped JSON until they have been verified: Lua may write its numbers as floats and its keys in any
//! order, and what other claims a server adds is its own affair.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Serialize;
use serde_json::Value;

use super::{Carrier, Denied, Grant, Keyring, Presented, Scheme, refuse_nul};

/// The last second of the year 9999, in seconds since the Unix epoch: the latest time a claim may name.
const LATEST_SECOND: i64 = 253_402_300_799;

/// The largest float below which every whole number has a float of its own: 2^53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// What [`mint`] signs. Times are milliseconds since the Unix epoch; a JWT holds whole seconds, so they are rounded
/// down, and a token never lives longer than asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotClaims {
    /// The JID, or other name, of the one who may upload.
    pub subject: Option<String>,
    /// The first segment of the upload's path: unguessable and without a slash.
    pub slot: String,
    /// The rest of the upload's path, not percent-encoded.
    pub filename: String,
    /// Length of the complete file in bytes.
    pub size: u64,
    pub content_type: Option<String>,
    pub issued_at_ms: i64,
    pub expires_at_ms: i64,
    /// When the finished file may be deleted.
    pub retain_until_ms: Option<i64>,
}

/// Why [`mint`] made no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    #[error("the slot must be one path segment: neither empty nor with a slash")]
    Slot,
    #[error("the upload's name must neither be empty nor hold a NUL")]
    Path,
    #[error("the file name must neither be empty nor hold a NUL")]
    Filename,
    #[error("a time of the slot lies outside the years 1970 to 9999")]
    Time,
    #[error("the token could not be signed")]
    Signing,
}

/// The claims under the names and in the order that Prosody's documentation gives them.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: i64,
    exp: i64,
    slot: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    filename: &'a str,
    filesize: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    filetype: Option<&'a str>,
}

/// Signs a slot with the ring's newest secret. The answer goes into `Authorization: Bearer` or `?token=` of a request
/// whose path is `slot/filename`; it needs no percent-encoding.
pub fn mint(keys: &Keyring, claims: &SlotClaims) -> Result<String, MintError> {
    if claims.slot.is_empty() || claims.slot.contains(['/', '\0']) {
        return Err(MintError::Slot);
    }
    if claims.filename.is_empty() || claims.filename.contains('\0') {
        return Err(MintError::Filename);
    }
    let wire = Wire {
        sub: claims.subject.as_deref(),
        iat: second(claims.issued_at_ms)?,
        exp: second(claims.expires_at_ms)?,
        slot: &claims.slot,
        expires: claims.retain_until_ms.map(second).transpose()?,
        filename: &claims.filename,
        filesize: claims.size,
        filetype: claims.content_type.as_deref(),
    };
    let header = Header::new(Algorithm::HS256);
    jsonwebtoken::encode(&header, &wire, &keys.newest.sign).map_err(|_| MintError::Signing)
}

/// A NumericDate of whole seconds, rounded down.
pub(super) fn second(ms: i64) -> Result<i64, MintError> {
    let second = ms.div_euclid(1000);
    (0..=LATEST_SECOND).contains(&second).then_some(second).ok_or(MintError::Time)
}

/// The claims of a token that one of the ring's secrets has vouched for.
#[derive(Clone, Copy)]
pub(super) struct Claims<'a> {
    pub(super) all: &'a Value,
    pub(super) carrier: Carrier,
}

impl<'a> Claims<'a> {
    pub(super) fn malformed(self, why: &'static str) -> Denied {
        Denied::Malformed { carrier: self.carrier, why }
    }

    /// Absent, and null, is `None`; of another type than `read` takes is malformed, for the reason `why`.
    fn read<T>(
        self,
        name: &str,
        why: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Denied> {
        match self.all.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or(self.malformed(why)),
        }
    }

    pub(super) fn text(self, name: &str, why: &'static str) -> Result<Option<&'a str>, Denied> {
        self.read(name, why, Value::as_str)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn time(self, name: &str, why: &'static str) -> Result<Option<i64>, Denied> {
        self.read(name, why, epoch_ms)
    }

    /// Bytes.
    pub(super) fn length(self, name: &str, why: &'static str) -> Result<Option<u64>, Denied> {
        self.read(name, why, whole_bytes)
    }

    /// [AUT-25]
    pub(super) fn expiry(self) -> Result<i64, Denied> {
        self.time("exp", "the claim exp is not a time")?.ok_or(self.malformed("the claim exp is missing"))
    }

    /// [AUT-26]
    pub(super) fn begun(self, now_ms: i64) -> Result<(), Denied> {
        match self.time("nbf", "the claim nbf is not a time")? {
            Some(from_ms) if now_ms < from_ms => Err(Denied::NotYetValid { from_ms }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Judges everything but the expiry.
pub(super) fn judge(
    all: &Value,
    presented: &Presented<'_>,
    carrier: Carrier,
    now_ms: i64,
) -> Result<Grant, Denied> {
    let claims = Claims { all, carrier };
    let slot = claims
        .text("slot", "the claim slot is not text")?
        .ok_or(claims.malformed("the claim slot is missing"))?;
    let filename = claims
        .text("filename", "the claim filename is not text")?
        .ok_or(claims.malformed("the claim filename is missing"))?;
    let signed = claims
        .length("filesize", "the claim filesize is not a length")?
        .ok_or(claims.malformed("the claim filesize is missing"))?;
    let grant = Grant {
        subject: claims.text("sub", "the claim sub is not text")?.map(str::to_owned),
        size: Some(signed),
        filename: Some(filename.to_owned()),
        content_type: claims.text("filetype", "the claim filetype is not text")?.map(str::to_owned),
        issued_at_ms: claims.time("iat", "the claim iat is not a time")?,
        expires_at_ms: Some(claims.expiry()?),
        retain_until_ms: claims.time("expires", "the claim expires is not a time")?,
        ..Grant::of(Scheme::Jwt)
    };

    refuse_nul(presented.path, carrier)?;
    // [AUT-22] the first segment is the slot, [AUT-23] the rest the file's name
    if presented.path.split_once('/') != Some((slot, filename)) {
        return Err(Denied::WrongPath { carrier });
    }
    // [AUT-24] an unknown length is settled by the claim
    exactly(Some(signed), presented.length)?;
    claims.begun(now_ms)?;
    Ok(grant)
}

/// Where both are known they are the same.
pub(super) fn exactly(signed: Option<u64>, claimed: Option<u64>) -> Result<(), Denied> {
    match (signed, claimed) {
        (Some(signed), Some(claimed)) if signed != claimed => Err(Denied::WrongSize { signed, claimed }),
        _ => Ok(()),
    }
}

/// [AUT-41] The size is held against the complete length, where the request names one.
pub(super) fn at_most(signed: Option<u64>, claimed: Option<u64>) -> Result<(), Denied> {
    match (signed, claimed) {
        (Some(signed), Some(claimed)) if claimed > signed => Err(Denied::WrongSize { signed, claimed }),
        _ => Ok(()),
    }
}

/// The claims, once one of the ring's secrets has vouched for them.
pub(super) fn signed_claims(keys: &Keyring, carrier: Carrier, token: &str) -> Result<Value, Denied> {
    let malformed = |why| Denied::Malformed { carrier, why };
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| malformed("the JWT's header is not readable or names an unknown algorithm"))?;
    // [AUT-20] the token does not choose how it is verified
    if header.alg != Algorithm::HS256 {
        return Err(malformed("the JWT is not signed with HS256"));
    }
    // [AUT-21] an extension that must be understood, and is not
    if header.crit.is_some() {
        return Err(malformed("the JWT's header holds critical extensions"));
    }
    // The library would compare the times with the wall clock: here they are judged against an argument.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    // [AUT-9] every secret of the ring
    for key in keys.iter() {
        match jsonwebtoken::decode::<Value>(token, &key.verify, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
            Err(_) => return Err(malformed("the JWT is not readable")),
        }
    }
    Err(Denied::BadSignature { carrier })
}

/// [AUT-27] A length in bytes: a whole number, be it written as a float.
fn whole_bytes(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    if let Some(whole) = number.as_u64() {
        return Some(whole);
    }
    let float = number.as_f64()?;
    let exact = (0.0..=LARGEST_EXACT).contains(&float) && float.fract() == 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and within 0..=2^53: exact in an u64"
    )]
    exact.then_some(float as u64)
}

/// [AUT-27] A NumericDate of RFC 7519, seconds since the Unix epoch with or without a fraction, as milliseconds.
fn epoch_ms(value: &Value) -> Option<i64> {
    let Value::Number(number) = value else { return None };
    if let Some(second) = number.as_i64() {
        return (0..=LATEST_SECOND).contains(&second).then(|| second * 1000);
    }
    #[expect(clippy::cast_precision_loss, reason = "a constant below 2^53")]
    let latest = LATEST_SECOND as f64;
    let float = number.as_f64().filter(|second| (0.0..=latest).contains(second))?;
    #[expect(clippy::cast_possible_truncation, reason = "within 0..2^53: fits an i64")]
    Some((float * 1000.0).floor() as i64)
}
