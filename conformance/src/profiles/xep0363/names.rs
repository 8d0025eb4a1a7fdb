//! Names are data: any text is a name, and none is a path.

use bytes::Bytes;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_bytes};
use crate::ctx::{Ctx, Slot, encode_segment, noise, unique};
use crate::http::{Answer, Request};

const SIZE: usize = 500;

pub(super) const CASES: &[Case] = &[
    case!(["XEP-142"], "below a path for downloads nothing is written", download_path_is_read_only),
    case!(["XEP-143"], "no upload takes the place of a page of the server", pages_are_no_uploads),
    case!(["XEP-48"], "a name may hold any script; hex digits of either case spell it", keeps_scripts),
    case!(["XEP-49"], "a name may be sent as raw UTF-8", accepts_raw_utf8),
    case!(["XEP-50"], "a name may hold spaces and marks that URLs reserve", keeps_reserved_marks),
    case!(["XEP-51"], "a plus is a plus, not a space", keeps_plus),
    case!(["XEP-52"], "dots in a name climb nowhere", dots_climb_nowhere),
    case!(["XEP-53"], "a name may have 200 characters of any script", keeps_long_names),
    case!(["XEP-54"], "a path is percent-decoded once, slashes included", decodes_once),
];

/// Uploads under a name of its own and reads it back from the same URL.
async fn round_trip(ctx: &Ctx, name: &str, encoded: &str) -> Result<(Slot, Bytes), Failure> {
    let slot = ctx.slot_encoded(name, encoded, SIZE as u64)?;
    let body = noise(&slot.path, SIZE);
    ctx.send(&slot.put().body(body.clone())).await?.expect_status(201).at("PUT")?;
    ctx.expect_served(&slot, &body).await?;
    Ok((slot, body))
}

/// The same folder with another spelling of the last segment.
fn sibling(slot: &Slot, encoded: &str) -> String {
    let folder = slot.url.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{encoded}")
}

async fn keeps_scripts(ctx: &Ctx) -> CaseResult {
    for name in ["très cool.jpg", "Übergröße.pdf", "фото.png", "写真.webp", "🚢🌊.gif", "e\u{301}.txt"]
    {
        let (slot, body) = round_trip(ctx, name, &encode_segment(name)).await.at(format_args!("{name:?}"))?;
        let lower = Request::new("GET", sibling(&slot, &encode_segment(name).to_lowercase()));
        let answer = ctx.send(&lower).await?;
        answer.expect_status(200).at(format_args!("{name:?} in lower-case hex"))?;
        expect_bytes("the download", &body, &answer.body)?;
    }
    Ok(())
}

/// Sends a target which an ordinary client would have encoded.
async fn exchange_raw(ctx: &Ctx, request: &Request) -> Result<Answer, Failure> {
    ctx.connect().await?.exchange(request).await
}

async fn accepts_raw_utf8(ctx: &Ctx) -> CaseResult {
    let name = "très_cool_🚢.jpg";
    let slot = ctx.slot_encoded(name, name, SIZE as u64)?;
    let body = noise(&slot.path, SIZE);
    exchange_raw(ctx, &slot.put().body(body.clone())).await?.expect_status(201).at("PUT with raw UTF-8")?;
    let raw = exchange_raw(ctx, &slot.get()).await?;
    raw.expect_status(200).at("GET with raw UTF-8")?;
    expect_bytes("the download", &body, &raw.body)?;
    let encoded = ctx.send(&Request::new("GET", sibling(&slot, &encode_segment(name)))).await?;
    encoded.expect_status(200).at("GET percent-encoded")?;
    expect_bytes("the download", &body, &encoded.body)
}

async fn keeps_reserved_marks(ctx: &Ctx) -> CaseResult {
    for name in [
        "my holiday photo.jpg",
        " leading and trailing ",
        "a&b=c?d#e;f:g@h!$'(),*[].txt",
        "100%.txt",
        "\"quoted\".txt",
        "a\\b.txt",
    ] {
        round_trip(ctx, name, &encode_segment(name)).await.at(format_args!("{name:?}"))?;
    }
    Ok(())
}

async fn keeps_plus(ctx: &Ctx) -> CaseResult {
    let (slot, body) = round_trip(ctx, "c++ notes+.txt", "c++%20notes+.txt").await?;
    let answer = ctx.send(&Request::new("GET", sibling(&slot, "c%2B%2B%20notes%2B.txt"))).await?;
    answer.expect_status(200).at("%2B")?;
    expect_bytes("the download", &body, &answer.body)?;
    let spaces = Request::new("GET", sibling(&slot, "c%20%20%20notes%20.txt"));
    ctx.send(&spaces).await?.expect_status(404).at("spaces in place of plus signs")?;
    Ok(())
}

