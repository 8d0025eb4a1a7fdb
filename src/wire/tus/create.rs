//! POST: creation, creation with upload, deferred length, and concatenation.

use std::collections::HashMap;

use http::{StatusCode, header};

use super::{
    DIALECT, answer, check, expires,
    headers::{
        self, BadMetadata, Concat, LONGEST_METADATA, MOST_PAIRS, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH,
        UPLOAD_METADATA,
    },
    length_header, malformed,
};
use crate::{
    auth::Grant,
    engine::{Error, Order, Refusal, Start, Write, digest::Check},
    id,
    upload::{About, Kind, Name, Offset, Upload},
    wire::{
        Call, Create, Door,
        answer::location,
        body::{Announced, RequestSource, announced},
        credentials::{denied, may_create, presents_grant, was_created},
        path,
        reply::{Reply, UPLOAD_LENGTH},
    },
};

/// The length of the upload and of the body, as far as a POST tells them: what its credential is held against.
struct Lengths {
    length: Option<u64>,
    body: Option<u64>,
}

/// What else a POST asks for, read from its head.
struct Wanted {
    check: Check,
    about: About,
    kind: Kind,
}

pub(super) async fn post(mut call: Call<'_>) -> Reply {
    let lengths = match lengths(&call) {
        Ok(lengths) => lengths,
        Err(reply) => return reply,
    };
    // [TUS-122] credential and rate first: whoever may not create costs no more than they do
    let grant = match permitted(&call, lengths.length.or(lengths.body)).await {
        Ok(grant) => grant,
        Err(reply) => return reply,
    };
    let wanted = match wanted(&call, &lengths) {
        Ok(wanted) => wanted,
        Err(reply) => return reply,
    };
    if let Kind::Final(parts) = &wanted.kind
        && let Err(refusal) = call.house.engine.may_join(parts.len())
    {
        return answer(&call, refusal.into());
    }
    let name = Name(format!("{}/{}", call.realm.base_path, id::random_hex_128()));
    let (Lengths { length, body }, Wanted { check, about, kind }) = (lengths, wanted);
    let about = About { owner: grant.subject.clone(), ..about };
    // [TUS-34] more than we take, or than the grant allows
    let limit = grant.max_size.map_or(call.house.max_size, |max| max.min(call.house.max_size));
    if length.or(body).is_some_and(|bytes| bytes > limit) {
        return answer(&call, Refusal::TooLarge { limit }.into());
    }
    if let Some(limit) = grant.max_size
        && let Err(error) = within(&call, limit, length, &kind).await
    {
        return answer(&call, error);
    }
    let write = Write { start: Start::At(Offset::ZERO), body: Some(0), length, may_create: true };
    let order = Order { name: name.clone(), write, about, kind, check, dialect: DIALECT };
    if let Kind::Final(parts) = order.kind.clone() {
        return match call.house.engine.concatenate(order, parts).await {
            Ok(upload) => created(&call, &grant, &upload, false),
            Err(error) => answer(&call, error),
        };
    }
    let is_empty = body == Some(0);
    if is_empty && order.check == Check::None {
        return match call.house.engine.create(order).await {
            Ok(upload) => created(&call, &grant, &upload, false),
            Err(error) => answer(&call, error),
        };
    }
    // [TUS-40] the body is the beginning of the upload, or all of it
    if let Some(body) = body
        && let Some(length) = length
        && body > length
    {
        return answer(&call, Refusal::TooLarge { limit: length }.into());
    }
    let nothing = Order { check: Check::None, ..order.clone() };
    let empty = match call.house.engine.create(nothing).await {
        Ok(upload) => upload,
        Err(error) => return answer(&call, error),
    };
    let order = Order { write: Write { body, may_create: false, ..order.write }, ..order };
    let source = RequestSource::new(std::mem::take(&mut call.body), &call.headers, call.version);
    match call.house.engine.write(order, Box::pin(source.with_trailers(headers::claim))).await {
        Ok(outcome) => created(&call, &grant, &outcome.upload, true),
        Err(error) => {
            // The client never learns the URL of an upload whose creation is refused.
            if let Err(error) = call.house.engine.delete(&empty.name, true).await {
                tracing::debug!(%error, "an upload whose creation was refused stays until it expires");
            }
            answer(&call, error)
        }
    }
}

