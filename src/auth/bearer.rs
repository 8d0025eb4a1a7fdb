//! The Bearer token of ejabberd's proposed mod_http_upload_hmac: an HMAC-SHA256 in standard base64, beside which the query
//! says who asked for the slot (`user`) and when it ends (`expiry`).
//!
//! ```text
//! layout 1   jid NUL filename NUL size NUL issued-at
//! layout 2   jid NUL filename NUL size NUL issued-at NUL expiry NUL network_resilient
//! ```
//!
//! The moment of issue is not in the URL. It is reckoned back from the expiry with the configured lifetime, so an expiry
//! that somebody has changed gives a moment that was never signed. What else the query says, such as `filename` or
//! `size`, counts for nothing: name and length are those of the request.
//!
//! Neither layout signs the random part of the path, so a token fits every path that ends in its file's name. That is why
//! its [`Grant`] has a fingerprint.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::presented::parameter;
use super::{Carrier, Denied, Grant, Keyring, Presented, Rules, Scheme, decimal, last_segment, refuse_nul};
use crate::id;

/// The word at the end of layout 2.
const RESILIENT: &str = "network_resilient";

/// The longest JID in bytes: three parts of 1023, and what is between them (RFC 7622 section 3.1).
const LONGEST_JID: usize = 3071;

/// The last second of the year 9999, in seconds since the Unix epoch.
const LATEST_SECOND: i64 = 253_402_300_799;

/// The MAC in a token: [AUT-50] 44 letters of the standard alphabet with padding, and no bit to spare.
pub(super) fn mac_of(token: &str) -> Option<[u8; 32]> {
    STANDARD.decode(token).ok()?.try_into().ok()
}

/// Judges everything but the expiry.
pub(super) fn judge(
    keys: &Keyring,
    rules: &Rules,
    presented: &Presented<'_>,
    carrier: Carrier,
    mac: &[u8; 32],
) -> Result<Grant, Denied> {
    let malformed = |why| Denied::Malformed { carrier, why };
    let query = presented.query.unwrap_or_default();
    // [AUT-51]
    let jid =
        parameter(query, "user").map_err(malformed)?.ok_or(malformed("the parameter user is missing"))?;
    if jid.len() > LONGEST_JID || jid.contains('\0') {
        return Err(malformed("the parameter user is no JID"));
    }
    let expiry =
        parameter(query, "expiry").map_err(malformed)?.ok_or(malformed("the parameter expiry is missing"))?;
    // [AUT-52]
    let expiry = decimal(&expiry)
        .and_then(|second| i64::try_from(second).ok())
        .filter(|second| *second <= LATEST_SECOND)
        .ok_or(malformed("the parameter expiry is not a time in whole seconds"))?;

    refuse_nul(presented.path, carrier)?;
    let filename = last_segment(presented.path);
    if filename.is_empty() {
        return Err(Denied::WrongPath { carrier });
    }
    // [AUT-53] the length is one of the signed fields
    let length = presented.length.ok_or(Denied::LengthRequired)?;
    let issued = signed_at(keys, rules, mac, [&jid, filename, &length.to_string()], expiry)
        .ok_or(Denied::BadSignature { carrier })?;
    Ok(Grant {
        subject: Some(jid.clone().into_owned()),
        size: Some(length),
        filename: Some(filename.to_owned()),
        issued_at_ms: Some(issued * 1000),
        expires_at_ms: Some(expiry * 1000),
        fingerprint: Some(fingerprint(mac, &jid, expiry)),
        ..Grant::of(Scheme::Bearer)
    })
}

/// The second at which the token was issued, if its MAC is that of either layout.
fn signed_at(
    keys: &Keyring,
    rules: &Rules,
    mac: &[u8; 32],
    [jid, filename, length]: [&str; 3],
    expiry: i64,
) -> Option<i64> {
    // [AUT-54] the moment of issue is as long before the expiry as the configuration says
    let issued = |lifetime_ms: i64| {
        let second = expiry.checked_sub(lifetime_ms / 1000).filter(|second| *second >= 0)?;
        Some((second, format!("{jid}\0{filename}\0{length}\0{second}")))
    };
    // [AUT-55] layout 1
    if let Some((second, signed)) = issued(rules.bearer_lifetime_ms)
        && keys.signed(&[signed.as_bytes()], mac)
    {
        return Some(second);
    }
    // [AUT-56] layout 2
    let (second, signed) = issued(rules.bearer_resilient_lifetime_ms)?;
    let signed = format!("{signed}\0{expiry}\0{RESILIENT}");
    keys.signed(&[signed.as_bytes()], mac).then_some(second)
}

/// [AUT-57] What tells this token from every other.
fn fingerprint(mac: &[u8; 32], jid: &str, expiry: i64) -> String {
    let mut hash = Sha256::new_with_prefix(mac);
    hash.update(format!("{jid}\0{expiry}"));
    id::hex(&hash.finalize())
}
