//! Ranges follow one another until the file is whole.

use crate::case::{Case, CaseResult, Step as _, case, expect_eq};
use crate::ctx::Ctx;
use crate::http::request::chunk;

use super::{begin, expect_incomplete, finish, part, range};

const SIZE: usize = 3000;

pub(super) const CASES: &[Case] = &[
    case!(["CRG-1"], "a range at the offset is answered 308 with what is stored", stores_a_range),
    case!(
        ["CRG-2"],
        "308 says that the upload is incomplete, is not cached and leads nowhere",
        answers_incomplete
    ),
    case!(["CRG-3"], "the range that reaches the end is answered 201 and the file is served", completes),
    case!(["CRG-4"], "a whole file in one range is answered 201", accepts_one_range),
    case!(["CRG-5"], "ranges may come on one connection, pipelined", accepts_pipelined_ranges),
    case!(["CRG-6"], "a range of unknown total is appended at the offset", accepts_unknown_total),
    case!(["CRG-7"], "a range of unknown total completes the upload at its length", unknown_total_completes),
    case!(["CRG-8"], "a range may be sent in chunks", accepts_chunked_range),
    case!(["CRG-9"], "an upload needs no rhythm: single bytes and large ranges mix", accepts_uneven_ranges),
];

async fn stores_a_range(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let second = ctx.send(&range(&slot, &body, 1000, 1999)).await?;
    expect_incomplete(&second, 2000)
}

async fn answers_incomplete(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let answer = ctx.send(&range(&slot, &body, 0, 999)).await?;
    answer
        .expect_status(308)?
        .expect_header("upload-complete", "?0")?
        .expect_header("cache-control", "no-store")?
        .expect_no_header("location")?
        .expect_empty()
}

async fn completes(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let last = ctx.send(&range(&slot, &body, 1000, SIZE - 1)).await?;
    last.expect_status(201)?.expect_empty()?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn accepts_one_range(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    finish(ctx, &slot, &body, 0).await
}

async fn accepts_pipelined_ranges(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let mut bytes = Vec::new();
    for (first, last) in [(0, 999), (1000, 1999), (2000, SIZE - 1)] {
        bytes.extend(range(&slot, &body, first, last).whole(&ctx.authority));
    }
    let mut wire = ctx.connect().await?;
    wire.send(&bytes).await?;
    expect_incomplete(&wire.answer().await?, 1000)?;
    expect_incomplete(&wire.answer().await?, 2000)?;
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn accepts_unknown_total(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let put = slot.put().header("Content-Range", "bytes 1000-1999/*").body(part(&body, 1000, 1999));
    expect_incomplete(&ctx.send(&put).await?, 2000)?;
    finish(ctx, &slot, &body, 2000).await
}

async fn unknown_total_completes(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let put = slot.put().header("Content-Range", "bytes 1000-2999/*").body(part(&body, 1000, SIZE - 1));
    ctx.send(&put).await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn accepts_chunked_range(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().header("Content-Range", "bytes 0-1999/3000").chunked()).await?;
    for piece in part(&body, 0, 1999).chunks(300) {
        wire.send(&chunk(piece)).await?;
    }
    wire.send(&chunk(b"")).await?;
    expect_incomplete(&wire.answer().await?, 2000)?;
    finish(ctx, &slot, &body, 2000).await
}

async fn accepts_uneven_ranges(ctx: &Ctx) -> CaseResult {
    let size = 600_000;
    let (slot, body) = ctx.file("film.mp4", size)?;
    let mut offset = 0;
    for length in [1, 1, 300_000, 7, 65_536, 1] {
        let answer = ctx.send(&range(&slot, &body, offset, offset + length - 1)).await?;
        offset += length;
        expect_incomplete(&answer, offset).at(format_args!("{length} bytes up to {offset}"))?;
    }
    finish(ctx, &slot, &body, offset).await?;
    let head = ctx.send(&slot.head()).await?;
    expect_eq("Content-Length", &(size as u64), &head.number("content-length")?)
}
