//! GET and HEAD: complete uploads, and the offset of an incomplete one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, Method, StatusCode, header};

use super::{
    Call,
    answer::{etag, fault},
    conditions,
    credentials::{denied, granted_to_ask, may_begin, may_read},
    download_plan::{Body, Servable, plan},
    removal::{NotRemoved, remove},
    reply::{Content, Reply, UPLOAD_COMPLETE, UPLOAD_LENGTH},
};
use crate::{
    engine::{Error, Refusal},
    upload::{Offset, Phase, Upload},
};

const DIALECT: &str = "download";

/// GET a complete upload.
pub async fn get(call: Call<'_>) -> Reply {
    let upload = match call.house.engine.complete(&call.name).await {
        Ok(upload) => upload,
        Err(error) => return answer(&call, error),
    };
    // Whoever knows a URL may read it, unless every verb asks for a grant.
    match may_read(&call, Some(&upload)).await {
        Ok(()) => serve(&call, upload).await,
        Err(why) => denied(&call, why, DIALECT).await,
    }
}

/// DELETE: an incomplete upload by whoever may write it, a complete one where the configuration allows it.
pub async fn delete(call: Call<'_>) -> Reply {
    match remove(&call).await {
        Ok(()) => Reply::new(StatusCode::NO_CONTENT),
        Err(NotRemoved::Precondition) => conditions::failed(&call, DIALECT),
        Err(NotRemoved::Denied(why)) => denied(&call, why, DIALECT).await,
        Err(NotRemoved::Failed(error)) => answer(&call, error),
    }
}

/// HEAD: of a complete upload what GET would say, of an incomplete one how far it is.
pub async fn head(call: Call<'_>) -> Reply {
    let known = match call.house.engine.find(&call.name).await {
        Ok(known) => known,
        Err(error) => return answer(&call, error),
    };
    if known.as_ref().is_some_and(|u| u.phase == Phase::Complete) {
        return get(call).await;
    }
    if let Err(why) = may_read(&call, known.as_ref()).await {
        return denied(&call, why, DIALECT).await;
    }
    // [ENG-3] the URL alone is no credential here, and may not end a writer
    let named = call.header(UPLOAD_LENGTH).and_then(|text| text.parse().ok());
    let grant = match granted_to_ask(&call, named, known.as_ref(), DIALECT).await {
        Ok(grant) => grant,
        Err(reply) => return reply,
    };
    let upload = match call.house.engine.state(&call.name, grant.is_some()).await {
        Ok(upload) => upload,
        Err(error) => return answer(&call, error),
    };
    if let Some(upload) = &upload {
        call.visit.saw(upload);
    }
    match upload.as_ref().map(|u| u.phase) {
        Some(Phase::Complete) => get(call).await,
        Some(Phase::Gone(why)) => answer(&call, Refusal::Gone(why).into()),
        Some(Phase::Receiving) => {
            incomplete(upload.as_ref().map_or(Offset::ZERO, |u| u.offset), upload.and_then(|u| u.length))
        }
        None => match grant {
            // The slot is good and nothing of it has arrived.
            Some(grant) if may_begin(&call) => incomplete(Offset::ZERO, grant.size),
            Some(_) | None => answer(&call, Refusal::Unknown.into()),
        },
    }
}

fn incomplete(offset: Offset, length: Option<u64>) -> Reply {
    let reply =
        Reply::new(StatusCode::NO_CONTENT).offset(Some(offset)).with(UPLOAD_COMPLETE, "?0").no_store();
    match length {
        Some(length) => reply.with(UPLOAD_LENGTH, length),
        None => reply,
    }
}