/// [AUT-42] Whether the complete length is within the grant's bound. Later requests may show no grant, so it has to be
/// known now: told, or that of the parts together.
async fn within(call: &Call<'_>, limit: u64, length: Option<u64>, kind: &Kind) -> Result<(), Error> {
    let length = match kind {
        Kind::Single | Kind::Partial => length,
        Kind::Final(names) => {
            let parts = call.house.engine.states(names).await?;
            let known: HashMap<&Name, Option<u64>> =
                parts.iter().map(|part| (&part.name, part.length)).collect();
            let length_of = |name: &Name| match known.get(name) {
                Some(length) => *length,
                // Concatenation refuses what is not there.
                None => Some(0),
            };
            names.iter().map(length_of).try_fold(0_u64, |sum, length| Some(sum.saturating_add(length?)))
        }
    };
    match length {
        None => Err(Refusal::LengthRequired.into()),
        Some(length) if length > limit => Err(Refusal::TooLarge { limit }.into()),
        Some(_) => Ok(()),
    }
}

/// Who may create here, and how often.
async fn permitted(call: &Call<'_>, length: Option<u64>) -> Result<Grant, Reply> {
    match call.realm.door {
        Door::Files { create: Create::Open, .. } if !presents_grant(call) => {
            // [TUS-94] open creation is limited by address
            call.house.creations.turn(call.place.address).await.map_err(|wait| {
                call.house.metrics.refused(DIALECT, "rate");
                let detail = "too many uploads were created from this address; try again later";
                let seconds = wait.as_secs().saturating_add(1);
                Reply::problem(StatusCode::TOO_MANY_REQUESTS, "rate", detail)
                    .with(header::RETRY_AFTER, seconds)
            })?;
            Ok(Grant::of_url())
        }
        Door::Files { .. } | Door::Slots => match may_create(call, length).await {
            Ok(grant) => Ok(grant),
            Err(why) => Err(denied(call, why, DIALECT).await),
        },
    }
}

fn lengths(call: &Call<'_>) -> Result<Lengths, Reply> {
    let length = length_header(call, UPLOAD_LENGTH, "Upload-Length")?;
    match announced(&call.headers, call.version, &call.body) {
        Some(Announced::Bytes(bytes)) => Ok(Lengths { length, body: Some(bytes) }),
        Some(Announced::Unknown) => Ok(Lengths { length, body: None }),
        None => Err(malformed("Content-Length is not a number")),
    }
}

