//! A length that is not known yet.

use bytes::Bytes;

use crate::case::{Case, CaseResult, Failure, Need, Step as _, case, expect, expect_eq};
use crate::ctx::{Ctx, noise};
use crate::tus::Resource;

use super::DEFER;

const LIMITED: &[Need] = &[Need::Extension("creation-defer-length"), Need::MaxSize];

pub(super) const CASES: &[Case] = &[
    case!(["TUS-50"], "a creation may defer its length", takes_deferral, needs DEFER),
    case!(["TUS-51"], "HEAD says so until the length is known", says_so_until_known, needs DEFER),
    case!(["TUS-52"], "a PATCH tells the length", learns_the_length, needs DEFER),
    case!(["TUS-53"], "a length that is known does not change", keeps_the_length, needs DEFER),
    case!(["TUS-54"], "a length below the offset is refused", refuses_less_than_it_has, needs DEFER),
    case!(["TUS-55"], "an empty PATCH may tell the length and complete the upload", completes_by_length, needs DEFER),
    case!(["TUS-56"], "a length above Tus-Max-Size is answered 413 later too", refuses_the_oversized, needs LIMITED),
    case!(["TUS-57"], "a PATCH may repeat the length", takes_the_same_again, needs DEFER),
    case!(["TUS-58"], "any number of PATCHes may come before the length", takes_bytes_before, needs DEFER),
];

async fn deferred(ctx: &Ctx) -> Result<(Resource, Bytes), Failure> {
    let upload = ctx.create(&ctx.post().header("Upload-Defer-Length", 1)).await?;
    let body = noise(&upload.url, 1000);
    Ok((upload, body))
}

async fn takes_deferral(ctx: &Ctx) -> CaseResult {
    let (upload, _) = deferred(ctx).await?;
    ctx.expect_tus_offset(&upload, 0).await
}

async fn says_so_until_known(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    for offset in [0, 400] {
        if offset > 0 {
            ctx.expect_patched(&upload.patch(&body, 0, offset), offset).await?;
        }
        let answer = ctx.tus_head(&upload).await?;
        answer
            .expect_header("upload-defer-length", "1")
            .and_then(|answer| answer.expect_no_header("upload-length"))
            .map_err(|failure| failure.at(format_args!("at offset {offset}")))?;
    }
    Ok(())
}

async fn expect_length(ctx: &Ctx, upload: &Resource, length: u64) -> CaseResult {
    let answer = ctx.tus_head(upload).await?;
    answer.expect_no_header("upload-defer-length")?;
    expect_eq("Upload-Length", &length, &answer.number("upload-length")?)
}

async fn learns_the_length(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, 0, 400).header("Upload-Length", 1000), 400).await?;
    expect_length(ctx, &upload, 1000).await?;
    ctx.tus_finish(&upload, &body, 400).await
}

async fn keeps_the_length(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, 0, 400).header("Upload-Length", 1000), 400).await?;
    for other in [500, 999, 1001, 2000] {
        let answer = ctx.send(&upload.patch(&body, 400, 500).header("Upload-Length", other)).await?;
        answer.expect_refused().at(format_args!("Upload-Length: {other}"))?;
        ctx.expect_tus_offset(&upload, 400).await?;
    }
    expect_length(ctx, &upload, 1000).await?;
    ctx.tus_finish(&upload, &body, 400).await
}

async fn refuses_less_than_it_has(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, 0, 400), 400).await?;
    for length in ["0", "399", "450", "-1", "many"] {
        let answer = ctx.send(&upload.patch(&body, 400, 500).header("Upload-Length", length)).await?;
        answer.expect_refused().at(format_args!("Upload-Length: {length}"))?;
        ctx.expect_tus_offset(&upload, 400).await?;
    }
    ctx.expect_patched(&upload.patch(&body, 400, 1000).header("Upload-Length", 1000), 1000).await?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn completes_by_length(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, 0, 1000), 1000).await?;
    ctx.expect_patched(&upload.patch_at(1000).header("Upload-Length", 1000), 1000).await?;
    expect_length(ctx, &upload, 1000).await?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn refuses_the_oversized(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    let above = ctx.tus.announced.max_size.unwrap_or_default().saturating_add(1);
    let answer = ctx.send(&upload.patch(&body, 0, 400).header("Upload-Length", above)).await?;
    answer.expect_status(413)?;
    ctx.expect_tus_offset(&upload, 0).await?;
    let answer = ctx.tus_head(&upload).await?;
    expect(answer.header("upload-defer-length") == Some("1"), "the length to be open still", answer.summary())
}

async fn takes_the_same_again(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    for (from, to) in [(0, 400), (400, 700), (700, 1000)] {
        ctx.expect_patched(&upload.patch(&body, from, to).header("Upload-Length", 1000), to).await?;
    }
    ctx.expect_tus_content(&upload, &body).await
}

async fn takes_bytes_before(ctx: &Ctx) -> CaseResult {
    let (upload, body) = deferred(ctx).await?;
    for from in (0..900).step_by(100) {
        ctx.expect_patched(&upload.patch(&body, from, from + 100), from + 100).await?;
    }
    ctx.expect_patched(&upload.patch(&body, 900, 1000).header("Upload-Length", 1000), 1000).await?;
    ctx.expect_tus_content(&upload, &body).await
}
