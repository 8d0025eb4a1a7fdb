//! After the last byte: a PATCH that is repeated, and bytes that are too many.

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::{Ctx, noise};
use crate::http::request::chunk;
use crate::tus::slice;

pub(super) const CASES: &[Case] = &[
    case!(
        ["TUS-97"],
        "a repeated last PATCH is 409, and HEAD tells that all is there",
        refuses_to_repeat_the_last
    ),
    case!(["TUS-98"], "a body beyond Upload-Length is refused, and the upload is sound", refuses_the_surplus),
    case!(
        ["TUS-98"],
        "chunks beyond Upload-Length are refused, and the upload is sound",
        refuses_surplus_chunks
    ),
    case!(
        ["TUS-98"],
        "bytes behind a complete upload are refused, and the file stays",
        refuses_bytes_behind_the_end
    ),
];

async fn refuses_to_repeat_the_last(ctx: &Ctx) -> CaseResult {
    for (size, from) in [(100, 40), (100, 0), (300_000, 120_000)] {
        let (upload, body) = ctx.tus_begun(size, from).await?;
        let last = upload.patch(&body, from, size);
        ctx.stalled(&last.clone().length((size - from) as u64), &slice(&body, from, size)).await?.reset()?;
        ctx.await_tus_offset(&upload, size).await?;
        for time in ["once", "twice"] {
            ctx.send(&last).await?.expect_status(409).at(format_args!("repeated {time}"))?;
            ctx.expect_tus_offset(&upload, size).await?;
        }
        ctx.expect_tus_content(&upload, &body).await?;
    }
    Ok(())
}

async fn refuses_the_surplus(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let answer = ctx.send(&upload.patch_at(40).body(vec![b'x'; 61])).await?;
    answer.expect_refused()?;
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}

async fn refuses_surplus_chunks(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100_000, 40_000).await?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&upload.patch_at(40_000).chunked()).await?;
    wire.send(&chunk(&slice(&body, 40_000, 90_000))).await?;
    let surplus = [slice(&body, 90_000, 100_000), noise("surplus", 50_000)].concat();
    wire.send(&chunk(&surplus)).await?;
    // The target may have answered and closed before the end of the body.
    let _closed_already = wire.send(&chunk(b"")).await;
    wire.answer().await?.expect_refused()?;
    // What fits may be kept or discarded; it must not be more, nor other bytes.
    let offset = usize::try_from(ctx.tus_offset(&upload).await?).unwrap_or(usize::MAX);
    crate::case::expect((40_000..=100_000).contains(&offset), "an offset within the upload", offset)?;
    ctx.expect_patched(&upload.patch(&body, offset, 100_000), 100_000).await?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn refuses_bytes_behind_the_end(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 100).await?;
    for (offset, more) in [(100, "x"), (0, "x"), (99, "xx"), (101, "")] {
        let answer = ctx.send(&upload.patch_at(offset).body(more)).await?;
        answer.expect_refused().at(format_args!("{} bytes at {offset}", more.len()))?;
    }
    ctx.expect_tus_content(&upload, &body).await
}
