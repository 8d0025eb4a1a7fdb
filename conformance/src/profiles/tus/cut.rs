//! As much as possible of what arrived is kept, however the connection ended.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::http::request::chunk;
use crate::tus::slice;

const SIZE: usize = 300_000;
const SENT: usize = 120_000;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-28"], "bytes of a PATCH that arrived before a reset are kept", keeps_bytes_before_reset),
    case!(["TUS-28"], "bytes that arrived before an early close are kept", keeps_bytes_before_close),
    case!(["TUS-28"], "chunks that arrived before a reset are kept", keeps_chunks_before_reset),
    case!(["TUS-28"], "an upload survives a cut in each of its PATCHes", survives_repeated_cuts),
    case!(["TUS-29"], "a PATCH that falls silent is cut, and its bytes are kept", cuts_silence, BodyGap),
];

async fn keeps_bytes_before_reset(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    ctx.stalled(&upload.patch_at(0).length(SIZE as u64), &slice(&body, 0, SENT)).await?.reset()?;
    ctx.await_tus_offset(&upload, SENT).await?;
    ctx.tus_finish(&upload, &body, SENT).await
}

async fn keeps_bytes_before_close(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    let mut wire = ctx.stalled(&upload.patch_at(0).length(SIZE as u64), &slice(&body, 0, SENT)).await?;
    wire.half_close().await?;
    drop(wire);
    ctx.await_tus_offset(&upload, SENT).await?;
    ctx.tus_finish(&upload, &body, SENT).await
}

async fn keeps_chunks_before_reset(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    let sent: Vec<u8> = slice(&body, 0, SENT).chunks(10_000).flat_map(chunk).collect();
    ctx.stalled(&upload.patch_at(0).chunked(), &sent).await?.reset()?;
    ctx.await_tus_offset(&upload, SENT).await?;
    ctx.tus_finish(&upload, &body, SENT).await
}

async fn survives_repeated_cuts(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    let mut offset = 0;
    for sent in [1, 50_001, 50_002, 150_000, SIZE - 1] {
        let head = upload.patch_at(offset).length((SIZE - offset) as u64);
        ctx.stalled(&head, &slice(&body, offset, sent)).await?.reset()?;
        ctx.await_tus_offset(&upload, sent).await.at(format_args!("cut after byte {sent}"))?;
        offset = sent;
    }
    ctx.tus_finish(&upload, &body, offset).await
}

async fn cuts_silence(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    let mut wire = ctx.stalled(&upload.patch_at(0).length(SIZE as u64), &slice(&body, 0, SENT)).await?;
    wire.expect_given_up(ctx.body_gap + Duration::from_secs(10)).await?;
    wire.expect_ended(Duration::from_secs(15)).await.at("after the silence")?;
    ctx.await_tus_offset(&upload, SENT).await?;
    ctx.tus_finish(&upload, &body, SENT).await
}
