//! Partial uploads become one.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Need, Step as _, case, expect, expect_eq};
use crate::ctx::{Ctx, noise};
use crate::http::Request;
use crate::tus::Resource;

use super::CONCATENATION;

const UNFINISHED: &[Need] = &[Need::Extension("concatenation"), Need::Extension("concatenation-unfinished")];

pub(super) const CASES: &[Case] = &[
    case!(["TUS-80"], "a partial upload is created, filled and told apart", makes_partials, needs CONCATENATION),
    case!(["TUS-81"], "a final upload is its parts in order, and as long", joins_in_order, needs CONCATENATION),
    case!(["TUS-83"], "a partial upload is not served as a file", hides_partials, needs CONCATENATION),
    case!(["TUS-84"], "HEAD repeats Upload-Concat as it came", repeats_concat, needs CONCATENATION),
    case!(["TUS-86"], "a final upload that waits has no offset, but a length", waits_openly, needs UNFINISHED),
    case!(["TUS-87"], "of a finished final the offset is the length", offset_is_length, needs CONCATENATION),
    case!(["TUS-88"], "a part may serve twice in one final, and in several", reuses_parts, needs CONCATENATION),
    case!(["TUS-90"], "a final upload has its own metadata and none of its parts'", keeps_metadata_apart, needs CONCATENATION),
    case!(["TUS-91"], "a final upload of unfinished parts completes with them", completes_with_parts, needs UNFINISHED),
    case!(["TUS-92"], "a hundred parts are joined in order", joins_a_hundred, needs CONCATENATION),
    case!(["TUS-93"], "parts may be named by relative and by absolute URLs", takes_both_forms, needs CONCATENATION),
];

/// The creation of a partial upload.
pub(super) fn partial(ctx: &Ctx, size: usize) -> Request {
    ctx.creation(size).header("Upload-Concat", "partial")
}

/// A new partial upload without a byte.
pub(super) async fn empty_part(ctx: &Ctx, size: usize) -> Result<(Resource, Bytes), Failure> {
    let part = ctx.create(&partial(ctx, size)).await.at("a part")?;
    let body = noise(&part.url, size);
    Ok((part, body))
}

/// A partial upload that is complete.
pub(super) async fn part(ctx: &Ctx, size: usize) -> Result<(Resource, Bytes), Failure> {
    let (part, body) = empty_part(ctx, size).await?;
    ctx.expect_patched(&part.patch(&body, 0, size), size).await.at("a part")?;
    Ok((part, body))
}

/// The value that joins these.
pub(super) fn final_of(parts: &[&Resource]) -> String {
    let urls: Vec<&str> = parts.iter().map(|part| part.url.as_str()).collect();
    format!("final;{}", urls.join(" "))
}

/// The creation of a final upload.
pub(super) fn join(ctx: &Ctx, parts: &[&Resource]) -> Request {
    ctx.post().header("Upload-Concat", final_of(parts))
}

/// Joining may take its time: HEAD comes to tell the whole length as the offset, within 10 s.
async fn expect_joined(ctx: &Ctx, upload: &Resource, body: &[u8]) -> CaseResult {
    let start = Instant::now();
    loop {
        let answer = ctx.tus_head(upload).await?;
        if answer.header("upload-offset").is_some_and(|offset| offset == body.len().to_string()) {
            expect_eq("Upload-Length", &(body.len() as u64), &answer.number("upload-length")?)?;
            return ctx.expect_tus_content(upload, body).await;
        }
        let seen = answer.header("upload-offset").unwrap_or("none").to_owned();
        expect(
            start.elapsed() < Duration::from_secs(10),
            format_args!("Upload-Offset {}", body.len()),
            seen,
        )?;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn makes_partials(ctx: &Ctx) -> CaseResult {
    let (part, body) = empty_part(ctx, 100).await?;
    for offset in [0, 40, 100] {
        if offset > 0 {
            let from = if offset == 40 { 0 } else { 40 };
            ctx.expect_patched(&part.patch(&body, from, offset), offset).await?;
        }
        let answer = ctx.tus_head(&part).await?;
        expect_eq("Upload-Offset", &(offset as u64), &answer.number("upload-offset")?)?;
        answer.expect_header("upload-concat", "partial").at(format_args!("at offset {offset}"))?;
    }
    Ok(())
}

async fn joins_in_order(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 50_000).await?;
    let (two, second) = part(ctx, 3).await?;
    let (three, third) = part(ctx, 120_000).await?;
    let upload = ctx.create(&join(ctx, &[&two, &three, &one])).await?;
    expect_joined(ctx, &upload, &[second, third, first].concat()).await
}

async fn hides_partials(ctx: &Ctx) -> CaseResult {
    let (part, _) = part(ctx, 100).await?;
    let answer = ctx.send(&part.plain("GET")).await?;
    answer.expect_refused().at("GET of a complete part")?;
    Ok(())
}

async fn repeats_concat(ctx: &Ctx) -> CaseResult {
    let (one, _) = part(ctx, 10).await?;
    let (two, _) = part(ctx, 20).await?;
    let value = final_of(&[&one, &two]);
    let upload = ctx.create(&ctx.post().header("Upload-Concat", &value)).await?;
    ctx.tus_head(&upload).await?.expect_header("upload-concat", &value)?;
    ctx.tus_head(&one).await?.expect_header("upload-concat", "partial").at("the part, afterwards")?;
    Ok(())
}

async fn waits_openly(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 10).await?;
    let (two, second) = empty_part(ctx, 20).await?;
    let upload = ctx.create(&join(ctx, &[&one, &two])).await?;
    let answer = ctx.tus_head(&upload).await?;
    answer.expect_no_header("upload-offset")?;
    expect_eq("Upload-Length", &30, &answer.number("upload-length")?)?;
    ctx.send(&upload.plain("GET")).await?.expect_refused().at("GET of what waits")?;
    ctx.expect_patched(&two.patch(&second, 0, 20), 20).await?;
    expect_joined(ctx, &upload, &[first, second].concat()).await?;
    if !ctx.tus.announces("creation-defer-length") {
        return Ok(());
    }
    // As soon as the length can be computed: not while a part's own is open.
    let open = ctx.post().header("Upload-Defer-Length", 1).header("Upload-Concat", "partial");
    let open = ctx.create(&open).await.at("a part of deferred length")?;
    let upload = ctx.create(&join(ctx, &[&one, &open])).await?;
    ctx.tus_head(&upload).await?.expect_no_header("upload-length").at("while a part's length is open")?;
    ctx.expect_patched(&open.patch_at(0).header("Upload-Length", 5).body("ab"), 2).await?;
    let answer = ctx.tus_head(&upload).await?;
    answer.expect_no_header("upload-offset")?;
    expect_eq("Upload-Length", &15, &answer.number("upload-length")?).at("when each part's length is known")
}

