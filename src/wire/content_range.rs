//! Ranged PUT: strict append with Content-Range, and the status query `bytes */S`. See
//! `protocol-spec/content-range.md`.

use http::{StatusCode, header};

use super::{
    Call,
    answer::{coded, created, fault, refused},
    body::{Announced, RequestSource, announced, is_empty},
    conditions::{self, Target},
    credentials::{about, denied, granted, may_begin, would_be_granted},
    empty::complete,
    reply::{Reply, UPLOAD_COMPLETE, UPLOAD_OFFSET},
};
use crate::{
    auth::Grant,
    engine::{Error, Order, Outcome, Refusal, Start, Write, digest::Check},
    upload::{Kind, Offset, Phase, Upload},
};

const DIALECT: &str = "content-range";
const QUERY_HAS_NO_BODY: &str = "a status query has no body";

/// A Content-Range of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes F-L/S` or `bytes F-L/*`: L is inclusive.
    Bytes {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
        /// The complete length, if the client knows it.
        total: Option<u64>,
    },
    /// `bytes */S` or `bytes */*`: how far are we?
    Query {
        /// The complete length, if the client knows it.
        total: Option<u64>,
    },
}

impl ContentRange {
    /// Parse RFC 9110 section 14.4, strictly: digits only, no sign, no space but the one behind the unit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim_start().split_once('/')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        if range == "*" {
            return Some(Self::Query { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        // The end must be a length, so L + 1 has to exist.
        let end = last.checked_add(1)?;
        (first <= last && total.is_none_or(|total| end <= total)).then_some(Self::Bytes {
            first,
            last,
            total,
        })
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| *n <= i64::MAX.unsigned_abs())
}

/// A PUT with a Content-Range.
pub async fn put(call: Call<'_>) -> Reply {
    if let Some(reply) = coded(&call, DIALECT) {
        return reply;
    }
    let mut given = call.headers.get_all(header::CONTENT_RANGE).iter();
    let parsed = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok().and_then(ContentRange::parse),
        _ => None,
    };
    let Some(range) = parsed else {
        return malformed("Content-Range must be one of bytes F-L/S, bytes F-L/*, bytes */S, bytes */*");
    };
    match range {
        ContentRange::Query { total } => query(call, total).await,
        ContentRange::Bytes { first, last, total } => append(call, first, last, total).await,
    }
}