async fn serve(call: &Call<'_>, upload: Upload) -> Reply {
    let file = Servable {
        length: upload.offset.0,
        etag: etag(&upload),
        last_modified_ms: upload.completed_at.unwrap_or(upload.updated_at).0,
        content_type: upload.about.content_type.clone(),
        filename: upload.about.filename.clone().unwrap_or_default(),
    };
    let plan = plan(call.method == Method::HEAD, &call.headers, &file);
    let status = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_client_error() {
        let (word, detail) = if status == StatusCode::RANGE_NOT_SATISFIABLE {
            ("range", "the range begins behind the end of the file")
        } else {
            ("precondition", "the file is not the one that the request's conditions ask for")
        };
        call.house.metrics.refused(DIALECT, word);
        let mut headers = plan.headers;
        headers.remove(header::CONTENT_LENGTH);
        let mut reply = Reply::problem(status, word, detail);
        headers.extend(reply.headers);
        reply.headers = headers;
        return reply;
    }
    let content = match plan.body {
        Body::Empty => Ok(Content::Empty),
        Body::Whole => call.house.engine.read(&upload, 0..file.length).await.map(Content::Stream),
        Body::One(range) => call.house.engine.read(&upload, range).await.map(Content::Stream),
        Body::Many { parts, trailer } => Ok(many(call, Arc::new(upload), parts, trailer)),
    };
    match content {
        Ok(content) => {
            let mut reply = Reply { status, headers: plan.headers, content };
            let name = HeaderName::from_static("upload-offset");
            if call.method == Method::HEAD {
                reply = reply
                    .with(name, file.length)
                    .with(UPLOAD_LENGTH, file.length)
                    .with(UPLOAD_COMPLETE, "?1");
            }
            reply
        }
        Err(error) => answer(call, error),
    }
}

/// multipart/byteranges: each part's head, then its bytes, then the closing delimiter.
fn many(
    call: &Call<'_>,
    upload: Arc<Upload>,
    parts: Vec<(Vec<u8>, std::ops::Range<u64>)>,
    trailer: Vec<u8>,
) -> Content {
    let engine = call.house.engine.clone();
    let pieces = stream::iter(parts).then(move |(head, range)| {
        let (engine, upload) = (engine.clone(), Arc::clone(&upload));
        async move {
            let bytes = match engine.read(&upload, range).await {
                Ok(bytes) => bytes,
                Err(Error::Fault(fault)) => stream::once(async { Err(fault) }).boxed(),
                // Only a fault can stop the reading of an upload that was found complete.
                Err(Error::Refused(_)) => stream::empty().boxed(),
            };
            stream::once(async { Ok(Bytes::from(head)) }).chain(bytes)
        }
    });
    Content::Stream(pieces.flatten().chain(stream::once(async { Ok(Bytes::from(trailer)) })).boxed())
}

fn answer(call: &Call<'_>, error: Error) -> Reply {
    let refusal = match error {
        Error::Fault(broken) => return fault(call, &broken),
        Error::Refused(refusal) => refusal,
    };
    call.refused(DIALECT, &refusal);
    let status = match &refusal {
        Refusal::Gone(_) => StatusCode::GONE,
        Refusal::Busy { .. } => StatusCode::LOCKED,
        Refusal::Stopping { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Forbidden | Refusal::Final => StatusCode::FORBIDDEN,
        Refusal::Unknown
        | Refusal::Incomplete
        | Refusal::Complete
        | Refusal::OffsetMismatch { .. }
        | Refusal::LengthMismatch { .. }
        | Refusal::BadPart { .. }
        | Refusal::TooManyParts { .. }
        | Refusal::ChecksumMismatch
        | Refusal::ChecksumMissing
        | Refusal::TooLarge { .. }
        | Refusal::TooShort { .. }
        | Refusal::Overrun { .. }
        | Refusal::LengthRequired
        | Refusal::Superseded { .. }
        | Refusal::Stalled { .. }
        | Refusal::Broken { .. } => StatusCode::NOT_FOUND,
    };
    // [ENG-5] whether an incomplete upload exists is nobody's business but its writer's
    let told = if refusal == Refusal::Incomplete { Refusal::Unknown } else { refusal };
    let reply = Reply::problem(status, told.word(), &told.to_string());
    match told.retry_after() {
        Some(pause) => reply.with(header::RETRY_AFTER, pause.as_secs().max(1)),
        None => reply,
    }
}
