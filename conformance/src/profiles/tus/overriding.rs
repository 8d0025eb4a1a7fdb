//! X-HTTP-Method-Override: for environments that know no PATCH and no DELETE.

use crate::case::{Case, CaseResult, Step as _, case, expect_eq};
use crate::ctx::Ctx;
use crate::tus::OFFSET_OCTET_STREAM;

use super::TERMINATION;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-12"], "a POST that is overridden as PATCH is a PATCH", post_is_patch),
    case!(["TUS-12"], "a POST that is overridden as HEAD is a HEAD", post_is_head),
    case!(["TUS-12"], "a POST that is overridden as DELETE is a DELETE", post_is_delete, needs TERMINATION),
    case!(["TUS-13"], "the actual method is ignored", actual_method_is_ignored),
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

async fn actual_method_is_ignored(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    // In its own right it would be a good PATCH, and the DELETE would be carried out.
    let as_head = upload.patch(&body, 40, 100).header("X-HTTP-Method-Override", "HEAD");
    // What it is answered is for TUS-12 to say.
    let _answer = ctx.send(&as_head).await;
    ctx.expect_tus_offset(&upload, 40).await.at("after a PATCH that is overridden as HEAD")?;
    let as_patch = upload
        .request("DELETE")
        .header("X-HTTP-Method-Override", "PATCH")
        .header("Content-Type", OFFSET_OCTET_STREAM)
        .header("Upload-Offset", 40)
        .body(body.slice(40..));
    ctx.expect_patched(&as_patch, 100).await.at("a DELETE that is overridden as PATCH")?;
    ctx.expect_tus_content(&upload, &body).await
}
