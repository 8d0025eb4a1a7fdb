//! PATCH appends at the offset, and nowhere else.

use std::time::Duration;

use bytes::Bytes;

use crate::case::{Case, CaseResult, Step as _, case, expect_eq};
use crate::ctx::Ctx;
use crate::http::request::chunk;
use crate::tus::OFFSET_OCTET_STREAM;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-128"], "a PATCH whose If-Match does not hold is answered 412", honours_conditions),
    case!(["TUS-11"], "an upload may be made of many small PATCHes", takes_many_small_ones),
    case!(["TUS-11"], "PATCHes may be pipelined", takes_pipelined_ones),
    case!(["TUS-14"], "a PATCH may be sent in chunks", takes_chunks),
    case!(
        ["TUS-15"],
        "100 is answered at the right offset, and the refusal at a wrong one",
        answers_continue
    ),
    case!(["TUS-17"], "5 MB in one PATCH arrive whole", takes_megabytes),
    case!(["TUS-18"], "a PATCH of no bytes is answered 204 and moves nothing", takes_nothing),
    case!(["TUS-19"], "GET serves a complete upload, and no other", serves_the_complete),
    case!(
        ["TUS-24"],
        "a PATCH of another media type is answered 415 and writes nothing",
        refuses_media_types
    ),
    case!(["TUS-25"], "a PATCH at another offset is answered 409 and writes nothing", refuses_other_offsets),
    case!(["TUS-26"], "a PATCH of what is unknown is answered 404", knows_nothing),
    case!(["TUS-27"], "a PATCH is answered 204 with the new offset", tells_the_new_offset),
    case!(["TUS-105"], "the media type of a PATCH has no case", media_types_have_no_case),
    case!(["TUS-106"], "a PATCH that is refused is refused before its body", refuses_before_the_body),
];

async fn takes_many_small_ones(ctx: &Ctx) -> CaseResult {
    const COUNT: usize = 200;
    let (upload, body) = ctx.tus_file(COUNT * 7).await?;
    let mut wire = ctx.connect().await?;
    for index in 0..COUNT {
        let answer = wire.exchange(&upload.patch(&body, index * 7, index * 7 + 7)).await?;
        answer.expect_status(204).at(format_args!("PATCH {index}"))?;
        expect_eq("Upload-Offset", &(index as u64 * 7 + 7), &answer.number("upload-offset")?)?;
    }
    ctx.expect_tus_content(&upload, &body).await
}

async fn takes_pipelined_ones(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(3000).await?;
    let mut wire = ctx.connect().await?;
    for from in [0, 1000, 2000] {
        wire.send_whole(&upload.patch(&body, from, from + 1000)).await?;
    }
    for offset in [1000, 2000, 3000] {
        let answer = wire.answer().await?;
        answer.expect_status(204)?;
        expect_eq("Upload-Offset", &offset, &answer.number("upload-offset")?)?;
    }
    ctx.expect_tus_content(&upload, &body).await
}

async fn takes_chunks(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(10_000).await?;
    for (from, to) in [(0, 4000), (4000, 10_000)] {
        let mut wire = ctx.connect().await?;
        wire.send_head(&upload.patch_at(from).chunked()).await?;
        for piece in body.slice(from..to).chunks(999) {
            wire.send(&chunk(piece)).await?;
        }
        wire.send(&chunk(b"")).await?;
        let answer = wire.answer().await?;
        answer.expect_status(204).at(format_args!("bytes {from} to {to}"))?;
        expect_eq("Upload-Offset", &(to as u64), &answer.number("upload-offset")?)?;
    }
    ctx.expect_tus_content(&upload, &body).await
}

async fn answers_continue(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(1000, 400).await?;
    let mut wire = ctx.connect().await?;
    let head = upload.patch_at(0).length(1000).header("Expect", "100-continue");
    wire.send_head(&head).await?;
    wire.any_answer().await.at("a wrong offset")?.expect_status(409).at("a wrong offset")?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&upload.patch_at(400).length(600).header("Expect", "100-continue")).await?;
    wire.any_answer().await.at("the right offset")?.expect_status(100).at("the right offset")?;
    wire.send(&body.slice(400..)).await?;
    wire.answer().await?.expect_status(204)?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn takes_megabytes(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(5_000_000).await?;
    ctx.tus_finish(&upload, &body, 0).await
}

