//! Unfinished uploads that will be removed.

use std::time::Duration;

use tokio::time::sleep;

use crate::case::{Case, CaseResult, Need, Step as _, case, expect};
use crate::clock;
use crate::ctx::Ctx;
use crate::http::Answer;

use super::EXPIRATION;

const SHORT: &[Need] = &[Need::Extension("expiration"), Need::ShortExpiry];

pub(super) const CASES: &[Case] = &[
    case!(["TUS-60"], "PATCHes tell when an unfinished upload expires", tells_with_each_patch, needs EXPIRATION),
    case!(["TUS-61"], "Upload-Expires is a date of HTTP, in the future", tells_a_date, needs EXPIRATION),
    case!(["TUS-62"], "an upload that has expired is answered 404 or 410", forgets_the_expired, Expiry, needs SHORT),
];

async fn tells_with_each_patch(ctx: &Ctx) -> CaseResult {
    let created = ctx.send(&ctx.creation(100)).await?;
    let upload = ctx.resource(&created)?;
    created.require("upload-expires").at("creation")?;
    for (from, to) in [(0, 40), (40, 99)] {
        let answer = ctx.expect_patched(&upload.patch_at(from).body(vec![b'x'; to - from]), to).await?;
        answer.require("upload-expires").at(format_args!("PATCH to byte {to}"))?;
    }
    Ok(())
}

fn expect_future_date(answer: &Answer) -> CaseResult {
    let value = answer.require("upload-expires")?;
    let date = httpdate::parse_http_date(value).ok();
    let at = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let is_ahead = at.is_some_and(|at| at.as_secs() >= clock::unix_now());
    expect(is_ahead, "a date of HTTP, in the future", value)
}

async fn tells_a_date(ctx: &Ctx) -> CaseResult {
    let created = ctx.send(&ctx.creation(100)).await?;
    expect_future_date(&created).at("creation")?;
    let upload = ctx.resource(&created)?;
    let patched = ctx.send(&upload.patch_at(0).body("x")).await?;
    patched.expect_status(204)?;
    expect_future_date(&patched).at("PATCH")
}

async fn forgets_the_expired(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let (complete, whole) = ctx.tus_begun(100, 100).await?;
    // A second on top, since dates have whole seconds.
    sleep(ctx.tus.expires.unwrap_or_default() + Duration::from_millis(1500)).await;
    ctx.expect_gone(&upload).await?;
    let answer = ctx.send(&upload.patch(&body, 40, 100)).await?;
    answer.expect_status_in(&[404, 410]).at("PATCH")?;
    ctx.expect_tus_content(&complete, &whole).await.at("what was complete")
}
