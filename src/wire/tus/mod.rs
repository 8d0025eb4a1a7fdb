//! tus 1.0.0, with every extension. See `protocol-spec/tus-1.0.md`.
//!
//! `create.rs` is POST; here are HEAD, PATCH and DELETE, which work on every upload of ours, slots included.

mod create;
pub mod headers;

use http::{Method, StatusCode, header};

use super::{
    Call,
    answer::{coded, fault, refused},
    body::{Announced, RequestSource, announced},
    conditions::{self, Target},
    credentials::{about, denied, granted, granted_to_ask, may_begin},
    empty,
    removal::{NotRemoved, remove},
    reply::{Reply, UPLOAD_LENGTH, UPLOAD_OFFSET},
};
use crate::{
    engine::{Error, Order, Outcome, Refusal, Start, Write, digest::Check},
    upload::{Kind, Offset, Phase, Upload},
};
use headers::{
    BadChecksum, TUS_RESUMABLE, TUS_VERSION, UPLOAD_CHECKSUM, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH,
    UPLOAD_EXPIRES, UPLOAD_METADATA, VERSION, number,
};

const DIALECT: &str = "tus";

/// A request of a tus client.
pub async fn handle(call: Call<'_>) -> Reply {
    // [TUS-5] another version, or none: 412 with the versions we speak, and nothing is done
    if call.header(TUS_RESUMABLE) != Some(VERSION) {
        call.house.metrics.refused(DIALECT, "version");
        let detail = "Tus-Resumable must be 1.0.0";
        let reply = Reply::problem(StatusCode::PRECONDITION_FAILED, "version", detail);
        return marked(reply.with(TUS_VERSION, VERSION));
    }
    if let Method::POST | Method::PATCH = call.method
        && let Some(reply) = coded(&call, DIALECT)
    {
        return marked(reply);
    }
    let at_base = call.path.is_empty();
    let reply = match call.method {
        Method::POST if at_base => Box::pin(create::post(call)).await,
        Method::HEAD if !at_base => head(call).await,
        Method::PATCH if !at_base => Box::pin(patch(call)).await,
        Method::DELETE if !at_base => delete(call).await,
        _ => {
            let detail =
                "POST creates uploads at the base path; HEAD, PATCH and DELETE are for an upload's URL";
            let allow = if at_base { "POST, OPTIONS" } else { "GET, HEAD, PUT, PATCH, DELETE, OPTIONS" };
            Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail).with(header::ALLOW, allow)
        }
    };
    marked(reply)
}

/// [TUS-3] every answer names the version
fn marked(reply: Reply) -> Reply {
    reply.with(TUS_RESUMABLE, VERSION)
}