fn wanted(call: &Call<'_>, lengths: &Lengths) -> Result<Wanted, Reply> {
    let deferred = match call.header(UPLOAD_DEFER_LENGTH) {
        None if call.headers.contains_key(UPLOAD_DEFER_LENGTH) => return Err(bad_defer()),
        None => false,
        Some("1") => true,
        // [TUS-32] any value but 1
        Some(_) => return Err(bad_defer()),
    };
    let concat = match call.headers.get(UPLOAD_CONCAT) {
        None => None,
        Some(value) => {
            let text = value.to_str().unwrap_or_default();
            let form = "Upload-Concat must be partial, or final; and the URLs of partial uploads";
            Some((Concat::parse(text).ok_or_else(|| malformed(form))?, text.to_owned()))
        }
    };
    let (kind, concat) = match concat {
        None => (Kind::Single, None),
        Some((Concat::Partial, raw)) => (Kind::Partial, Some(raw)),
        Some((Concat::Final(urls), raw)) => {
            let names = urls.iter().map(|url| part(call, url)).collect::<Option<Vec<_>>>();
            let names =
                names.ok_or_else(|| malformed("Upload-Concat names a URL that is not of this server"))?;
            (Kind::Final(names), Some(raw))
        }
    };
    match (&kind, lengths.length, deferred) {
        // [TUS-82] the length of a final upload follows from its parts
        (Kind::Final(_), None, false) => {}
        (Kind::Final(_), _, _) => {
            return Err(malformed("a final upload has neither Upload-Length nor Upload-Defer-Length"));
        }
        // [TUS-31] one of the two, and only one
        (Kind::Single | Kind::Partial, Some(_), false) | (Kind::Single | Kind::Partial, None, true) => {}
        (Kind::Single | Kind::Partial, _, _) => {
            return Err(malformed("exactly one of Upload-Length and Upload-Defer-Length: 1 is needed"));
        }
    }
    if lengths.body != Some(0) {
        if matches!(kind, Kind::Final(_)) {
            return Err(malformed("a final upload has no body"));
        }
        let media =
            call.header(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
        if !media.is_some_and(|media| media.eq_ignore_ascii_case(headers::OFFSET_OCTET_STREAM)) {
            let detail = "a body at creation takes Content-Type: application/offset+octet-stream";
            return Err(Reply::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail));
        }
    }
    Ok(Wanted { check: check(call)?, about: about(call, concat)?, kind })
}

fn bad_defer() -> Reply {
    malformed("Upload-Defer-Length must be 1")
}

/// Metadata as it came, and what we understand of it.
fn about(call: &Call<'_>, concat: Option<String>) -> Result<About, Reply> {
    let Some(value) = call.headers.get(UPLOAD_METADATA) else {
        return Ok(About { concat, ..About::default() });
    };
    let rule = "Upload-Metadata must be comma-separated pairs of a unique key and a base64 value";
    let raw = value.to_str().map_err(|_| malformed(rule))?;
    // Stock clients send the header empty when they have nothing to say.
    if raw.trim().is_empty() {
        return Ok(About { concat, ..About::default() });
    }
    let pairs = headers::metadata(raw).map_err(|why| match why {
        BadMetadata::Malformed => malformed(rule),
        BadMetadata::TooMuch => {
            let detail =
                format!("Upload-Metadata takes at most {LONGEST_METADATA} bytes and {MOST_PAIRS} pairs");
            Reply::problem(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "metadata-too-large", &detail)
        }
    })?;
    let text = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| pairs.iter().find(|(known, _)| known == key));
        found.and_then(|(_, value)| String::from_utf8(value.clone()).ok()).filter(|text| !text.is_empty())
    };
    Ok(About {
        filename: text(&["filename", "name"]),
        content_type: text(&["filetype", "type", "contentType", "content-type", "mime_type"]),
        metadata: Some(raw.to_owned()),
        concat,
        ..About::default()
    })
}

/// The name behind a part's URL, absolute or relative. The host is not compared: behind proxies we may have many,
/// and a name that is not ours is refused when it is looked up.
fn part(call: &Call<'_>, url: &str) -> Option<Name> {
    let below_origin = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        Some(_) => return None,
        None => url,
    };
    let prefix = call
        .house
        .public_url
        .as_deref()
        .and_then(|url| url.split_once("://"))
        .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    let raw = prefix.and_then(|prefix| below_origin.strip_prefix(prefix)).unwrap_or(below_origin);
    let raw = raw.split(['?', '#']).next().unwrap_or(raw);
    let decoded = path::decode(raw).ok()?;
    if decoded.starts_with('/') {
        return Some(Name(decoded));
    }
    Some(Name(format!("{}/{decoded}", call.realm.base_path)))
}

/// [TUS-36] 201 with the URL of the new upload
fn created(call: &Call<'_>, grant: &Grant, upload: &Upload, with_offset: bool) -> Reply {
    was_created(call, grant, upload);
    let reply = Reply::new(StatusCode::CREATED).with(header::LOCATION, location(call, upload));
    let reply = if with_offset { reply.offset(Some(upload.offset)) } else { reply };
    expires(reply, upload)
}
