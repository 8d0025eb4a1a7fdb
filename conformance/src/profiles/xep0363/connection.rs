//! Several requests on one connection, and requests that contradict themselves.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_bytes};
use crate::ctx::Ctx;
use crate::http::Request;
use crate::http::request::chunk;

const CLOSING: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    case!(["XEP-55"], "three uploads with a preflight each fit on one connection", keeps_the_connection),
    case!(["XEP-56"], "pipelined requests are answered in order", answers_pipelines_in_order),
    case!(["XEP-57"], "contradicting Content-Length fields are refused with 400", refuses_two_lengths),
    case!(["XEP-58"], "chunks win over Content-Length, and the connection ends", chunks_win_over_length),
    case!(["XEP-59"], "malformed lengths and chunks are refused with 400", refuses_malformed_framing),
    case!(["XEP-82"], "HTTP/1.0 is served, as some proxies speak it", serves_http_1_0),
    case!(["XEP-83"], "a target in absolute form names the same slot", accepts_absolute_form),
    case!(["XEP-84"], "a request with no Host or two is refused with 400", refuses_missing_host),
    case!(["XEP-105"], "a Host field that is not a host is refused with 400", refuses_invalid_host),
    case!(["XEP-106"], "an unknown transfer coding is refused with 501", refuses_unknown_coding),
    case!(["XEP-107"], "a refusal that ends the connection says so", says_close),
    case!(
        ["XEP-100", "XEP-101"],
        "a head of 200 KB is answered 431, readable for a web client",
        refuses_large_head
    ),
    case!(["XEP-101"], "a malformed head is answered 400, readable for a web client", refuses_malformed_head),
    case!(["XEP-102"], "a head that stays unfinished is answered 408", answers_slow_head, HeaderTimeout),
    case!(["XEP-60"], "a header section that never ends is cut", cuts_unfinished_header, HeaderTimeout),
];

async fn keeps_the_connection(ctx: &Ctx) -> CaseResult {
    let mut wire = ctx.connect().await?;
    for round in 1..=3 {
        let (slot, body) = ctx.file("photo.jpg", 20_000)?;
        let preflight = slot
            .request("OPTIONS")
            .header("Origin", "https://web.example")
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "authorization, content-type");
        wire.exchange(&preflight)
            .await
            .at(format_args!("preflight {round}"))?
            .expect_status_in(&[200, 204])?;
        let put = slot.put().header("Origin", "https://web.example").body(body.clone());
        wire.exchange(&put).await.at(format_args!("upload {round}"))?.expect_status(201)?;
        let head = wire.exchange(&slot.head()).await.at(format_args!("HEAD {round}"))?;
        head.expect_status(200)?.expect_header("content-length", "20000")?;
        let read = wire.exchange(&slot.get()).await.at(format_args!("download {round}"))?;
        read.expect_status(200)?;
        expect_bytes("the download", &body, &read.body)?;
    }
    Ok(())
}

async fn answers_pipelines_in_order(ctx: &Ctx) -> CaseResult {
    let (first, one) = ctx.file("one.bin", 3000)?;
    let (second, two) = ctx.file("two.bin", 4000)?;
    let mut bytes = Vec::new();
    for request in [
        first.put().body(one.clone()),
        first.get(),
        second.get(),
        second.put().body(two.clone()),
        second.get(),
    ] {
        bytes.extend(request.whole(&ctx.authority));
    }
    let mut wire = ctx.connect().await?;
    wire.send(&bytes).await?;
    wire.answer().await?.expect_status(201).at("first PUT")?;
    expect_bytes("the first file", &one, &wire.answer().await?.expect_status(200).at("first GET")?.body)?;
    wire.answer().await?.expect_status(404).at("GET before the second PUT")?;
    wire.answer().await?.expect_status(201).at("second PUT")?;
    expect_bytes("the second file", &two, &wire.answer().await?.expect_status(200).at("second GET")?.body)
}

async fn refuses_two_lengths(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 100)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(100).length(50)).await?;
    let _refused_early = wire.send(&body).await;
    wire.answer().await?.expect_status(400)?;
    wire.expect_ended(CLOSING).await?;
    ctx.expect_not_served(&slot).await
}

