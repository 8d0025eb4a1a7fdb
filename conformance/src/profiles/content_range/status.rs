//! "How far have you come?": an empty PUT with `bytes */S`.

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::http::request::chunk;

use super::{begin, expect_incomplete, finish, query, range};

const SIZE: usize = 3000;

pub(super) const CASES: &[Case] = &[
    case!(["CRG-10"], "asking before the first byte is answered 308 without Range", nothing_stored),
    case!(["CRG-11"], "asking on the way is answered 308 with the stored range", something_stored),
    case!(["CRG-12"], "asking without knowing the total is answered alike", total_unknown),
    case!(["CRG-13"], "asking after completion is answered 201", all_stored),
    case!(["CRG-60"], "asking for an empty file makes it", makes_an_empty_file),
    case!(["CRG-61"], "the question may have an empty body in chunks", asks_in_chunks),
    case!(["CRG-14"], "asking changes nothing and is not cached", asking_changes_nothing),
];

async fn nothing_stored(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    expect_incomplete(&ctx.send(&query(&slot, "3000")).await?, 0)?;
    finish(ctx, &slot, &body, 0).await
}

async fn something_stored(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    expect_incomplete(&ctx.send(&query(&slot, "3000")).await?, 1000)?;
    finish(ctx, &slot, &body, 1000).await
}

async fn total_unknown(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    expect_incomplete(&ctx.send(&query(&slot, "*")).await?, 1000)?;
    finish(ctx, &slot, &body, 1000).await?;
    ctx.send(&query(&slot, "*")).await?.expect_status(201).at("after completion")?;
    Ok(())
}

async fn all_stored(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    ctx.send(&query(&slot, "3000")).await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn makes_an_empty_file(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("empty.txt", 0)?;
    ctx.send(&query(&slot, "0")).await?.expect_status(201)?;
    ctx.expect_served(&slot, b"").await?;
    ctx.send(&query(&slot, "0")).await?.expect_status(201).at("asked again")?;
    // No other file comes into being by asking.
    let larger = ctx.slot("photo.jpg", SIZE as u64)?;
    ctx.send(&query(&larger, "0")).await?.expect_refused()?;
    ctx.expect_not_served(&larger).await
}

async fn asks_in_chunks(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&query(&slot, "3000").chunked()).await?;
    wire.send(&chunk(b"")).await?;
    expect_incomplete(&wire.answer().await?, 1000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&query(&slot, "3000").chunked()).await?;
    wire.send(&chunk(b"bytes")).await?;
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(400).at("with bytes")?;
    finish(ctx, &slot, &body, 1000).await
}

async fn asking_changes_nothing(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    for _ in 0..3 {
        let answer = ctx.send(&query(&slot, "3000")).await?;
        answer
            .expect_status(308)?
            .expect_header("upload-complete", "?0")?
            .expect_header("cache-control", "no-store")?
            .expect_no_header("location")?;
    }
    expect_incomplete(&ctx.send(&range(&slot, &body, 1000, 1999)).await?, 2000)?;
    finish(ctx, &slot, &body, 2000).await
}
