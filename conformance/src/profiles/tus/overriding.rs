//! X-HTTP-Method-Override: for environments that know no PATCH and no DELETE.

use crate::case::{Case, CaseResult, Step as _, case, expect_eq};
use crate::ctx::Ctx;
use crate::tus::OFFSET_OCTET_STREAM;

use super::TERMINATION;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-12"], "a POST that is overridden as PATCH is a PATCH", post_is_patch),
    case!(["TUS-12"], "a POST that is overridden as HEAD is a HEAD", post_is_head),
    case!(["TUS-12"], "a POST that is overridden as DELETE is a DELETE", post_is_delete, needs TERMINATION),
    case!(
        ["TUS-126"],
        "a request that is overridden is not carried out as what it is",
        overridden_is_not_carried_out
    ),
];

async fn post_is_patch(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(100).await?;
    let post = upload
        .request("POST")
        .header("X-HTTP-Method-Override", "PATCH")
        .header("Content-Type", OFFSET_OCTET_STREAM)
        .header("Upload-Offset", 0)
        .body(body.slice(..60));
    ctx.expect_patched(&post, 60).await?;
    ctx.tus_finish(&upload, &body, 60).await
}

async fn post_is_head(ctx: &Ctx) -> CaseResult {
    let (upload, _) = ctx.tus_begun(100, 40).await?;
    let answer = ctx.send(&upload.request("POST").header("X-HTTP-Method-Override", "HEAD")).await?;
    answer.expect_status_in(&[200, 204])?;
    expect_eq("Upload-Offset", &40, &answer.number("upload-offset")?)
}

async fn post_is_delete(ctx: &Ctx) -> CaseResult {
    let (upload, _) = ctx.tus_begun(100, 40).await?;
    let post = upload.request("POST").header("X-HTTP-Method-Override", "DELETE");
    ctx.send(&post).await?.expect_status(204)?;
    ctx.expect_gone(&upload).await
}

async fn overridden_is_not_carried_out(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    // In their own right the one would be a good PATCH, and the other a good DELETE.
    let patch = upload.patch(&body, 40, 100).header("X-HTTP-Method-Override", "HEAD");
    // Whether it is refused or answered as a HEAD is the server's own affair.
    let _answer = ctx.send(&patch).await;
    ctx.expect_tus_offset(&upload, 40).await.at("after a PATCH that is overridden as HEAD")?;
    let delete = upload.request("DELETE").header("X-HTTP-Method-Override", "HEAD");
    let _answer = ctx.send(&delete).await;
    ctx.expect_tus_offset(&upload, 40).await.at("after a DELETE that is overridden as HEAD")?;
    ctx.tus_finish(&upload, &body, 40).await
}