async fn chunks_win_over_length(ctx: &Ctx) -> CaseResult {
    for length_first in [true, false] {
        let (slot, body) = ctx.file("photo.jpg", 100)?;
        let put = slot.put().header("Upload-Length", 100);
        let put = if length_first { put.length(4).chunked() } else { put.chunked().length(4) };
        let mut wire = ctx.connect().await?;
        wire.send_head(&put).await?;
        let _refused_early = wire.send(&chunk(&body)).await;
        let _refused_early = wire.send(&chunk(b"")).await;
        let answer = wire.answer().await?;
        answer.expect_status_in(&[201, 400])?;
        if answer.status == 201 {
            ctx.expect_served(&slot, &body).await?;
        } else {
            ctx.expect_not_served(&slot).await?;
        }
        wire.expect_ended(CLOSING).await.at(format_args!("after {}", answer.status))?;
    }
    Ok(())
}

async fn refuses_malformed_framing(ctx: &Ctx) -> CaseResult {
    for length in ["-1", "+100", "0x64", "100 100", "99999999999999999999999", "ten", ""] {
        let (slot, body) = ctx.file("photo.jpg", 100)?;
        let mut wire = ctx.connect().await?;
        wire.send_head(&slot.put().header("Content-Length", length)).await?;
        let _refused_early = wire.send(&body).await;
        wire.answer().await?.expect_status(400).at(format_args!("Content-Length: {length}"))?;
        ctx.expect_not_served(&slot).await?;
    }
    for broken in ["zz\r\n", "-5\r\nabcde\r\n0\r\n\r\n", "5\r\nabcdeXX0\r\n\r\n"] {
        let slot = ctx.slot("photo.jpg", 5)?;
        let mut wire = ctx.connect().await?;
        wire.send_head(&slot.put().chunked().header("Upload-Length", 5)).await?;
        let _refused_early = wire.send(broken.as_bytes()).await;
        let _refused_early = wire.half_close().await;
        // Nobody can say where such a body ends: to hang up without an answer is as good.
        if let Ok(answer) = wire.answer_within(CLOSING).await {
            answer.expect_status(400).at(format_args!("chunks {broken:?}"))?;
        }
        ctx.expect_not_served(&slot).await?;
    }
    Ok(())
}

async fn serves_http_1_0(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 1000)?;
    let old = |request: &Request| {
        let text = String::from_utf8_lossy(&request.head(&ctx.authority)).into_owned();
        text.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1).into_bytes()
    };
    let mut put = old(&slot.put().length(1000));
    put.extend_from_slice(&body);
    let mut wire = ctx.connect().await?;
    wire.send(&put).await?;
    wire.answer().await?.expect_status(201)?.expect_no_header("transfer-encoding")?;
    wire.expect_ended(CLOSING).await?;
    let mut wire = ctx.connect().await?;
    wire.send(&old(&slot.get())).await?;
    let answer = wire.answer().await?;
    answer.expect_status(200)?.expect_no_header("transfer-encoding")?;
    expect_bytes("the download", &body, &answer.body)
}

async fn accepts_absolute_form(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 1000)?;
    let absolute = |request: &Request| {
        let text = String::from_utf8_lossy(&request.head(&ctx.authority)).into_owned();
        text.replacen(" /", &format!(" http://{}/", ctx.authority), 1).into_bytes()
    };
    let mut put = absolute(&slot.put().length(1000));
    put.extend_from_slice(&body);
    let mut wire = ctx.connect().await?;
    wire.send(&put).await?;
    wire.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    wire.send(&absolute(&slot.get())).await?;
    expect_bytes("the download", &body, &wire.answer().await?.expect_status(200)?.body)
}

async fn refuses_missing_host(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 5)?;
    let text = String::from_utf8_lossy(&slot.put().length(5).head("one.example")).into_owned();
    let host = "Host: one.example\r\n";
    for (step, replacement) in
        [("no Host", String::new()), ("two Hosts", format!("{host}Host: two.example\r\n"))]
    {
        let mut wire = ctx.connect().await?;
        wire.send(text.replacen(host, &replacement, 1).as_bytes()).await?;
        let _refused_early = wire.send(b"hello").await;
        wire.answer().await.at(step)?.expect_status(400).at(step)?;
    }
    ctx.expect_not_served(&slot).await
}