async fn dots_climb_nowhere(ctx: &Ctx) -> CaseResult {
    for name in ["a..b.txt", "..hidden", "...", ".htaccess", "trailing.."] {
        round_trip(ctx, name, &encode_segment(name)).await.at(format_args!("{name:?}"))?;
    }
    // A whole segment of dots may be refused or stored, but never walked.
    let victim = unique();
    for (name, encoded) in [
        (format!("../{victim}/x.txt"), format!("..%2F{victim}%2Fx.txt")),
        (format!("../{victim}/x.txt"), format!("../{victim}/x.txt")),
        (format!("../{victim}/x.txt"), format!("%2e%2e/{victim}/x.txt")),
        (
            "../../../../../../etc/plimsoll-conformance".to_owned(),
            "..%2f".repeat(6) + "etc%2fplimsoll-conformance",
        ),
        ("..".to_owned(), "..".to_owned()),
        (".".to_owned(), "%2e".to_owned()),
    ] {
        let slot = ctx.slot_encoded(&name, &encoded, SIZE as u64)?;
        let body = noise(&slot.path, SIZE);
        let answer = exchange_raw(ctx, &slot.put().body(body.clone())).await?;
        let fine = answer.status == 201 || (400..500).contains(&answer.status);
        expect(fine, "201 or a 4xx refusal", answer.summary()).at(format_args!("PUT {encoded:?}"))?;
        if answer.status == 201 {
            let read = exchange_raw(ctx, &slot.get()).await?;
            read.expect_status(200).at(format_args!("GET {encoded:?}"))?;
            expect_bytes("the download", &body, &read.body)?;
        }
        let climbed = Request::new("GET", format!("{}/{victim}/x.txt", ctx.base));
        ctx.send(&climbed).await?.expect_status(404).at(format_args!("where {encoded:?} points to"))?;
    }
    Ok(())
}

async fn keeps_long_names(ctx: &Ctx) -> CaseResult {
    for unit in ["x", "ü", "長", "🚢"] {
        let name = format!("{}.bin", unit.repeat(196));
        round_trip(ctx, &name, &encode_segment(&name))
            .await
            .at(format_args!("200 characters like {unit:?}"))?;
    }
    Ok(())
}

async fn decodes_once(ctx: &Ctx) -> CaseResult {
    let (slot, body) = round_trip(ctx, "folder/photo.jpg", "folder%2Fphoto.jpg").await?;
    let plain = ctx.send(&Request::new("GET", sibling(&slot, "folder/photo.jpg"))).await?;
    plain.expect_status(200).at("the slash in plain")?;
    expect_bytes("the download", &body, &plain.body)?;
    let (slot, _) = round_trip(ctx, "50%20off.txt", "50%2520off.txt").await?;
    let twice = Request::new("GET", sibling(&slot, "50%20off.txt"));
    ctx.send(&twice).await?.expect_status(404).at("decoded twice")?;
    Ok(())
}

/// Where there is a second path for downloads, it serves the same file; where there is none, nothing.
async fn download_path_is_read_only(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", 10).await?;
    let beside = |url: &str| format!("/download{}", url.strip_prefix(&ctx.base).unwrap_or(url));
    let get = ctx.send(&Request::new("GET", beside(&slot.url))).await?;
    get.expect_status_in(&[200, 404])?;
    if get.status == 200 {
        expect_bytes("the download", &body, &get.body)?;
    }
    let (empty, body) = ctx.file("photo.jpg", 10)?;
    let token = crate::token::v1(ctx.secret()?, &empty.path, empty.size)?;
    let put = Request::new("PUT", format!("{}?v={token}", beside(&empty.url))).body(body);
    ctx.send(&put).await?.expect_refused()?;
    ctx.expect_not_served(&empty).await
}

async fn pages_are_no_uploads(ctx: &Ctx) -> CaseResult {
    for page in ["/healthz", "/readyz", "/session"] {
        let token = crate::token::v1(ctx.secret()?, page.trim_start_matches('/'), 5)?;
        let put = Request::new("PUT", format!("{page}?v={token}")).body("bytes");
        ctx.send(&put).await?.expect_refused().at(page)?;
        let get = ctx.send(&Request::new("GET", page)).await?;
        expect(get.body != "bytes", "the page, and no upload", get.summary()).at(page)?;
    }
    Ok(())
}
