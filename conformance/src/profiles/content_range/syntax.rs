//! Ranges that say nonsense write nothing.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::http::request::chunk;

use super::{begin, expect_offset, finish, part};

const SIZE: usize = 3000;
const AT_ONCE: Duration = Duration::from_secs(3);

pub(super) const CASES: &[Case] = &[
    case!(["CRG-15"], "a unit other than bytes is refused with 400", refuses_other_units),
    case!(["CRG-16"], "a Content-Range that is malformed is refused with 400", refuses_bad_syntax),
    case!(["CRG-17"], "several Content-Range fields are refused with 400", refuses_repeated_field),
    case!(
        ["CRG-18"],
        "a Content-Length that differs from the range is refused with 400",
        refuses_length_mismatch
    ),
    case!(["CRG-19"], "a chunked body is cut where its range ends, and refused with 400", cuts_overlong_body),
    case!(
        ["CRG-20"],
        "a chunked body that ends before its range is refused with 400 and kept",
        keeps_short_body
    ),
    case!(["CRG-21"], "a total other than the upload's size is refused with 400", refuses_other_total),
];

/// A PUT of bytes 1000 to 1999 under this Content-Range is refused with 400 and leaves the offset at 1000.
async fn refuses(ctx: &Ctx, fields: &[&str]) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let put = fields.iter().fold(slot.put(), |put, field| put.header("Content-Range", field));
    ctx.send(&put.body(part(&body, 1000, 1999))).await?.expect_status(400)?;
    expect_offset(ctx, &slot, 1000).await?;
    finish(ctx, &slot, &body, 1000).await
}

async fn refuses_other_units(ctx: &Ctx) -> CaseResult {
    for field in ["items 1000-1999/3000", "bits 1000-1999/3000", "none 1000-1999/3000"] {
        refuses(ctx, &[field]).await.at(field)?;
    }
    Ok(())
}

async fn refuses_bad_syntax(ctx: &Ctx) -> CaseResult {
    for field in [
        "bytes",
        "bytes 1000-1999",
        "bytes 1000/3000",
        "bytes -1999/3000",
        "bytes 1000-/3000",
        "bytes 1999-1000/3000",
        "bytes 1000-1999/1500",
        "bytes 1000-1999/-1",
        "bytes 0x3e8-1999/3000",
        "bytes +1000-1999/3000",
        "bytes 1000-99999999999999999999/3000",
        "bytes 1000-18446744073709551615/*",
        "bytes=1000-1999/3000",
        "bytes 1000-1999/3000 trailing",
        "bytes 1000-1999/3000, bytes 2000-2999/3000",
        "",
    ] {
        refuses(ctx, &[field]).await.at(format_args!("Content-Range: {field}"))?;
    }
    Ok(())
}

async fn refuses_repeated_field(ctx: &Ctx) -> CaseResult {
    refuses(ctx, &["bytes 1000-1999/3000", "bytes 0-999/3000"]).await?;
    refuses(ctx, &["bytes 0-999/3000", "bytes 1000-1999/3000"]).await
}

async fn refuses_length_mismatch(ctx: &Ctx) -> CaseResult {
    for length in [0, 999, 1001, 3000] {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        begin(ctx, &slot, &body, 1000).await?;
        let step = format!("Content-Length: {length} for a range of 1000");
        let mut wire = ctx.connect().await?;
        wire.send_head(&slot.put().header("Content-Range", "bytes 1000-1999/3000").length(length)).await?;
        wire.answer_within(AT_ONCE).await.at(&step)?.expect_status(400).at(&step)?;
        expect_offset(ctx, &slot, 1000).await.at(&step)?;
    }
    Ok(())
}

async fn cuts_overlong_body(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().header("Content-Range", "bytes 0-999/3000").chunked()).await?;
    wire.send(&chunk(&part(&body, 0, 1499))).await?;
    let _refused_early = wire.send(&chunk(b"")).await;
    wire.answer().await?.expect_status(400)?;
    expect_offset(ctx, &slot, 1000).await?;
    finish(ctx, &slot, &body, 1000).await
}

async fn keeps_short_body(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().header("Content-Range", "bytes 0-1999/3000").chunked()).await?;
    wire.send(&chunk(&part(&body, 0, 1499))).await?;
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(400)?;
    expect_offset(ctx, &slot, 1500).await?;
    finish(ctx, &slot, &body, 1500).await
}

async fn refuses_other_total(ctx: &Ctx) -> CaseResult {
    for total in [2000_u64, 2999, 3001] {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        begin(ctx, &slot, &body, 1000).await?;
        // The credential is right for the wrong total, so that the total alone decides.
        let lying = ctx.resized(&slot, total)?;
        let put = lying.put().header("Content-Range", format_args!("bytes 1000-1499/{total}"));
        let answer = ctx.send(&put.body(part(&body, 1000, 1499))).await?;
        answer.expect_status(400).at(format_args!("a total of {total} instead of 3000"))?;
        expect_offset(ctx, &slot, 1000).await?;
    }
    Ok(())
}
