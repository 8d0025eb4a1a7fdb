//! What OPTIONS tells of the target.

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::http::Answer;
use crate::tus::VERSION;

use super::{CHECKSUM, MAX_SIZE};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-1"], "OPTIONS is answered 200 or 204 with Tus-Version", tells_versions),
    case!(["TUS-123"], "OPTIONS is answered 200", answers_200),
    case!(["TUS-2"], "Tus-Extension is a list of names, or left out", tells_extensions),
    case!(["TUS-4"], "OPTIONS ignores the client's Tus-Resumable", ignores_version),
    case!(["TUS-6"], "Tus-Max-Size is a number of bytes", tells_max_size, needs MAX_SIZE),
    case!(["TUS-30"], "who creates uploads announces creation", announces_creation),
    case!(["TUS-43"], "creation-with-upload is announced only beside creation", announces_what_it_rests_on),
    case!(["TUS-73"], "Tus-Checksum-Algorithm names sha1 and is in lower case", tells_algorithms, needs CHECKSUM),
    case!(["TUS-100"], "a preflight lets a page of another origin speak tus", lets_pages_in),
    case!(["TUS-101"], "a page of another origin may read what tus answers", lets_pages_read),
];

const ORIGIN: &str = "https://app.example.org";

async fn options(ctx: &Ctx) -> Result<Answer, crate::case::Failure> {
    let answer = ctx.send(&ctx.options()).await?;
    answer.expect_status_in(&[200, 204])?;
    Ok(answer)
}

async fn tells_versions(ctx: &Ctx) -> CaseResult {
    let answer = options(ctx).await?;
    answer.expect_members("tus-version", &[VERSION])?;
    let all = answer.list("tus-version");
    let are_versions = all.iter().all(|version| {
        let parts: Vec<&str> = version.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| is_number(part))
    });
    expect(are_versions, "a list of versions in Tus-Version", all.join(","))
}

async fn answers_200(ctx: &Ctx) -> CaseResult {
    ctx.send(&ctx.options()).await?.expect_status(200)?;
    Ok(())
}

async fn tells_extensions(ctx: &Ctx) -> CaseResult {
    let answer = options(ctx).await?;
    if !answer.headers.contains_key("tus-extension") {
        return Ok(());
    }
    let value = answer.require("tus-extension")?;
    let is_list = value.split(',').all(|name| {
        let name = name.trim();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    expect(is_list, "a list of names in Tus-Extension, or no such field", value)
}

async fn ignores_version(ctx: &Ctx) -> CaseResult {
    for version in ["1.0.0", "0.2.2", "99.0.0", "nonsense"] {
        let answer = ctx.send(&ctx.options().header("Tus-Resumable", version)).await?;
        answer.expect_status_in(&[200, 204]).at(version)?.expect_members("tus-version", &[VERSION])?;
    }
    Ok(())
}

async fn tells_max_size(ctx: &Ctx) -> CaseResult {
    let answer = options(ctx).await?;
    let value = answer.require("tus-max-size")?;
    expect(is_number(value), "digits in Tus-Max-Size", value)
}

async fn announces_creation(ctx: &Ctx) -> CaseResult {
    ctx.create(&ctx.creation(1)).await?;
    options(ctx).await?.expect_members("tus-extension", &["creation"])?;
    Ok(())
}

async fn announces_what_it_rests_on(ctx: &Ctx) -> CaseResult {
    let announced = options(ctx).await?.list("tus-extension");
    let has = |name: &str| announced.iter().any(|known| known == name);
    for (extension, base) in [
        ("creation-with-upload", "creation"),
        ("creation-defer-length", "creation"),
        ("checksum-trailer", "checksum"),
        ("concatenation-unfinished", "concatenation"),
    ] {
        let holds = !has(extension) || has(base);
        expect(holds, format_args!("{base} beside {extension}"), announced.join(","))?;
    }
    Ok(())
}

async fn tells_algorithms(ctx: &Ctx) -> CaseResult {
    let answer = options(ctx).await?;
    answer.expect_members("tus-checksum-algorithm", &["sha1"])?;
    let value = answer.require("tus-checksum-algorithm")?;
    let is_lower = value.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
    expect(is_lower, "names in lower-case ASCII", value)
}

async fn lets_pages_in(ctx: &Ctx) -> CaseResult {
    let upload = ctx.create(&ctx.creation(1)).await?;
    let names = [
        "tus-resumable",
        "upload-length",
        "upload-offset",
        "upload-metadata",
        "upload-defer-length",
        "upload-concat",
        "upload-checksum",
        "x-http-method-override",
        "content-type",
        "authorization",
    ];
    for (path, method) in
        [(&ctx.tus.path, "POST"), (&upload.url, "PATCH"), (&upload.url, "HEAD"), (&upload.url, "DELETE")]
    {
        let preflight = crate::http::Request::new("OPTIONS", path.clone())
            .header("Origin", ORIGIN)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", names.join(","));
        let answer = ctx.send(&preflight).await?;
        answer
            .expect_status_in(&[200, 204])
            .and_then(|answer| answer.expect_members("access-control-allow-methods", &[method]))
            .and_then(|answer| answer.expect_members("access-control-allow-headers", &names))
            .map_err(|failure| failure.at(method))?;
        expect_origin(&answer).at(method)?;
    }
    Ok(())
}

async fn lets_pages_read(ctx: &Ctx) -> CaseResult {
    let created = ctx.send(&ctx.creation(4).header("Origin", ORIGIN)).await?;
    let upload = ctx.resource(&created)?;
    let exposed = ["location", "tus-resumable", "upload-offset", "upload-length", "upload-metadata"];
    expect_exposed(&created, &exposed).at("POST")?;
    let patched = ctx.send(&upload.patch_at(0).body("abcd").header("Origin", ORIGIN)).await?;
    patched.expect_status(204)?;
    expect_exposed(&patched, &exposed).at("PATCH")?;
    let refused = ctx.send(&upload.patch_at(2).body("cdef").header("Origin", ORIGIN)).await?;
    refused.expect_refused()?;
    expect_exposed(&refused, &exposed).at("a refused PATCH")
}

fn expect_exposed(answer: &Answer, names: &[&str]) -> CaseResult {
    answer.expect_members("access-control-expose-headers", names)?;
    expect_origin(answer)
}

fn expect_origin(answer: &Answer) -> CaseResult {
    let origin = answer.require("access-control-allow-origin")?;
    expect(origin == "*" || origin == ORIGIN, format_args!("{ORIGIN} or * to be allowed"), origin)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
