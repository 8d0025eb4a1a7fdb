//! A creation may bring the first bytes, or all of them.

use bytes::Bytes;

use crate::case::{Case, CaseResult, Need, Step as _, case, expect_eq};
use crate::ctx::{Ctx, noise};
use crate::http::Request;
use crate::http::request::chunk;
use crate::tus::{OFFSET_OCTET_STREAM, expect_not_created};

use super::WITH_UPLOAD;

const DEFERRED_WITH_UPLOAD: &[Need] =
    &[Need::Extension("creation-with-upload"), Need::Extension("creation-defer-length")];
const CHECKED_WITH_UPLOAD: &[Need] = &[Need::Extension("creation-with-upload"), Need::Extension("checksum")];

pub(super) const CASES: &[Case] = &[
    case!(["TUS-40"], "a body at creation is stored and acknowledged", stores_the_first_bytes, needs WITH_UPLOAD),
    case!(["TUS-41"], "a creation may bring the whole file", stores_the_whole, needs WITH_UPLOAD),
    case!(["TUS-42"], "a body of another media type is refused", refuses_media_types, needs WITH_UPLOAD),
    case!(["TUS-44"], "100 is answered when a creation will be taken, else the refusal", answers_continue, needs WITH_UPLOAD),
    case!(["TUS-45"], "a body beyond Upload-Length is refused", refuses_the_surplus, needs WITH_UPLOAD),
    case!(["TUS-46"], "a body may come with a deferred length", takes_deferred, needs DEFERRED_WITH_UPLOAD),
    case!(["TUS-47"], "a creation may be sent in chunks", takes_chunks, needs WITH_UPLOAD),
    case!(["TUS-48"], "a body at creation is held against its checksum", verifies_the_checksum, needs CHECKED_WITH_UPLOAD),
];

fn with_body(request: Request, body: &Bytes) -> Request {
    request.header("Content-Type", OFFSET_OCTET_STREAM).body(body.clone())
}

async fn stores_the_first_bytes(ctx: &Ctx) -> CaseResult {
    let body = noise("creation with upload", 100_000);
    let answer = ctx.send(&with_body(ctx.creation(body.len()), &body.slice(..40_000))).await?;
    let upload = ctx.resource(&answer)?;
    expect_eq("Upload-Offset", &40_000, &answer.number("upload-offset")?)?;
    ctx.expect_tus_offset(&upload, 40_000).await?;
    ctx.tus_finish(&upload, &body, 40_000).await
}

async fn stores_the_whole(ctx: &Ctx) -> CaseResult {
    let body = noise("creation with the whole", 100_000);
    let answer = ctx.send(&with_body(ctx.creation(body.len()), &body)).await?;
    let upload = ctx.resource(&answer)?;
    expect_eq("Upload-Offset", &100_000, &answer.number("upload-offset")?)?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn refuses_media_types(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&with_body(ctx.creation(5), &Bytes::from_static(b"hello"))).await?;
    for kind in ["application/octet-stream", "text/plain"] {
        let answer = ctx.send(&ctx.creation(5).header("Content-Type", kind).body("hello")).await?;
        expect_not_created(&answer).at(kind)?;
    }
    expect_not_created(&ctx.send(&ctx.creation(5).body("hello")).await?).at("no Content-Type")
}

async fn answers_continue(ctx: &Ctx) -> CaseResult {
    let expecting = |request: Request| {
        request.header("Content-Type", OFFSET_OCTET_STREAM).length(5).header("Expect", "100-continue")
    };
    let mut wire = ctx.connect().await?;
    wire.send_head(&expecting(ctx.creation(5))).await?;
    wire.any_answer().await?.expect_status(100).at("a good creation")?;
    wire.send(b"hello").await?;
    let upload = ctx.resource(&wire.answer().await?)?;
    ctx.expect_tus_content(&upload, b"hello").await?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&expecting(ctx.post())).await?;
    expect_not_created(&wire.any_answer().await?).at("a creation without a length")
}

async fn refuses_the_surplus(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&with_body(ctx.creation(5), &Bytes::from_static(b"hello"))).await?;
    let body = Bytes::from_static(b"hello world");
    expect_not_created(&ctx.send(&with_body(ctx.creation(5), &body)).await?).at("with Content-Length")?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&ctx.creation(5).header("Content-Type", OFFSET_OCTET_STREAM).chunked()).await?;
    wire.send(&chunk(&body)).await?;
    wire.send(&chunk(b"")).await?;
    let answer = wire.answer().await?;
    if answer.status != 201 {
        return expect_not_created(&answer).at("in chunks");
    }
    // A server may keep what fits, as it may with a PATCH; the surplus must leave no trace.
    let upload = ctx.resource(&answer)?;
    expect_eq("Upload-Offset", &5, &answer.number("upload-offset")?).at("in chunks")?;
    ctx.expect_tus_content(&upload, b"hello").await
}

async fn takes_deferred(ctx: &Ctx) -> CaseResult {
    let body = noise("deferred", 1000);
    let answer =
        ctx.send(&with_body(ctx.post().header("Upload-Defer-Length", 1), &body.slice(..400))).await?;
    let upload = ctx.resource(&answer)?;
    expect_eq("Upload-Offset", &400, &answer.number("upload-offset")?)?;
    ctx.expect_patched(&upload.patch(&body, 400, 1000).header("Upload-Length", 1000), 1000).await?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn takes_chunks(ctx: &Ctx) -> CaseResult {
    let body = noise("in chunks", 10_000);
    let mut wire = ctx.connect().await?;
    wire.send_head(&ctx.creation(20_000).header("Content-Type", OFFSET_OCTET_STREAM).chunked()).await?;
    for piece in body.chunks(999) {
        wire.send(&chunk(piece)).await?;
    }
    wire.send(&chunk(b"")).await?;
    let answer = wire.answer().await?;
    let upload = ctx.resource(&answer)?;
    expect_eq("Upload-Offset", &10_000, &answer.number("upload-offset")?)?;
    ctx.expect_tus_offset(&upload, 10_000).await
}

async fn verifies_the_checksum(ctx: &Ctx) -> CaseResult {
    let body = noise("checked", 1000);
    let claim = super::checksum::claim("sha1", &body)?;
    let post = with_body(ctx.creation(1000), &body);
    let upload = ctx.create(&post.clone().header("Upload-Checksum", claim)).await.at("a match")?;
    ctx.expect_tus_content(&upload, &body).await?;
    let wrong = super::checksum::claim("sha1", b"something else")?;
    let answer = ctx.send(&post.header("Upload-Checksum", wrong)).await?;
    answer.expect_status(460).at("a mismatch")?;
    expect_not_created(&answer)
}
