//! From a request to a [`Grant`], and from a [`Denied`] to an answer.

use http::{StatusCode, header};

use super::{Access, Call, Door, reply::Reply};
use crate::{
    auth::{Carrier, Denied, Grant, Presented, Rules, authorize, authorize_grant},
    clock::Timestamp,
    upload::{About, Upload},
};

/// The candidates for the media type that a v2 token signs.
fn content_types<'a>(call: &'a Call<'_>, known: Option<&'a Upload>) -> Vec<&'a str> {
    let stored = known.and_then(|u| u.about.content_type.as_deref());
    call.header(header::CONTENT_TYPE).into_iter().chain(stored).collect()
}

/// Judge the request's credential for an upload of `length` bytes in all.
///
/// # Errors
/// The answer to send instead.
pub fn granted(call: &Call<'_>, length: Option<u64>, known: Option<&Upload>) -> Result<Grant, Denied> {
    match call.realm.door {
        Door::Files { access: Access::Url, .. } => return Ok(Grant::of_url()),
        Door::Files { access: Access::Grant, .. } => return granted_to_owner(call, known),
        Door::Slots => {}
    }
    let presented = Presented {
        path: &call.path,
        query: call.query.as_deref(),
        authorization: call.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        length,
        content_types: &content_types(call, known),
        ..Presented::nothing()
    };
    authorize(&call.realm.keys.current(), &Rules::default(), &presented, call.house.clock.now().0)
}

/// Judge the grant that a creation presents.
///
/// # Errors
/// Why it is none.
pub fn may_create(call: &Call<'_>, length: Option<u64>) -> Result<Grant, Denied> {
    let presented = Presented {
        path: &call.path,
        query: call.query.as_deref(),
        authorization: call.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        length,
        ..Presented::nothing()
    };
    authorize_grant(&call.realm.keys.current(), &presented, call.house.clock.now().0)
}

/// [TUS-95] with `access = "grant"` every verb asks for a grant of the upload's own subject
fn granted_to_owner(call: &Call<'_>, known: Option<&Upload>) -> Result<Grant, Denied> {
    let grant = may_create(call, None)?;
    match known {
        Some(upload) if upload.about.owner != grant.subject => {
            Err(Denied::WrongPath { carrier: Carrier::Header })
        }
        Some(_) | None => Ok(grant),
    }
}

/// Whether a request may bring an upload into being by writing to its URL: in slots, which are minted before.
#[must_use]
pub fn may_begin(call: &Call<'_>) -> bool {
    call.realm.door == Door::Slots
}

/// What a grant and the request say of the file.
#[must_use]
pub fn about(call: &Call<'_>, grant: &Grant) -> About {
    let last = call.path.rsplit('/').next().unwrap_or(&call.path);
    About {
        filename: Some(grant.filename.clone().unwrap_or_else(|| last.to_owned())),
        content_type: grant
            .content_type
            .clone()
            .or_else(|| call.header(header::CONTENT_TYPE).map(str::to_owned)),
        owner: grant.subject.clone(),
        retain_until: grant.retain_until_ms.map(Timestamp),
        metadata: None,
        concat: None,
    }
}

/// The answer to a request without a good credential.
#[must_use]
pub fn denied(call: &Call<'_>, why: Denied, dialect: &'static str) -> Reply {
    let detail = why.to_string();
    let (status, word, challenge) = match why {
        Denied::Missing => (StatusCode::UNAUTHORIZED, "credential-missing", Some("Bearer")),
        Denied::Malformed { carrier, .. } | Denied::BadSignature { carrier } => match carrier {
            Carrier::Header => {
                (StatusCode::UNAUTHORIZED, "credential-invalid", Some("Bearer error=\"invalid_token\""))
            }
            Carrier::Query => (StatusCode::FORBIDDEN, "credential-invalid", None),
        },
        Denied::Expired { .. } | Denied::NotYetValid { .. } => {
            (StatusCode::UNAUTHORIZED, "credential-expired", Some("Bearer error=\"invalid_token\""))
        }
        Denied::WrongPath { .. } => (StatusCode::FORBIDDEN, "credential-path", None),
        Denied::WrongSize { .. } => (StatusCode::FORBIDDEN, "credential-size", None),
        Denied::LengthRequired => (StatusCode::LENGTH_REQUIRED, "length-required", None),
    };
    call.house.metrics.refused(dialect, word);
    tracing::info!(reason = word, detail, "credential refused");
    let reply = Reply::problem(status, word, &detail);
    match challenge {
        Some(challenge) => reply.with(header::WWW_AUTHENTICATE, challenge),
        None => reply,
    }
}
