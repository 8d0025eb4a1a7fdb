//! Answers that every dialect gives alike.

use http::{StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{Call, reply::Reply};
use crate::{
    engine::{Outcome, Refusal},
    fault::Fault,
    upload::Upload,
};

/// [XEP-133] 415 to a body in a content coding: it would be kept as it is and served without saying so.
#[must_use]
pub fn coded(call: &Call<'_>, dialect: &'static str) -> Option<Reply> {
    let is_identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    let mut fields = call.headers.get_all(header::CONTENT_ENCODING).iter();
    if fields.all(|field| field.as_bytes().split(|byte| *byte == b',').all(is_identity)) {
        return None;
    }
    call.house.metrics.refused(dialect, "content-coding");
    let detail = "an upload takes no Content-Encoding: send the bytes as they are to be served";
    let reply = Reply::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-coding", detail);
    // RFC 9110 section 12.5.3
    Some(reply.with(header::ACCEPT_ENCODING, "identity"))
}

/// Our fault: logged and counted here, once, and told without its inner text.
#[must_use]
pub fn fault(call: &Call<'_>, fault: &Fault) -> Reply {
    call.house.metrics.fault(fault.component.word());
    // [ENG-66] the engine has logged what is lost, once
    if !fault.lost {
        tracing::error!(%fault, "a request failed by a fault of ours");
    }
    Reply::fault(fault)
}

/// The part of a refusal's answer that every dialect shares: problem document, offset, when to try again.
#[must_use]
pub fn refused(status: StatusCode, refusal: &Refusal) -> Reply {
    let mut more = Map::new();
    if let Some(held) = refusal.held() {
        more.insert("offset".into(), held.0.into());
    }
    let reply =
        Reply::problem_with(status, refusal.word(), &refusal.to_string(), more).offset(refusal.held());
    match refusal.retry_after() {
        Some(pause) => reply.with(header::RETRY_AFTER, pause.as_secs().max(1)),
        None => reply,
    }
}

/// The strong validator of a complete upload: its id, since its bytes never change.
#[must_use]
pub fn etag(upload: &Upload) -> String {
    format!("\"{}\"", upload.id.0)
}

/// Where an upload is, in the URL that the client knows us by. Holds no credential.
#[must_use]
pub fn location(call: &Call<'_>, upload: &Upload) -> String {
    let origin = call.house.public_url.as_deref().or(call.forwarded_origin.as_deref()).unwrap_or_default();
    format!("{origin}{}", utf8_percent_encode(upload.name.as_str(), PATH))
}

/// What RFC 3986 lets stand in a path as it is, but for the few that proxies and shells like to touch.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'+')
    .remove(b'@');

/// 201 without a body, or with JSON for those who ask for it by name.
#[must_use]
pub fn created(call: &Call<'_>, outcome: &Outcome) -> Reply {
    let upload = &outcome.upload;
    call.visit.saw(upload);
    let reply = Reply::new(StatusCode::CREATED)
        .with(header::ETAG, etag(upload))
        .with(header::LOCATION, location(call, upload));
    if !call.header(header::ACCEPT).is_some_and(accepts_json) {
        return reply;
    }
    let value: Value = json!({
        "success": true,
        "filename": upload.about.filename,
        "size": upload.offset.0,
        // [AUT-103] nobody is told by the URL alone who uploads here
        "user": upload.about.owner.as_ref().filter(|_| call.visit.is_admitted()),
        "uploaded_at": upload.completed_at.map(|at| at.to_string()),
    });
    reply.json(&value)
}

/// Whether an Accept header names JSON itself; `*/*` does not ask for it.
fn accepts_json(accept: &str) -> bool {
    accept.split(',').any(|part| {
        let mut fields = part.split(';').map(str::trim);
        let is_json = fields.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
        let refused =
            fields.any(|f| f.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        is_json && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_only_to_those_who_name_it() {
        for yes in
            ["application/json", "text/html, Application/JSON;q=0.5", "application/json; charset=utf-8"]
        {
            assert!(accepts_json(yes), "{yes}");
        }
        for no in ["*/*", "", "text/plain", "application/json;q=0", "application/*", "application/jsonx"] {
            assert!(!accepts_json(no), "{no}");
        }
    }
}
