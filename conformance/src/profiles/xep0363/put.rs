//! A file arrives whole.

use std::time::Duration;

use tokio::time::sleep;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_bytes, expect_eq};
use crate::ctx::{Ctx, UPLOADER};
use crate::http::request::chunk;

pub(super) const CASES: &[Case] = &[
    case!(["XEP-1"], "a PUT of the granted size is answered 201", accepts_a_file),
    case!(["XEP-2"], "201 is empty, with Content-Length: 0, uncoded, and no redirect", answers_emptily),
    case!(["XEP-3"], "after 201 the file is served byte-identical", serves_at_once),
    case!(["XEP-4"], "a file of no bytes is a file", accepts_an_empty_file),
    case!(["XEP-5"], "a PUT needs no Content-Type", needs_no_content_type),
    case!(
        ["XEP-6"],
        "a chunked body is accepted when its credential names the size",
        accepts_chunked_with_bearer
    ),
    case!(
        ["XEP-7"],
        "a chunked body is accepted when Upload-Length names the size",
        accepts_chunked_with_length
    ),
    case!(
        ["XEP-8"],
        "a chunked body whose size nothing names is refused with 411",
        refuses_chunked_without_length
    ),
    case!(["XEP-130"], "a PUT with neither length nor chunks is an empty file", takes_no_body_for_empty),
    case!(["XEP-131"], "an empty file may come in chunks", accepts_an_empty_file_in_chunks),
    case!(["XEP-10"], "a chunked body that outgrows the slot is cut and refused", refuses_too_long_chunked),
    case!(["XEP-11"], "a chunked body that ends too early is refused with 400", refuses_too_short_chunked),
    case!(["XEP-12"], "a body that ends before its length is no upload", refuses_truncated_body),
    case!(["XEP-13"], "JSON is answered to a client that accepts it", answers_json_when_asked),
    case!(["XEP-14"], "JSON is not answered to a client that did not ask for it", answers_no_json_unasked),
    case!(["XEP-15"], "Expect: 100-continue is answered before the body", answers_continue),
    case!(["XEP-16"], "a body may pause and crawl", survives_pauses),
    case!(["XEP-17"], "a body that stays silent too long is cut", cuts_silent_body, BodyGap),
    case!(["XEP-18"], "5 MiB arrive whole", accepts_megabytes),
];

async fn accepts_a_file(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 10_000)?;
    ctx.send(&slot.put().header("Content-Type", "image/jpeg").body(body)).await?.expect_status(201)?;
    Ok(())
}

async fn answers_emptily(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 10_000)?;
    let put =
        slot.put().header("Accept-Encoding", "gzip, deflate, br, zstd").header("Accept", "*/*").body(body);
    let answer = ctx.send(&put).await?;
    answer.expect_status(201)?.expect_no_header("content-encoding")?.expect_empty()
}

async fn serves_at_once(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", 100_000).await?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn accepts_an_empty_file(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("empty.txt", 0).await?;
    let answer = ctx.expect_served(&slot, &body).await?;
    answer.expect_header("content-length", "0")?;
    Ok(())
}

async fn needs_no_content_type(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("file-without-extension", 100).await?;
    let answer = ctx.expect_served(&slot, &body).await?;
    answer.expect_header("content-type", "application/octet-stream")?;
    Ok(())
}

async fn accepts_chunked_with_bearer(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("voice.ogg", 3000)?;
    let token = slot.claims("audio/ogg").sign(ctx.secret()?)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put_with("").bearer(&token).chunked()).await?;
    for piece in body.chunks(700) {
        wire.send(&chunk(piece)).await?;
    }
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn accepts_chunked_with_length(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("voice.ogg", 3000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().chunked().header("Upload-Length", 3000)).await?;
    wire.send(&chunk(&body)).await?;
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn refuses_chunked_without_length(ctx: &Ctx) -> CaseResult {
    ctx.secret()?;
    let (slot, body) = ctx.file("voice.ogg", 300)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().chunked()).await?;
    wire.send(&chunk(&body)).await?;
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(411)?;
    ctx.expect_not_served(&slot).await
}

async fn takes_no_body_for_empty(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("empty.txt", 0)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put()).await?;
    wire.answer().await?.expect_status(201).at("a slot of no bytes")?;
    ctx.expect_served(&slot, b"").await?;
    let larger = ctx.slot("photo.jpg", 300)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&larger.put()).await?;
    wire.answer().await?.expect_status(403).at("a slot of 300 bytes")?;
    ctx.expect_not_served(&larger).await
}

