//! What cannot be joined, and what a final upload does not take.

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::tus::expect_not_created;

use super::CONCATENATION;
use super::concat::{empty_part, final_of, join, part};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-82"], "a final upload with an Upload-Length is refused", refuses_a_length, needs CONCATENATION),
    case!(["TUS-85"], "a PATCH of a final upload is answered 403 and changes nothing", takes_no_bytes, needs CONCATENATION),
    case!(["TUS-89"], "a final upload of what is no part is refused", refuses_other_than_parts, needs CONCATENATION),
    case!(["TUS-89"], "a malformed Upload-Concat is refused", refuses_malformed, needs CONCATENATION),
    case!(["TUS-89"], "unfinished parts are joined only where that is announced", joins_unfinished_if_announced, needs CONCATENATION),
];

async fn refuses_a_length(ctx: &Ctx) -> CaseResult {
    let (one, _) = part(ctx, 10).await?;
    for length in [10, 11] {
        let answer = ctx.send(&join(ctx, &[&one]).header("Upload-Length", length)).await?;
        expect_not_created(&answer).at(format_args!("Upload-Length: {length}"))?;
    }
    Ok(())
}

async fn takes_no_bytes(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 10).await?;
    let upload = ctx.create(&join(ctx, &[&one])).await?;
    for offset in [0, 10] {
        let answer = ctx.send(&upload.patch_at(offset).body("more")).await?;
        answer.expect_status(403).at(format_args!("Upload-Offset: {offset}"))?;
    }
    ctx.expect_tus_content(&upload, &first).await?;
    ctx.expect_tus_offset(&one, 10).await.at("the part")?;
    if !ctx.tus.announces("concatenation-unfinished") {
        return Ok(());
    }
    let (open, body) = empty_part(ctx, 10).await?;
    let waiting = ctx.create(&join(ctx, &[&open])).await?;
    ctx.send(&waiting.patch_at(0).body("more")).await?.expect_status(403).at("a final that waits")?;
    ctx.expect_patched(&open.patch(&body, 0, 10), 10).await.at("its part")?;
    Ok(())
}

async fn refuses_other_than_parts(ctx: &Ctx) -> CaseResult {
    let (one, _) = part(ctx, 10).await?;
    let (single, _) = ctx.tus_begun(10, 10).await?;
    let unknown = ctx.unknown().await?;
    let joined = ctx.create(&join(ctx, &[&one])).await?;
    for (what, parts) in [
        ("an unknown part", [&one, &unknown]),
        ("an upload that is no part", [&one, &single]),
        ("a final upload", [&joined, &one]),
    ] {
        expect_not_created(&ctx.send(&join(ctx, &parts)).await?).at(what)?;
    }
    let stranger = format!("{} http://elsewhere.example.net/files/a", final_of(&[&one]));
    expect_not_created(&ctx.send(&ctx.post().header("Upload-Concat", stranger)).await?)
        .at("another server's URL")
}

async fn refuses_malformed(ctx: &Ctx) -> CaseResult {
    let (one, _) = part(ctx, 10).await?;
    for value in ["final", "final;", "final; ", "", "whole"] {
        let answer = ctx.send(&ctx.post().header("Upload-Concat", value)).await?;
        expect_not_created(&answer).at(format_args!("Upload-Concat: {value:?}"))?;
    }
    let joined = format!("final,{}", one.url);
    expect_not_created(&ctx.send(&ctx.post().header("Upload-Concat", joined)).await?)
        .at("a comma after final")?;
    expect_not_created(&ctx.send(&ctx.creation(5).header("Upload-Concat", "whole")).await?).at("another word")
}

async fn joins_unfinished_if_announced(ctx: &Ctx) -> CaseResult {
    let (one, _) = part(ctx, 10).await?;
    let (open, _) = empty_part(ctx, 10).await?;
    let answer = ctx.send(&join(ctx, &[&one, &open])).await?;
    if ctx.tus.announces("concatenation-unfinished") {
        ctx.resource(&answer)?;
        return Ok(());
    }
    expect_not_created(&answer)
}
