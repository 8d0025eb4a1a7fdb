//! HEAD tells how far an upload has come.

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::tus::Resource;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-16"], "HEAD is answered 200 or 204, without a body", is_acknowledged),
    case!(
        ["TUS-20"],
        "HEAD tells the offset at the beginning, in between and at the end",
        always_tells_the_offset
    ),
    case!(["TUS-21"], "HEAD tells the length that was announced", tells_the_length),
    case!(["TUS-22"], "nobody may keep the answer to HEAD", is_never_stored),
    case!(
        ["TUS-23"],
        "HEAD of what is unknown is answered 404, 410 or 403, without an offset",
        knows_nothing
    ),
];

/// New, begun and complete: each with its offset.
async fn stages(ctx: &Ctx) -> Result<[(Resource, u64); 3], crate::case::Failure> {
    let (new, _) = ctx.tus_file(100).await?;
    let (begun, _) = ctx.tus_begun(100, 40).await?;
    let (complete, _) = ctx.tus_begun(100, 100).await?;
    Ok([(new, 0), (begun, 40), (complete, 100)])
}

async fn is_acknowledged(ctx: &Ctx) -> CaseResult {
    let (upload, _) = ctx.tus_begun(100, 40).await?;
    let mut wire = ctx.connect().await?;
    wire.exchange(&upload.head()).await?.expect_status_in(&[200, 204])?;
    // A body would be taken for the beginning of the next answer.
    wire.exchange(&upload.head())
        .await
        .at("a second HEAD on the connection")?
        .expect_status_in(&[200, 204])?;
    Ok(())
}

async fn always_tells_the_offset(ctx: &Ctx) -> CaseResult {
    for (upload, offset) in stages(ctx).await? {
        expect_eq("Upload-Offset", &offset, &ctx.tus_offset(&upload).await?)?;
    }
    Ok(())
}

async fn tells_the_length(ctx: &Ctx) -> CaseResult {
    for (upload, offset) in stages(ctx).await? {
        let answer = ctx.tus_head(&upload).await?;
        expect_eq("Upload-Length", &100, &answer.number("upload-length")?)
            .at(format_args!("at offset {offset}"))?;
    }
    Ok(())
}

async fn is_never_stored(ctx: &Ctx) -> CaseResult {
    for (upload, offset) in stages(ctx).await? {
        let answer = ctx.tus_head(&upload).await?;
        answer.expect_members("cache-control", &["no-store"]).at(format_args!("at offset {offset}"))?;
    }
    Ok(())
}

async fn knows_nothing(ctx: &Ctx) -> CaseResult {
    let answer = ctx.send(&ctx.unknown().await?.head()).await?;
    answer.expect_status_in(&[404, 410, 403])?.expect_no_header("upload-offset")?;
    expect(answer.body.is_empty(), "no body", answer.body.len())
}
