//! Whole downloads: exact, cacheable, and harmless in a browser.

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_eq};
use crate::ctx::{Ctx, Slot, unique};
use crate::http::{Answer, Request};

const SIZE: usize = 2000;

pub(super) const CASES: &[Case] = &[
    case!(["XEP-61"], "a download has its length and no coding", downloads_are_plain),
    case!(["XEP-62"], "HEAD answers as GET does, without the body", head_is_get_without_body),
    case!(["XEP-135"], "a harmless type is kept, and nothing else can run", keeps_harmless_types),
    case!(["XEP-64"], "the ETag is strong, and If-None-Match is honoured", honours_if_none_match),
    case!(["XEP-65"], "Last-Modified is sent, and If-Modified-Since is honoured", honours_if_modified_since),
    case!(["XEP-85"], "a precondition on the content that fails is answered 412", honours_preconditions),
    case!(["XEP-66"], "only types that cannot run script are shown inline", only_passive_types_are_inline),
    case!(["XEP-67"], "the file's name is told as RFC 6266 wants it", tells_the_name),
    case!(["XEP-68"], "downloads forbid sniffing and active content", downloads_are_inert),
    case!(["XEP-69"], "an unknown file is answered 404 with a problem document", unknown_is_404),
];

/// Uploads [`SIZE`] bytes with a type.
async fn uploaded_as(ctx: &Ctx, name: &str, content_type: &str) -> Result<Slot, Failure> {
    let (slot, body) = ctx.file(name, SIZE)?;
    ctx.send(&slot.put().header("Content-Type", content_type).body(body))
        .await?
        .expect_status(201)
        .at("upload")?;
    Ok(slot)
}

async fn downloads_are_plain(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("notes.txt", SIZE as u64)?;
    let body = vec![b'a'; SIZE];
    ctx.send(&slot.put().header("Content-Type", "text/plain").body(body))
        .await?
        .expect_status(201)
        .at("upload")?;
    for method in ["GET", "HEAD"] {
        let request = Request::new(method, slot.url.clone()).header("Accept-Encoding", "gzip, br, zstd");
        let answer = ctx.send(&request).await?;
        answer
            .expect_status(200)?
            .expect_header("content-length", "2000")?
            .expect_no_header("content-encoding")?
            .expect_no_header("transfer-encoding")
            .at(method)?;
    }
    Ok(())
}

async fn head_is_get_without_body(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "photo.jpg", "image/jpeg").await?;
    let (head, get) = (ctx.send(&slot.head()).await?, ctx.send(&slot.get()).await?);
    head.expect_status(200)?.expect_header("accept-ranges", "bytes")?;
    expect_eq("bytes after HEAD", &0, &head.body.len())?;
    for name in
        ["content-length", "content-type", "etag", "last-modified", "accept-ranges", "content-disposition"]
    {
        expect_eq(name, &get.require(name)?, &head.header(name).unwrap_or("(none)"))?;
    }
    Ok(())
}

async fn keeps_harmless_types(ctx: &Ctx) -> CaseResult {
    for content_type in ["image/jpeg", "audio/ogg; codecs=opus", "text/plain; charset=utf-8"] {
        let slot = uploaded_as(ctx, "file.bin", content_type).await?;
        ctx.send(&slot.get()).await?.expect_status(200)?.expect_header("content-type", content_type)?;
    }
    for content_type in
        ["text/html", "image/svg+xml", "application/pdf", "application/wasm", "text/javascript"]
    {
        let slot = uploaded_as(ctx, "file.bin", content_type).await?;
        let answer = ctx.send(&slot.get()).await?;
        let disposition = answer.expect_status(200)?.require("content-disposition")?.to_owned();
        let is_inert = answer.header("content-type") == Some("application/octet-stream")
            || disposition.starts_with("attachment");
        expect(is_inert, "application/octet-stream, or an attachment", answer.summary()).at(content_type)?;
    }
    Ok(())
}

async fn honours_if_none_match(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "photo.jpg", "image/jpeg").await?;
    let answer = ctx.send(&slot.get()).await?;
    let tag = answer.require("etag")?.to_owned();
    expect(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "a strong entity-tag", &tag)?;
    let other = uploaded_as(ctx, "photo.jpg", "image/jpeg").await?;
    let other_tag = ctx.send(&other.get()).await?.require("etag")?.to_owned();
    expect(tag != other_tag, "another entity-tag for another content", other_tag)?;
    for condition in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        let answer = ctx.send(&slot.get().header("If-None-Match", &condition)).await?;
        answer.expect_status(304).at(format_args!("If-None-Match: {condition}"))?;
        answer.expect_header("etag", &tag)?;
        expect_eq("bytes after 304", &0, &answer.body.len())?;
    }
    ctx.send(&slot.get().header("If-None-Match", "\"another\""))
        .await?
        .expect_status(200)
        .at("another tag")?;
    Ok(())
}

