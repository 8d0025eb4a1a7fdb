//! Cut means kept: what arrived before a connection died is the next range's offset.

use std::time::Duration;

use crate::case::{Case, CaseResult, Failure, Step as _, case};
use crate::ctx::Ctx;
use crate::http::Wire;

use super::{begin, expect_mismatch, expect_offset, finish, part, query, range, stalled};

const SIZE: usize = 300_000;
const SENT: usize = 120_000;

pub(super) const CASES: &[Case] = &[
    case!(["CRG-30"], "bytes that arrived before a reset are kept", keeps_bytes_before_reset),
    case!(["CRG-31"], "bytes that arrived before an orderly close are kept", keeps_bytes_before_close),
    case!(
        ["CRG-32"],
        "bytes that arrived before the body fell silent are kept",
        keeps_bytes_before_silence,
        BodyGap
    ),
    case!(["CRG-33"], "an upload survives a cut in each of its ranges", survives_repeated_cuts),
    case!(
        ["CRG-34"],
        "a range that was cut is not to be sent again from its start",
        range_goes_on_behind_the_cut
    ),
    case!(["CRG-49"], "an upload whose 201 was lost is found complete", lost_answer_is_found),
];

/// A range from `offset` to the end of which only the first bytes are sent, up to `sent` in the file.
async fn half_range(
    ctx: &Ctx,
    slot: &crate::ctx::Slot,
    body: &bytes::Bytes,
    offset: usize,
    sent: usize,
) -> Result<Wire, Failure> {
    let head = slot
        .put()
        .header("Content-Range", format_args!("bytes {offset}-{}/{SIZE}", SIZE - 1))
        .length((SIZE - offset) as u64);
    stalled(ctx, &head, &part(body, offset, sent - 1)).await
}

async fn keeps_bytes_before_reset(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    half_range(ctx, &slot, &body, 0, SENT).await?.reset()?;
    expect_offset(ctx, &slot, SENT).await?;
    finish(ctx, &slot, &body, SENT).await
}

async fn keeps_bytes_before_close(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let mut wire = half_range(ctx, &slot, &body, 0, SENT).await?;
    wire.half_close().await?;
    if let Ok(answer) = wire.answer_within(Duration::from_secs(5)).await {
        answer.expect_status(400).at("the cut range")?;
    }
    expect_offset(ctx, &slot, SENT).await?;
    finish(ctx, &slot, &body, SENT).await
}

async fn keeps_bytes_before_silence(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let mut wire = half_range(ctx, &slot, &body, 0, SENT).await?;
    wire.expect_given_up(ctx.body_gap + Duration::from_secs(10)).await?;
    expect_offset(ctx, &slot, SENT).await?;
    finish(ctx, &slot, &body, SENT).await
}

async fn survives_repeated_cuts(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let mut offset = 0;
    for sent in [1, 50_001, 50_002, 150_000, SIZE - 1] {
        half_range(ctx, &slot, &body, offset, sent).await?.reset()?;
        expect_offset(ctx, &slot, sent).await.at(format_args!("cut after byte {sent}"))?;
        offset = sent;
    }
    finish(ctx, &slot, &body, offset).await
}

async fn lost_answer_is_found(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    half_range(ctx, &slot, &body, 0, SIZE).await?.reset()?;
    ctx.send(&query(&slot, &SIZE.to_string())).await?.expect_status(201).at("asking")?;
    ctx.send(&range(&slot, &body, SENT, SIZE - 1)).await?.expect_status(201).at("the last range again")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn range_goes_on_behind_the_cut(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    begin(ctx, &slot, &body, 10_000).await?;
    half_range(ctx, &slot, &body, 10_000, SENT).await?.reset()?;
    expect_offset(ctx, &slot, SENT).await?;
    expect_mismatch(&ctx.send(&range(&slot, &body, 10_000, SIZE - 1)).await?, SENT)?;
    finish(ctx, &slot, &body, SENT).await
}
