//! Plain PUT: XEP-0363 section 7. One request, the whole file, 201 when it can be downloaded.

use http::StatusCode;

use super::{
    Call,
    answer::{coded, created, fault, refused},
    body::{Announced, RequestSource, announced},
    conditions::{self, Target},
    credentials::{NotGranted, about, denied, granted, may_begin, would_be_granted},
    reply::{Reply, UPLOAD_LENGTH},
};
use crate::{
    auth::Denied,
    engine::{Error, Order, Outcome, Refusal, Start, Write, digest::Check},
    upload::{Kind, Phase, Upload},
};

const DIALECT: &str = "xep0363";

/// Take a whole file.
pub async fn put(mut call: Call<'_>) -> Reply {
    if let Some(reply) = coded(&call, DIALECT) {
        return reply;
    }
    let body = match announced(&call.headers, call.version, &call.body) {
        Some(Announced::Bytes(bytes)) => Some(bytes),
        Some(Announced::Unknown) => None,
        None => {
            return Reply::problem(StatusCode::BAD_REQUEST, "malformed", "Content-Length is not a number");
        }
    };
    let claimed = match (body, call.header(UPLOAD_LENGTH).map(|text| text.trim().parse::<u64>())) {
        (Some(bytes), _) => Some(bytes),
        (None, Some(Ok(length))) => Some(length),
        (None, Some(Err(_))) => {
            return Reply::problem(StatusCode::BAD_REQUEST, "malformed", "Upload-Length is not a number");
        }
        (None, None) => None,
    };
    // Only where a grant's subject is held against the owner does the row matter here.
    let known = match owned(&call).await {
        Ok(known) => known,
        Err(error) => return answer(&call, Err(error)),
    };
    let (grant, claimed) = match granted(&call, claimed, known.as_ref()).await {
        Ok(grant) => (grant, claimed),
        // [XEP-131] in chunks, and of unknown length: the credential may sign that there is nothing
        Err(NotGranted::Denied(Denied::LengthRequired))
            if would_be_granted(&call, Some(0), known.as_ref()).await =>
        {
            match granted(&call, Some(0), known.as_ref()).await {
                Ok(grant) => (grant, Some(0)),
                Err(why) => return denied(&call, why, DIALECT).await,
            }
        }
        Err(why) => return denied(&call, why, DIALECT).await,
    };
    // [XEP-134] what is complete or gone is refused for that
    if conditions::are_set(&call.headers) && !conditions::hold(&call.headers, Target::Absent) {
        let is_over = match call.house.engine.find(&call.name).await {
            Ok(known) => known.is_some_and(|upload| upload.phase != Phase::Receiving),
            Err(error) => return answer(&call, Err(error)),
        };
        if !is_over {
            return conditions::failed(&call, DIALECT);
        }
    }
    let order = Order {
        name: call.name.clone(),
        write: Write {
            start: Start::Whole,
            body,
            length: grant.size.or(claimed),
            may_create: may_begin(&call),
        },
        about: about(&call, &grant),
        kind: Kind::Single,
        check: Check::None,
        dialect: DIALECT,
    };
    let source = RequestSource::new(std::mem::take(&mut call.body), &call.headers, call.version);
    let outcome = call.house.engine.write(order, Box::pin(source)).await;
    if let Err(Error::Refused(_)) = outcome
        && let Ok(Some(upload)) = call.house.engine.find(&call.name).await
    {
        call.visit.saw(&upload);
    }
    answer(&call, outcome)
}

async fn owned(call: &Call<'_>) -> Result<Option<Upload>, Error> {
    if may_begin(call) { Ok(None) } else { call.house.engine.find(&call.name).await }
}

fn answer(call: &Call<'_>, outcome: Result<Outcome, Error>) -> Reply {
    let refusal = match outcome {
        Ok(outcome) => return created(call, &outcome),
        Err(Error::Fault(broken)) => return fault(call, &broken),
        Err(Error::Refused(refusal)) => refusal,
    };
    call.refused(DIALECT, &refusal);
    let status = match &refusal {
        Refusal::Unknown | Refusal::Incomplete => StatusCode::NOT_FOUND,
        Refusal::Gone(_) => StatusCode::GONE,
        Refusal::Complete | Refusal::Superseded { .. } | Refusal::OffsetMismatch { .. } => {
            StatusCode::CONFLICT
        }
        Refusal::LengthMismatch { .. }
        | Refusal::TooShort { .. }
        | Refusal::Broken { .. }
        | Refusal::BadPart { .. }
        | Refusal::TooManyParts { .. }
        | Refusal::ChecksumMismatch
        | Refusal::ChecksumMissing => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } | Refusal::Overrun { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::LengthRequired => StatusCode::LENGTH_REQUIRED,
        Refusal::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Busy { .. } => StatusCode::LOCKED,
        Refusal::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
        Refusal::Stopping { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Forbidden | Refusal::Final => StatusCode::FORBIDDEN,
    };
    refused(status, &refusal)
}