async fn offset_is_length(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 10).await?;
    let upload = ctx.create(&join(ctx, &[&one])).await?;
    expect_joined(ctx, &upload, &first).await?;
    let (empty, _) = empty_part(ctx, 0).await?;
    let upload = ctx.create(&join(ctx, &[&empty, &one, &empty])).await?;
    expect_joined(ctx, &upload, &first).await.at("with parts of no bytes")
}

async fn reuses_parts(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 1000).await?;
    let (two, second) = part(ctx, 500).await?;
    let twice = ctx.create(&join(ctx, &[&one, &two, &one])).await.at("the same part twice")?;
    expect_joined(ctx, &twice, &[first.clone(), second.clone(), first.clone()].concat()).await?;
    let again = ctx.create(&join(ctx, &[&two, &one])).await.at("a second final")?;
    expect_joined(ctx, &again, &[second, first].concat()).await
}

async fn keeps_metadata_apart(ctx: &Ctx) -> CaseResult {
    let request = partial(ctx, 4).header("Upload-Metadata", "filename cGFydA==,secret c2VjcmV0");
    let part = ctx.create(&request).await?;
    ctx.expect_patched(&part.patch_at(0).body("abcd"), 4).await?;
    let bare = ctx.create(&join(ctx, &[&part])).await?;
    ctx.tus_head(&bare).await?.expect_no_header("upload-metadata").at("a final without metadata")?;
    let own = "filename ZmluYWw=";
    let named = ctx.create(&join(ctx, &[&part]).header("Upload-Metadata", own)).await?;
    ctx.tus_head(&named).await?.expect_header("upload-metadata", own).at("a final with metadata")?;
    Ok(())
}

async fn completes_with_parts(ctx: &Ctx) -> CaseResult {
    let (one, first) = empty_part(ctx, 50_000).await?;
    let (two, second) = empty_part(ctx, 30_000).await?;
    let upload = ctx.create(&join(ctx, &[&one, &two])).await?;
    ctx.expect_patched(&two.patch(&second, 0, 30_000), 30_000).await?;
    ctx.expect_patched(&one.patch(&first, 0, 20_000), 20_000).await?;
    ctx.send(&upload.plain("GET")).await?.expect_refused().at("GET before the last byte")?;
    ctx.expect_patched(&one.patch(&first, 20_000, 50_000), 50_000).await?;
    expect_joined(ctx, &upload, &[first, second].concat()).await
}

async fn joins_a_hundred(ctx: &Ctx) -> CaseResult {
    let mut parts = Vec::new();
    let mut whole = Vec::new();
    let mut wire = ctx.connect().await?;
    for index in 0..100 {
        let size = 10 + index;
        let part = ctx.resource(&wire.exchange(&partial(ctx, size)).await?)?;
        let body = noise(&part.url, size);
        wire.exchange(&part.patch(&body, 0, size)).await?.expect_status(204)?;
        whole.extend_from_slice(&body);
        parts.push(part);
    }
    let upload = ctx.create(&join(ctx, &parts.iter().collect::<Vec<_>>())).await?;
    expect_joined(ctx, &upload, &whole).await
}

async fn takes_both_forms(ctx: &Ctx) -> CaseResult {
    let (one, first) = part(ctx, 100).await?;
    let (two, second) = part(ctx, 200).await?;
    let whole = [first, second].concat();
    let origin = format!("http://{}", ctx.authority);
    let relative = |part: &Resource| part.url.clone();
    let absolute = |part: &Resource| format!("{origin}{}", part.url);
    let as_told = |part: &Resource| part.location.clone();
    let forms: [(&str, String, String); 4] = [
        ("relative", relative(&one), relative(&two)),
        ("absolute", absolute(&one), absolute(&two)),
        ("mixed", relative(&one), absolute(&two)),
        ("as Location told them", as_told(&one), as_told(&two)),
    ];
    for (what, one, two) in forms {
        let request = ctx.post().header("Upload-Concat", format_args!("final;{one} {two}"));
        let upload = ctx.create(&request).await.at(what)?;
        expect_joined(ctx, &upload, &whole).await.at(what)?;
    }
    Ok(())
}
