//! Tus-Resumable: every answer names the version, and no other version is served.

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::Ctx;
use crate::http::Request;
use crate::tus::{Resource, VERSION};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-3"], "every answer, refusals too, carries Tus-Resumable", marks_every_answer),
    case!(["TUS-5"], "another version is answered 412, and nothing is done", refuses_other_versions),
    case!(
        ["TUS-5"],
        "a POST or PATCH without a version is answered 412, and nothing is done",
        refuses_no_version
    ),
];

async fn marks_every_answer(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(100).await?;
    let unknown = ctx.unknown().await?;
    let requests: [(&str, Request); 9] = [
        ("a creation", ctx.creation(1)),
        ("a creation without a length", ctx.post()),
        ("HEAD", upload.head()),
        ("HEAD of what is unknown", unknown.head()),
        ("PATCH of what is unknown", unknown.patch_at(0).body("x")),
        ("PATCH of another media type", upload.request("PATCH").header("Upload-Offset", 0).body("x")),
        ("PATCH at a wrong offset", upload.patch_at(7).body("x")),
        ("PATCH", upload.patch(&body, 0, 100)),
        ("another version", upload.plain("HEAD").header("Tus-Resumable", "99.0.0")),
    ];
    for (what, request) in requests {
        ctx.send(&request).await?.expect_header("tus-resumable", VERSION).at(what)?;
    }
    Ok(())
}

async fn expect_refused(ctx: &Ctx, what: &str, request: &Request) -> CaseResult {
    let answer = ctx.send(request).await?;
    answer
        .expect_status(412)
        .and_then(|answer| answer.expect_no_header("location"))
        .and_then(|answer| answer.expect_members("tus-version", &[VERSION]))
        .map_err(|failure| failure.at(what))?;
    Ok(())
}

async fn refuses_other_versions(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let other = |request: Request| request.header("Tus-Resumable", "0.2.2");
    let patch = |upload: &Resource| {
        let patch = upload.plain("PATCH").header("Content-Type", crate::tus::OFFSET_OCTET_STREAM);
        patch.header("Upload-Offset", 40).body(body.slice(40..))
    };
    expect_refused(ctx, "POST", &other(ctx.bare_post().header("Upload-Length", 1))).await?;
    expect_refused(ctx, "HEAD", &other(upload.plain("HEAD"))).await?;
    expect_refused(ctx, "PATCH", &other(patch(&upload))).await?;
    expect_refused(ctx, "DELETE", &other(upload.plain("DELETE"))).await?;
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}

async fn refuses_no_version(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    expect_refused(ctx, "POST", &ctx.bare_post().header("Upload-Length", 1)).await?;
    let patch = upload.plain("PATCH").header("Content-Type", crate::tus::OFFSET_OCTET_STREAM);
    expect_refused(ctx, "PATCH", &patch.header("Upload-Offset", 40).body(body.slice(40..))).await?;
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}