async fn takes_nothing(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    ctx.expect_patched(&upload.patch_at(40), 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}

async fn serves_the_complete(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 99).await?;
    ctx.send(&upload.plain("GET")).await?.expect_status(404).at("GET of what is incomplete")?;
    ctx.expect_patched(&upload.patch(&body, 99, 100), 100).await?;
    let answer = ctx.send(&upload.plain("GET")).await?;
    answer.expect_status(200)?;
    crate::case::expect_bytes("the download", &body, &answer.body)
}

async fn refuses_media_types(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let patch = || upload.request("PATCH").header("Upload-Offset", 40).body(body.slice(40..));
    ctx.send(&patch()).await?.expect_status(415).at("no Content-Type")?;
    for kind in ["application/octet-stream", "text/plain", "application/offset", ""] {
        let answer = ctx.send(&patch().header("Content-Type", kind)).await?;
        answer.expect_status(415).at(format_args!("Content-Type: {kind:?}"))?;
    }
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}

async fn refuses_other_offsets(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    for offset in [0, 39, 41, 60, 100, 101, 4_000_000_000] {
        let patch = upload.patch_at(offset).body(Bytes::from_static(b"not these"));
        ctx.send(&patch).await?.expect_status(409).at(format_args!("Upload-Offset: {offset}"))?;
        ctx.expect_tus_offset(&upload, 40).await.at(format_args!("after Upload-Offset: {offset}"))?;
    }
    ctx.tus_finish(&upload, &body, 40).await
}

async fn refuses_before_the_body(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let unknown = ctx.unknown().await?;
    for (what, head) in [
        ("a wrong offset", upload.patch_at(41).length(59)),
        ("more than is left", upload.patch_at(40).length(1000)),
        ("an unknown upload", unknown.patch_at(0).length(60)),
        ("no media type", upload.request("PATCH").header("Upload-Offset", 40).length(60)),
    ] {
        let mut wire = ctx.stalled(&head, b"").await?;
        wire.answer_within(Duration::from_secs(5)).await.at(what)?.expect_refused().at(what)?;
    }
    ctx.tus_finish(&upload, &body, 40).await
}

async fn media_types_have_no_case(ctx: &Ctx) -> CaseResult {
    for kind in [OFFSET_OCTET_STREAM.to_ascii_uppercase(), "Application/Offset+Octet-Stream".to_owned()] {
        let (upload, body) = ctx.tus_file(10).await?;
        let patch = upload.request("PATCH").header("Upload-Offset", 0).header("Content-Type", &kind);
        ctx.expect_patched(&patch.body(body), 10).await.at(kind)?;
    }
    Ok(())
}

async fn knows_nothing(ctx: &Ctx) -> CaseResult {
    let unknown = ctx.unknown().await?;
    for patch in [unknown.patch_at(0).body("x"), unknown.patch_at(5).body("x")] {
        ctx.send(&patch).await?.expect_status(404)?;
    }
    ctx.expect_gone(&unknown).await
}

async fn tells_the_new_offset(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(100).await?;
    for (from, to) in [(0, 1), (1, 40), (40, 99), (99, 100)] {
        let answer = ctx.expect_patched(&upload.patch(&body, from, to), to).await?;
        crate::case::expect(answer.body.is_empty(), "no body with 204", answer.body.len())?;
        ctx.expect_tus_offset(&upload, to).await?;
    }
    Ok(())
}

async fn honours_conditions(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let patch = upload.patch(&body, 40, 60);
    ctx.send(&patch.clone().header("If-Match", "\"some-tag\"")).await?.expect_status(412)?;
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.expect_patched(&patch.header("If-Match", "*"), 60).await.at("If-Match: *")?;
    ctx.tus_finish(&upload, &body, 60).await
}