fn malformed(detail: &str) -> Reply {
    Reply::problem(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// The credential, judged by the complete length that the request names, or else by the ledger's.
async fn grant(call: &Call<'_>, total: Option<u64>) -> Result<(Grant, Option<Upload>), Reply> {
    let known = match call.house.engine.find(&call.name).await {
        Ok(known) => known,
        Err(error) => return Err(answer(call, Err(error))),
    };
    let length = known.as_ref().and_then(|u| u.length);
    let grant = match granted(call, total.or(length), known.as_ref()).await {
        Ok(_) if known.is_none() && !may_begin(call) => {
            return Err(answer(call, Err(Refusal::Unknown.into())));
        }
        Ok(grant) => grant,
        // A token that was minted for this very upload, but the request names another total.
        Err(_)
            if length.is_some()
                && total != length
                && would_be_granted(call, length, known.as_ref()).await =>
        {
            let (ours, theirs) = (length.unwrap_or_default(), total.unwrap_or_default());
            return Err(answer(call, Err(Refusal::LengthMismatch { ours, theirs }.into())));
        }
        Err(why) => return Err(denied(call, why, DIALECT).await),
    };
    Ok((grant, known))
}

async fn append(mut call: Call<'_>, first: u64, last: u64, total: Option<u64>) -> Reply {
    let size = last - first + 1;
    match announced(&call.headers, call.version, &call.body) {
        Some(Announced::Bytes(bytes)) if bytes == size => {}
        Some(Announced::Unknown) => {}
        Some(Announced::Bytes(bytes)) => {
            return malformed(&format!("Content-Length is {bytes}, Content-Range holds {size} bytes"));
        }
        None => return malformed("Content-Length is not a number"),
    }
    let (grant, known) = match grant(&call, total).await {
        Ok(granted) => granted,
        Err(reply) => return reply,
    };
    // [CRG-62] what would be refused anyway is refused for that
    let target = match &known {
        None | Some(Upload { phase: Phase::Receiving, .. }) => Some(Target::Absent),
        Some(file) if file.phase == Phase::Complete && Some(file.offset.0) == last.checked_add(1) => {
            Some(Target::Complete(file))
        }
        Some(_) => None,
    };
    if target.is_some_and(|target| !conditions::hold(&call.headers, target)) {
        return conditions::failed(&call, DIALECT);
    }
    let order = Order {
        name: call.name.clone(),
        write: Write {
            start: Start::At(Offset(first)),
            body: Some(size),
            length: total.or(grant.size),
            may_create: may_begin(&call),
        },
        about: about(&call, &grant),
        kind: Kind::Single,
        check: Check::None,
        dialect: DIALECT,
    };
    let source = RequestSource::new(std::mem::take(&mut call.body), &call.headers, call.version);
    let outcome = call.house.engine.write(order, Box::pin(source)).await;
    answer(&call, outcome)
}

async fn query(mut call: Call<'_>, total: Option<u64>) -> Reply {
    match announced(&call.headers, call.version, &call.body) {
        Some(Announced::Bytes(0) | Announced::Unknown) => {}
        Some(Announced::Bytes(_)) => return malformed(QUERY_HAS_NO_BODY),
        None => return malformed("Content-Length is not a number"),
    }
    let grant = match grant(&call, total).await {
        Ok((grant, _)) => grant,
        Err(reply) => return reply,
    };
    // [CRG-61] some clients send an empty body in chunks
    if !is_empty(&mut call.body).await {
        return malformed(QUERY_HAS_NO_BODY);
    }
    let upload = match call.house.engine.state(&call.name, true).await {
        // [CRG-60] no range holds no bytes: of an empty file this is the request that makes it
        Ok(None) if may_begin(&call) && total.or(grant.size) == Some(0) => {
            return answer(&call, complete(&call, &grant, Offset::ZERO, DIALECT).await);
        }
        // The slot is good and nothing of it has arrived.
        Ok(None) if may_begin(&call) => return resume_at(Offset::ZERO),
        Ok(None) => return answer(&call, Err(Refusal::Unknown.into())),
        Ok(Some(upload)) => upload,
        Err(error) => return answer(&call, Err(error)),
    };
    if let (Some(ours), Some(theirs)) = (upload.length, total)
        && ours != theirs
    {
        return answer(&call, Err(Refusal::LengthMismatch { ours, theirs }.into()));
    }
    call.visit.saw(&upload);
    match upload.phase {
        Phase::Gone(why) => answer(&call, Err(Refusal::Gone(why).into())),
        Phase::Complete => created(&call, &Outcome { upload, is_complete: true }),
        // Every byte is there, but the request that brought the last one was at fault: this one ends it.
        Phase::Receiving if upload.length == Some(upload.offset.0) => {
            answer(&call, complete(&call, &grant, upload.offset, DIALECT).await)
        }
        Phase::Receiving => resume_at(upload.offset),
    }
}

/// 308 without a Location: not a redirect, but "go on from here".
fn resume_at(offset: Offset) -> Reply {
    let reply = Reply::new(StatusCode::PERMANENT_REDIRECT)
        .with(UPLOAD_OFFSET, offset)
        .with(UPLOAD_COMPLETE, "?0")
        .no_store();
    match offset.0.checked_sub(1) {
        Some(last) => reply.with(header::RANGE, format!("bytes=0-{last}")),
        None => reply,
    }
}

fn answer(call: &Call<'_>, outcome: Result<Outcome, Error>) -> Reply {
    let refusal = match outcome {
        Ok(outcome) if outcome.is_complete => return created(call, &outcome),
        Ok(outcome) => {
            call.visit.saw(&outcome.upload);
            return resume_at(outcome.upload.offset);
        }
        Err(Error::Fault(broken)) => return fault(call, &broken),
        Err(Error::Refused(refusal)) => refusal,
    };
    call.refused(DIALECT, &refusal);
    let status = match &refusal {
        Refusal::OffsetMismatch { ours, .. } => {
            return refused(StatusCode::RANGE_NOT_SATISFIABLE, &refusal)
                .with(header::CONTENT_RANGE, format!("bytes */{ours}"));
        }
        Refusal::Unknown | Refusal::Incomplete => StatusCode::NOT_FOUND,
        Refusal::Gone(_) => StatusCode::GONE,
        Refusal::Complete | Refusal::Superseded { .. } => StatusCode::CONFLICT,
        Refusal::LengthMismatch { .. }
        | Refusal::TooShort { .. }
        | Refusal::Overrun { .. }
        | Refusal::Broken { .. }
        | Refusal::BadPart { .. }
        | Refusal::TooManyParts { .. }
        | Refusal::ChecksumMismatch
        | Refusal::ChecksumMissing => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::LengthRequired => StatusCode::LENGTH_REQUIRED,
        Refusal::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Busy { .. } => StatusCode::LOCKED,
        Refusal::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
        Refusal::Stopping { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Forbidden | Refusal::Final => StatusCode::FORBIDDEN,
    };
    refused(status, &refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_four_forms() {
        let bytes = |first, last, total| Some(ContentRange::Bytes { first, last, total });
        assert_eq!(ContentRange::parse("bytes 0-4/10"), bytes(0, 4, Some(10)));
        assert_eq!(ContentRange::parse("Bytes 5-9/*"), bytes(5, 9, None));
        assert_eq!(ContentRange::parse("bytes */10"), Some(ContentRange::Query { total: Some(10) }));
        assert_eq!(ContentRange::parse(" bytes */* "), Some(ContentRange::Query { total: None }));
        assert_eq!(ContentRange::parse("bytes */0"), Some(ContentRange::Query { total: Some(0) }));
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "bytes",
            "bytes ",
            "items 0-4/10",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes 0-4/3",
            "bytes +0-4/10",
            "bytes 0-4/-10",
            "bytes 0 - 4/10",
            "bytes=0-4/10",
            "bytes 0-4/10,5-6/10",
            "bytes 0x0-4/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-4/99999999999999999999",
            "bytes 0-9223372036854775807/9223372036854775808",
            "bytes */-1",
            "bytes \u{661}-4/10",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad:?}");
        }
    }
}