fn malformed(detail: &str) -> Reply {
    Reply::problem(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// A header that holds a number: `Err` when it is there and is none, or is there twice.
fn length_header(call: &Call<'_>, name: http::HeaderName, what: &str) -> Result<Option<u64>, Reply> {
    let mut values = call.headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one
            .to_str()
            .ok()
            .and_then(number)
            .map(Some)
            .ok_or_else(|| malformed(&format!("{what} must be a non-negative integer"))),
        (Some(_), Some(_)) => Err(malformed(&format!("{what} is given twice"))),
    }
}

/// What the request claims of its bytes.
fn check(call: &Call<'_>) -> Result<Check, Reply> {
    if let Some(value) = call.headers.get(UPLOAD_CHECKSUM) {
        return match value.to_str().map_err(|_| BadChecksum::Malformed).and_then(headers::checksum) {
            // [TUS-121] no bytes add up to a value of another length
            Ok(claim) if claim.value.len() != claim.algorithm.size() => {
                Err(answer(call, Refusal::ChecksumMismatch.into()))
            }
            Ok(claim) => Ok(Check::Claimed(claim)),
            // [TUS-72] an algorithm that we cannot compute
            Err(BadChecksum::Unsupported) => Err(Reply::problem(
                StatusCode::BAD_REQUEST,
                "checksum-algorithm",
                "the checksum algorithm is not one of Tus-Checksum-Algorithm",
            )),
            Err(BadChecksum::Malformed) => {
                Err(malformed("Upload-Checksum must be an algorithm, a space and the base64 of its result"))
            }
        };
    }
    let announced = call.headers.get_all(header::TRAILER).iter().any(|value| {
        let names = value.to_str().unwrap_or_default();
        names.split(',').any(|name| name.trim().eq_ignore_ascii_case(UPLOAD_CHECKSUM.as_str()))
    });
    Ok(if announced { Check::InTrailer } else { Check::None })
}

/// [TUS-60] when an incomplete upload will be removed
fn expires(reply: Reply, upload: &Upload) -> Reply {
    match (upload.phase, upload.expires_at) {
        (Phase::Receiving, Some(at)) => reply.with(UPLOAD_EXPIRES, at.http_date()),
        _ => reply,
    }
}

async fn head(call: Call<'_>) -> Reply {
    let known = match call.house.engine.find(&call.name).await {
        Ok(known) => known,
        Err(error) => return answer(&call, error),
    };
    let named = call.header(UPLOAD_LENGTH).and_then(number);
    // A slot's state is open to whoever knows its URL; elsewhere the URL is the credential, or a grant is asked for.
    let grant = match granted_to_ask(&call, named, known.as_ref(), DIALECT).await {
        Ok(grant) => grant,
        Err(reply) => return reply,
    };
    let upload = match call.house.engine.state(&call.name, grant.is_some()).await {
        Ok(upload) => upload,
        Err(error) => return answer(&call, error),
    };
    let Some(upload) = upload else {
        return match grant {
            // [DIA-95] the offset is the length: a tus client takes the upload for complete, and sends nothing
            Some(grant) if may_begin(&call) && grant.size == Some(0) => {
                match empty::complete(&call, &grant, Offset::ZERO, DIALECT).await {
                    Ok(outcome) => {
                        call.visit.saw(&outcome.upload);
                        state(&call, &outcome.upload).await
                    }
                    Err(error) => answer(&call, error),
                }
            }
            // The slot is good and nothing of it has arrived: a tus client may begin.
            Some(grant) if may_begin(&call) && grant.size.is_some() => Reply::new(StatusCode::OK)
                .with(UPLOAD_OFFSET, 0)
                .with(UPLOAD_LENGTH, grant.size.unwrap_or_default())
                .no_store(),
            Some(_) | None => answer(&call, Refusal::Unknown.into()),
        };
    };
    call.visit.saw(&upload);
    if let Phase::Gone(why) = upload.phase {
        return answer(&call, Refusal::Gone(why).into());
    }
    state(&call, &upload).await
}

async fn state(call: &Call<'_>, upload: &Upload) -> Reply {
    // [TUS-22] nobody may keep this answer
    let mut reply = expires(Reply::new(StatusCode::OK).no_store(), upload);
    // [TUS-86] of a concatenation the offset is told when it is done, the length as soon as it can be computed
    let is_pending_final = matches!(upload.kind, Kind::Final(_)) && upload.phase == Phase::Receiving;
    if !is_pending_final {
        reply = reply.with(UPLOAD_OFFSET, upload.offset);
    }
    let length = match upload.length {
        Some(length) => Some(length),
        None => call.house.engine.length_of_parts(upload).await.unwrap_or_default(),
    };
    reply = match length {
        Some(length) => reply.with(UPLOAD_LENGTH, length),
        None if is_pending_final => reply,
        None => reply.with(UPLOAD_DEFER_LENGTH, 1),
    };
    if let Some(metadata) = &upload.about.metadata {
        reply = reply.with(UPLOAD_METADATA, metadata);
    }
    match &upload.about.concat {
        Some(concat) => reply.with(UPLOAD_CONCAT, concat),
        None => reply,
    }
}

async fn patch(mut call: Call<'_>) -> Reply {
    // [TUS-24] the media type says that these are bytes at an offset
    let media = call.header(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    if !media.is_some_and(|media| media.eq_ignore_ascii_case(headers::OFFSET_OCTET_STREAM)) {
        let detail = "PATCH takes Content-Type: application/offset+octet-stream";
        return Reply::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail);
    }
    let (at, length) = match (
        length_header(&call, UPLOAD_OFFSET, "Upload-Offset"),
        length_header(&call, UPLOAD_LENGTH, "Upload-Length"),
    ) {
        (Ok(Some(at)), Ok(length)) => (at, length),
        (Ok(None), _) => return malformed("Upload-Offset is missing"),
        (Err(reply), _) | (_, Err(reply)) => return reply,
    };
    let check = match check(&call) {
        Ok(check) => check,
        Err(reply) => return reply,
    };
    let body = match announced(&call.headers, call.version, &call.body) {
        Some(Announced::Bytes(bytes)) => Some(bytes),
        Some(Announced::Unknown) => None,
        None => return malformed("Content-Length is not a number"),
    };
    let known = match call.house.engine.find(&call.name).await {
        Ok(known) => known,
        Err(error) => return answer(&call, error),
    };
    let on_record = known.as_ref().and_then(|u| u.length);
    let grant = match granted(&call, on_record.or(length), known.as_ref()).await {
        Ok(grant) => grant,
        Err(why) => return denied(&call, why, DIALECT).await,
    };
    // [TUS-97] a repetition is no exception: its client asks by HEAD, and hears that all is there
    if let Some(Upload { phase: Phase::Complete, offset, kind: Kind::Single | Kind::Partial, .. }) = &known
        && offset.0 != at
    {
        return answer(&call, Refusal::OffsetMismatch { ours: *offset, theirs: Offset(at) }.into());
    }
    // [TUS-128] what would be refused anyway is refused for that
    let target = match &known {
        Some(file) if file.phase == Phase::Complete => Some(Target::Complete(file)),
        Some(upload) if upload.phase == Phase::Receiving => Some(Target::Incomplete),
        None if may_begin(&call) => Some(Target::Absent),
        Some(_) | None => None,
    };
    if target.is_some_and(|target| !conditions::hold(&call.headers, target)) {
        return conditions::failed(&call, DIALECT);
    }
    let order = Order {
        name: call.name.clone(),
        write: Write {
            start: Start::At(Offset(at)),
            body,
            length: length.or(grant.size),
            may_create: may_begin(&call),
        },
        about: crate::upload::About { content_type: grant.content_type.clone(), ..about(&call, &grant) },
        kind: Kind::Single,
        check,
        dialect: DIALECT,
    };
    let source = RequestSource::new(std::mem::take(&mut call.body), &call.headers, call.version);
    match call.house.engine.write(order, Box::pin(source.with_trailers(headers::claim))).await {
        Ok(outcome) => {
            call.visit.saw(&outcome.upload);
            patched(&outcome)
        }
        Err(error) => answer(&call, error),
    }
}

/// [TUS-27] 204 with the new offset
fn patched(outcome: &Outcome) -> Reply {
    expires(Reply::new(StatusCode::NO_CONTENT).with(UPLOAD_OFFSET, outcome.upload.offset), &outcome.upload)
}

/// [TUS-75] the upload is gone, and so is what it held
async fn delete(call: Call<'_>) -> Reply {
    match remove(&call).await {
        Ok(()) => Reply::new(StatusCode::NO_CONTENT),
        Err(NotRemoved::Precondition) => conditions::failed(&call, DIALECT),
        Err(NotRemoved::Denied(why)) => denied(&call, why, DIALECT).await,
        Err(NotRemoved::Failed(error)) => answer(&call, error),
    }
}

fn answer(call: &Call<'_>, error: Error) -> Reply {
    let refusal = match error {
        Error::Fault(broken) => return fault(call, &broken),
        Error::Refused(refusal) => refusal,
    };
    call.refused(DIALECT, &refusal);
    refused(status(&refusal), &refusal)
}

/// 460, of the checksum extension; not a registered code.
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST)
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Unknown | Refusal::Incomplete => StatusCode::NOT_FOUND,
        Refusal::Gone(_) => StatusCode::GONE,
        // [TUS-25] the offsets differ
        // [TUS-96] some stock clients try again after 409 and 423, some after 409 alone, none after another 4xx
        Refusal::OffsetMismatch { .. }
        | Refusal::Complete
        | Refusal::Superseded { .. }
        | Refusal::Stalled { .. }
        | Refusal::Broken { .. } => StatusCode::CONFLICT,
        Refusal::Busy { .. } => StatusCode::LOCKED,
        Refusal::LengthMismatch { .. }
        | Refusal::TooShort { .. }
        | Refusal::LengthRequired
        | Refusal::BadPart { .. }
        | Refusal::TooManyParts { .. }
        | Refusal::ChecksumMissing => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } | Refusal::Overrun { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Stopping { .. } => StatusCode::SERVICE_UNAVAILABLE,
        // [TUS-85] a concatenation takes no bytes
        Refusal::Final | Refusal::Forbidden => StatusCode::FORBIDDEN,
        // [TUS-71] none of the request is kept
        Refusal::ChecksumMismatch => checksum_mismatch(),
    }
}