async fn cuts_unfinished_header(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let head = slot.put().length(100).head(&ctx.authority);
    let mut wire = ctx.connect().await?;
    wire.send(head.get(..head.len() - 2).unwrap_or_default()).await?;
    wire.expect_ended(ctx.header_timeout + Duration::from_secs(10)).await?;
    let alive = ctx.send(&Request::new("GET", slot.url.clone())).await?;
    expect(alive.status == 404, "404 on another connection", alive.summary())
}

async fn refuses_invalid_host(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 5)?;
    for host in ["one.example/path", "user@one.example", "one example", "[::1", "one.example:port"] {
        let mut wire = ctx.connect().await?;
        wire.send(&slot.put().length(5).head(host)).await?;
        let _refused_early = wire.send(b"hello").await;
        wire.answer().await.at(format_args!("Host: {host}"))?.expect_status(400).at(host)?;
    }
    ctx.expect_not_served(&slot).await
}

async fn refuses_unknown_coding(ctx: &Ctx) -> CaseResult {
    for coding in ["gzip, chunked", "identity, chunked"] {
        let slot = ctx.slot("photo.jpg", 5)?;
        let mut wire = ctx.connect().await?;
        let put = slot.put().header("Upload-Length", 5).header("Transfer-Encoding", coding);
        wire.send_head(&put).await?;
        let _refused_early = wire.send(&chunk(b"hello")).await;
        let _refused_early = wire.send(&chunk(b"")).await;
        wire.answer().await?.expect_status(501).at(coding)?;
        ctx.expect_not_served(&slot).await?;
    }
    Ok(())
}

async fn says_close(ctx: &Ctx) -> CaseResult {
    const LARGE: u64 = 1_000_000;
    let slot = ctx.slot("photo.jpg", LARGE)?;
    let query = format!("v={}", "0".repeat(64));
    for put in [
        slot.put_with(&query).length(LARGE),
        slot.put_with(&query).length(LARGE).header("Expect", "100-continue"),
    ] {
        let mut wire = ctx.connect().await?;
        wire.send_head(&put).await?;
        wire.answer_within(CLOSING).await?.expect_status(403)?.expect_members("connection", &["close"])?;
    }
    Ok(())
}

/// What is readable to a program in a browser, and says why.
fn expect_readable(answer: &crate::http::Answer) -> CaseResult {
    answer.require("access-control-allow-origin")?;
    answer.expect_problem()
}

async fn refuses_large_head(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    for (fields, size) in [(1, 200_000), (90, 2_200)] {
        let mut put = slot.put().length(100);
        for at in 0..fields {
            put = put.header(&format!("X-Large-{at}"), "x".repeat(size));
        }
        let mut wire = ctx.connect().await?;
        let _refused_early = wire.send_head(&put).await;
        let answer = wire.answer().await.at(format_args!("{fields} fields"))?;
        answer.expect_status(431)?;
        expect_readable(&answer)?;
    }
    let put = slot.put().length(100).header("X-Large", "x".repeat(30_000)).body(vec![7; 100]);
    ctx.send(&put).await?.expect_status(201).at("30 kB of fields")?;
    Ok(())
}

async fn refuses_malformed_head(ctx: &Ctx) -> CaseResult {
    for head in ["PUT / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "P\u{1}T / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut wire = ctx.connect().await?;
        wire.send(head.as_bytes()).await?;
        let answer = wire.answer().await?;
        answer.expect_status(400)?;
        expect_readable(&answer)?;
    }
    Ok(())
}

async fn answers_slow_head(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let head = slot.put().length(100).head(&ctx.authority);
    let mut wire = ctx.connect().await?;
    wire.send(head.get(..head.len() - 2).unwrap_or_default()).await?;
    let answer = wire.answer_within(ctx.header_timeout + Duration::from_secs(20)).await?;
    answer.expect_status(408)?;
    expect_readable(&answer)
}