async fn accepts_an_empty_file_in_chunks(ctx: &Ctx) -> CaseResult {
    for named in [true, false] {
        let slot = ctx.slot("empty.txt", 0)?;
        let head = slot.put().chunked();
        let head = if named { head.header("Upload-Length", 0) } else { head };
        let mut wire = ctx.connect().await?;
        wire.send_head(&head).await?;
        wire.send(&chunk(b"")).await?;
        wire.answer().await?.expect_status(201).at(format_args!("Upload-Length named: {named}"))?;
        ctx.expect_served(&slot, b"").await?;
    }
    let slot = ctx.slot("empty.txt", 0)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().chunked()).await?;
    // The server may hang up while these are under way.
    let _refused_early = wire.send(&chunk(b"more than nothing")).await;
    let _refused_early = wire.send(&chunk(b"")).await;
    wire.answer().await?.expect_refused()?;
    ctx.expect_not_served(&slot).await
}

async fn refuses_too_long_chunked(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("voice.ogg", 3000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().chunked().header("Upload-Length", 3000)).await?;
    wire.send(&chunk(&body)).await?;
    // The server may hang up while these are under way.
    let _refused_early = wire.send(&chunk(b"one byte too many, and more")).await;
    let _refused_early = wire.send(&chunk(b"")).await;
    wire.answer().await?.expect_status_in(&[400, 413])?;
    ctx.expect_not_served(&slot).await
}

async fn refuses_too_short_chunked(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("voice.ogg", 3000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().chunked().header("Upload-Length", 3000)).await?;
    wire.send(&chunk(body.get(..2999).unwrap_or_default())).await?;
    wire.send(&chunk(b"")).await?;
    wire.answer().await?.expect_status(400)?;
    ctx.expect_not_served(&slot).await
}

async fn refuses_truncated_body(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 3000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(3000)).await?;
    wire.send(body.get(..2999).unwrap_or_default()).await?;
    wire.half_close().await?;
    // A server may answer 4xx or say nothing more; only success would be wrong.
    if let Ok(answer) = wire.answer_within(Duration::from_secs(5)).await {
        answer.expect_refused().at("the truncated PUT")?;
    }
    ctx.expect_not_served(&slot).await
}

async fn answers_json_when_asked(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("très cool.jpg", 1234)?;
    let token = slot.claims("image/jpeg").sign(ctx.secret()?)?;
    let put = slot.put_with("").bearer(&token).header("Accept", "application/json").body(body);
    let answer = ctx.send(&put).await?;
    answer.expect_status(201)?;
    let kind = answer.require("content-type")?;
    expect(kind.starts_with("application/json"), "Content-Type: application/json", kind)?;
    expect_eq("Content-Length", &(answer.body.len() as u64), &answer.number("content-length")?)?;
    let document: serde_json::Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::new("a JSON document", format_args!("{error} in {}", answer.summary())))?;
    let member = |name: &str| document.get(name).cloned().unwrap_or_default();
    expect_eq("success", &serde_json::json!(true), &member("success"))?;
    expect_eq("filename", &serde_json::json!("très cool.jpg"), &member("filename"))?;
    expect_eq("size", &serde_json::json!(1234), &member("size"))?;
    expect_eq("user", &serde_json::json!(UPLOADER), &member("user"))?;
    expect(member("uploaded_at").is_string(), "a date in uploaded_at", member("uploaded_at"))
}

async fn answers_no_json_unasked(ctx: &Ctx) -> CaseResult {
    for accept in ["*/*", "text/html, */*;q=0.8", "application/json;q=0, */*", "application/*"] {
        let (slot, body) = ctx.file("photo.jpg", 100)?;
        let answer = ctx.send(&slot.put().header("Accept", accept).body(body)).await?;
        answer.expect_status(201)?.expect_empty().at(format_args!("Accept: {accept}"))?;
    }
    Ok(())
}

async fn answers_continue(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 50_000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(50_000).header("Expect", "100-continue")).await?;
    wire.any_answer().await.at("before the body")?.expect_status(100)?;
    wire.send(&body).await?;
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn survives_pauses(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 4000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(4000)).await?;
    let (first, rest) = body.split_at(2000);
    wire.send(first).await?;
    let pause = Duration::from_millis(1500).min(ctx.body_gap / 2);
    wire.expect_silence(pause).await.at("during the pause")?;
    for piece in rest.chunks(100) {
        wire.send(piece).await?;
        sleep(Duration::from_millis(50)).await;
    }
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn cuts_silent_body(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 4000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(4000)).await?;
    wire.send(body.get(..2000).unwrap_or_default()).await?;
    wire.expect_given_up(ctx.body_gap + Duration::from_secs(10)).await?;
    ctx.expect_not_served(&slot).await
}

async fn accepts_megabytes(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("film.mp4", 5 << 20).await?;
    let answer = ctx.send(&slot.get()).await?;
    answer.expect_status(200)?;
    expect_bytes("the download", &body, &answer.body)
}
