//! DELETE ends an upload, finished or not.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::tus::slice;

use super::TERMINATION;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-75"], "DELETE is answered 204, and what follows 404 or 410", removes_the_unfinished, needs TERMINATION),
    case!(["TUS-76"], "a complete upload can be deleted too", removes_the_complete, needs TERMINATION),
    case!(["TUS-77"], "DELETE of what is unknown is answered 404 or 410", knows_nothing, needs TERMINATION),
    case!(["TUS-78"], "DELETE ends a PATCH that is under way", ends_a_writer, needs TERMINATION),
];

async fn removes_the_unfinished(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    ctx.send(&upload.request("DELETE")).await?.expect_status(204)?;
    ctx.expect_gone(&upload).await?;
    for (what, request) in [
        ("PATCH", upload.patch(&body, 40, 100)),
        ("PATCH at 0", upload.patch(&body, 0, 100)),
        ("GET", upload.plain("GET")),
        ("a second DELETE", upload.request("DELETE")),
    ] {
        ctx.send(&request).await?.expect_status_in(&[404, 410]).at(what)?;
    }
    Ok(())
}

async fn removes_the_complete(ctx: &Ctx) -> CaseResult {
    let (upload, _) = ctx.tus_begun(100, 100).await?;
    ctx.send(&upload.request("DELETE")).await?.expect_status(204)?;
    ctx.expect_gone(&upload).await?;
    ctx.send(&upload.plain("GET")).await?.expect_status_in(&[404, 410]).at("GET")?;
    Ok(())
}

async fn knows_nothing(ctx: &Ctx) -> CaseResult {
    let unknown = ctx.unknown().await?;
    ctx.send(&unknown.request("DELETE")).await?.expect_status_in(&[404, 410])?;
    Ok(())
}

async fn ends_a_writer(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(300_000).await?;
    let mut writer = ctx.stalled(&upload.patch_at(0).length(300_000), &slice(&body, 0, 120_000)).await?;
    ctx.send(&upload.request("DELETE")).await?.expect_status(204)?;
    ctx.expect_gone(&upload).await?;
    // Late bytes bring nothing back; the target may have closed the socket already.
    let _closed_already = writer.send(&slice(&body, 120_000, 300_000)).await;
    writer.expect_given_up(Duration::from_secs(5)).await.at("the PATCH")?;
    ctx.expect_gone(&upload).await.at("after the late bytes")
}