async fn honours_if_modified_since(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "photo.jpg", "image/jpeg").await?;
    let answer = ctx.send(&slot.get()).await?;
    let date = answer.require("last-modified")?.to_owned();
    let parsed = httpdate::parse_http_date(&date);
    expect(parsed.is_ok(), "an HTTP date in Last-Modified", &date)?;
    let unchanged = ctx.send(&slot.get().header("If-Modified-Since", &date)).await?;
    unchanged.expect_status(304).at("since then")?;
    let changed = ctx.send(&slot.get().header("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")).await?;
    changed.expect_status(200).at("since 2000")?;
    let both = slot.get().header("If-Modified-Since", &date).header("If-None-Match", "\"another\"");
    ctx.send(&both).await?.expect_status(200).at("If-None-Match counts before If-Modified-Since")?;
    Ok(())
}

async fn honours_preconditions(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "photo.jpg", "image/jpeg").await?;
    let head = ctx.send(&slot.head()).await?;
    let (tag, date) = (head.require("etag")?.to_owned(), head.require("last-modified")?.to_owned());
    for (name, value, status) in [
        ("If-Match", tag.as_str(), 200),
        ("If-Match", "*", 200),
        ("If-Match", "\"another\"", 412),
        ("If-Unmodified-Since", date.as_str(), 200),
        ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
    ] {
        let answer = ctx.send(&slot.get().header(name, value)).await?;
        answer.expect_status(status).at(format_args!("{name}: {value}"))?;
    }
    Ok(())
}

fn disposition(answer: &Answer) -> Result<String, Failure> {
    let field = answer.require("content-disposition")?;
    Ok(field.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

async fn only_passive_types_are_inline(ctx: &Ctx) -> CaseResult {
    for (content_type, wanted) in [
        ("image/jpeg", "inline"),
        ("image/png", "inline"),
        ("video/mp4", "inline"),
        ("audio/ogg", "inline"),
        ("text/html", "attachment"),
        ("TEXT/HTML; charset=utf-8", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/xml", "attachment"),
        ("text/javascript", "attachment"),
        ("application/x-unheard-of", "attachment"),
    ] {
        let slot = uploaded_as(ctx, "file", content_type).await?;
        let answer = ctx.send(&slot.get()).await?;
        answer.expect_status(200)?;
        expect_eq("disposition", &wanted.to_owned(), &disposition(&answer)?).at(content_type)?;
    }
    Ok(())
}

async fn tells_the_name(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "report.pdf", "application/x-report").await?;
    let answer = ctx.send(&slot.get()).await?;
    let field = answer.require("content-disposition")?;
    expect(
        field.contains("filename=\"report.pdf\"") || field.contains("filename=report.pdf"),
        "filename=\"report.pdf\"",
        field,
    )?;
    let slot = uploaded_as(ctx, "naïve 🚢 \"plan\".pdf", "application/x-report").await?;
    let answer = ctx.send(&slot.get()).await?;
    let field = answer.require("content-disposition")?.to_ascii_lowercase();
    let wanted = "filename*=utf-8''na%c3%afve%20%f0%9f%9a%a2%20%22plan%22.pdf";
    expect(field.contains(wanted), wanted, field)
}

async fn downloads_are_inert(ctx: &Ctx) -> CaseResult {
    let slot = uploaded_as(ctx, "page.html", "text/html").await?;
    for answer in [ctx.send(&slot.get()).await?, ctx.send(&slot.head()).await?] {
        answer.expect_status(200)?.expect_header("x-content-type-options", "nosniff")?;
        let policy = answer.require("content-security-policy")?;
        for directive in ["default-src 'none'", "frame-ancestors 'none'"] {
            expect(policy.split(';').any(|part| part.trim() == directive), directive, policy)?;
        }
    }
    Ok(())
}

async fn unknown_is_404(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("never.jpg", 10)?;
    let answer = ctx.send(&slot.get()).await?;
    answer.expect_status(404)?.expect_problem()?;
    ctx.send(&slot.head()).await?.expect_status(404).at("HEAD")?;
    let lone = Request::new("GET", format!("{}/{}", ctx.base, unique()));
    ctx.send(&lone).await?.expect_status(404).at("a path of one segment")?;
    Ok(())
}
