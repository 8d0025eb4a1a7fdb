//! POST creates an upload.

use std::collections::BTreeSet;

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::http::request::chunk;
use crate::tus::{OFFSET_OCTET_STREAM, Resource, expect_not_created};

use super::concat::{empty_part, join};
use super::{CONCATENATION, DEFER, MAX_SIZE, WITH_UPLOAD};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-31"], "a creation names a length or defers it", names_a_length_or_defers_it),
    case!(["TUS-32"], "an Upload-Defer-Length other than 1 is answered 400", refuses_other_deferrals),
    case!(["TUS-34"], "a length above Tus-Max-Size is answered 413", refuses_the_oversized, needs MAX_SIZE),
    case!(["TUS-35"], "an upload of no bytes is complete at once", empty_is_complete),
    case!(["TUS-125"], "an empty body at creation completes an upload of no bytes", empty_with_body, needs WITH_UPLOAD),
    case!(["TUS-125"], "a deferred length may turn out to be 0", empty_deferred, needs DEFER),
    case!(["TUS-125"], "empty parts make an empty file", empty_joined, needs CONCATENATION),
    case!(["TUS-36"], "a creation is answered 201 with a Location that works", tells_where),
    case!(
        ["TUS-38"],
        "every creation makes an upload of its own, at a URL that cannot be guessed",
        makes_new_ones
    ),
    case!(["TUS-99"], "Location never repeats the Host that a client claims", distrusts_host),
];

async fn names_a_length_or_defers_it(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&ctx.creation(5)).await?;
    expect_not_created(&ctx.send(&ctx.post()).await?).at("neither")?;
    expect_not_created(&ctx.send(&ctx.creation(5).header("Upload-Defer-Length", 1)).await?).at("both")
}

async fn refuses_other_deferrals(ctx: &Ctx) -> CaseResult {
    for value in ["0", "2", "01", "true", ""] {
        let answer = ctx.send(&ctx.post().header("Upload-Defer-Length", value)).await?;
        answer.expect_status(400).at(format_args!("Upload-Defer-Length: {value:?}"))?;
        expect_not_created(&answer)?;
    }
    Ok(())
}

async fn refuses_the_oversized(ctx: &Ctx) -> CaseResult {
    let max = ctx.tus.announced.max_size.unwrap_or_default();
    for length in [max.saturating_add(1), max.saturating_mul(2)] {
        let answer = ctx.send(&ctx.post().header("Upload-Length", length)).await?;
        answer.expect_status(413).at(format_args!("Upload-Length: {length}"))?;
        expect_not_created(&answer)?;
    }
    Ok(())
}

async fn empty_is_complete(ctx: &Ctx) -> CaseResult {
    let upload = ctx.create(&ctx.creation(0)).await?;
    let answer = ctx.tus_head(&upload).await?;
    expect_eq("Upload-Offset", &0, &answer.number("upload-offset")?)?;
    expect_eq("Upload-Length", &0, &answer.number("upload-length")?)?;
    ctx.expect_tus_content(&upload, b"").await
}

async fn expect_empty(ctx: &Ctx, upload: &Resource) -> CaseResult {
    let answer = ctx.tus_head(upload).await?;
    expect_eq("Upload-Offset", &0, &answer.number("upload-offset")?)?;
    expect_eq("Upload-Length", &0, &answer.number("upload-length")?)?;
    ctx.expect_tus_content(upload, b"").await
}

async fn empty_with_body(ctx: &Ctx) -> CaseResult {
    let plain = ctx.creation(0).header("Content-Type", OFFSET_OCTET_STREAM);
    let upload = ctx.create(&plain.clone().body("")).await?;
    expect_empty(ctx, &upload).await.at("Content-Length: 0")?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&plain.chunked()).await?;
    wire.send(&chunk(b"")).await?;
    let upload = ctx.resource(&wire.answer().await?).at("in chunks")?;
    expect_empty(ctx, &upload).await.at("in chunks")
}

async fn empty_deferred(ctx: &Ctx) -> CaseResult {
    let upload = ctx.create(&ctx.post().header("Upload-Defer-Length", 1)).await?;
    ctx.expect_patched(&upload.patch_at(0).header("Upload-Length", 0).body(""), 0).await?;
    expect_empty(ctx, &upload).await
}

async fn empty_joined(ctx: &Ctx) -> CaseResult {
    let (one, _) = empty_part(ctx, 0).await?;
    let (other, _) = empty_part(ctx, 0).await?;
    let upload = ctx.create(&join(ctx, &[&one, &other])).await?;
    expect_empty(ctx, &upload).await
}

async fn tells_where(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(100).await?;
    ctx.expect_tus_offset(&upload, 0).await?;
    ctx.tus_finish(&upload, &body, 0).await?;
    // A connection goes on after a creation.
    let mut wire = ctx.connect().await?;
    let upload = ctx.resource(&wire.exchange(&ctx.creation(3)).await?)?;
    wire.exchange(&upload.patch_at(0).body("abc")).await?.expect_status(204)?;
    ctx.expect_tus_content(&upload, b"abc").await
}

async fn makes_new_ones(ctx: &Ctx) -> CaseResult {
    let mut urls = BTreeSet::new();
    for _ in 0..10 {
        let upload = ctx.create(&ctx.creation(1)).await?;
        let id = upload.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        // 128 bits take 22 characters of the densest alphabet that a path segment is written in.
        expect(id.len() >= 22, "an id of 128 bits or more", &id)?;
        expect(urls.insert(upload.url.clone()), "a URL of its own", &upload.url)?;
    }
    Ok(())
}

async fn distrusts_host(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&ctx.creation(5)).await?;
    let claimed = "attacker.example.net";
    let mut lines = format!("POST {} HTTP/1.1\r\nHost: {claimed}\r\nTus-Resumable: 1.0.0\r\n", ctx.tus.path);
    if let Some((token, _)) = &ctx.tus.grant {
        lines.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    lines.push_str("Upload-Length: 1\r\nContent-Length: 0\r\n\r\n");
    let mut wire = ctx.connect().await?;
    wire.send(lines.as_bytes()).await?;
    let answer = wire.answer().await?;
    if answer.status != 201 {
        return expect_not_created(&answer);
    }
    let location = answer.require("location")?;
    expect(!location.contains(claimed), "a Location of the server's own", location)
}
