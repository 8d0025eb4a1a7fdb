//! What is refused is refused early, legibly and for good.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::{Ctx, noise};
use crate::http::Request;

/// An early refusal waits for nothing, so this is generous.
const AT_ONCE: Duration = Duration::from_secs(3);
/// No server takes a file of this many bytes (1 PiB).
const ABSURD: u64 = 1 << 50;

pub(super) const CASES: &[Case] = &[
    case!(["XEP-133"], "a content coding is refused, or kept", refuses_codings),
    case!(["XEP-134"], "a PUT that has to match something makes no file", honours_conditions),
    case!(["XEP-33"], "a PUT on a complete upload is answered 409 and changes nothing", keeps_complete_files),
    case!(["XEP-34"], "a bad credential is refused before the body is read", refuses_credential_early),
    case!(["XEP-35"], "a complete upload is refused before the body is read", refuses_complete_early),
    case!(
        ["XEP-36"],
        "a size beyond the maximum is refused with 413 before the body is read",
        refuses_size_early
    ),
    case!(["XEP-37"], "a refused Expect: 100-continue is answered without 100", refuses_instead_of_continue),
    case!(["XEP-38"], "a client still sending its body can read the refusal", refusal_is_readable),
    case!(["XEP-39"], "errors are problem documents that repeat no credential", errors_are_problems),
    case!(["XEP-40"], "a slot's credential deletes no complete file", refuses_delete),
    case!(["XEP-41"], "methods that a slot does not know are refused as such", refuses_unknown_methods),
];

async fn keeps_complete_files(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", 5000).await?;
    let other = noise("another content", 5000);
    ctx.send(&slot.put().body(other)).await?.expect_status(409).at("other bytes")?;
    ctx.send(&slot.put().body(body.clone())).await?.expect_status(409).at("the same bytes")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn refuses_credential_early(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 1_000_000)?;
    let query = format!("v={}", "0".repeat(64));
    for (query, status) in [(query.as_str(), 403), ("", 401)] {
        let mut wire = ctx.connect().await?;
        wire.send_head(&slot.put_with(query).length(1_000_000)).await?;
        wire.answer_within(AT_ONCE).await?.expect_status(status)?;
    }
    Ok(())
}

async fn refuses_complete_early(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("photo.jpg", 100_000).await?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(100_000)).await?;
    wire.answer_within(AT_ONCE).await?.expect_status(409)?;
    Ok(())
}

async fn refuses_size_early(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("film.mkv", ABSURD)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(ABSURD)).await?;
    wire.answer_within(AT_ONCE).await?.expect_status(413)?;
    Ok(())
}

async fn refuses_instead_of_continue(ctx: &Ctx) -> CaseResult {
    let (complete, _) = ctx.uploaded("photo.jpg", 1000).await?;
    let slot = ctx.slot("photo.jpg", 1000)?;
    let huge = ctx.slot("film.mkv", ABSURD)?;
    for (put, length, status) in [
        (slot.put_with(&format!("v={}", "0".repeat(64))), 1000, 403),
        (slot.put_with(""), 1000, 401),
        (complete.put(), 1000, 409),
        (huge.put(), ABSURD, 413),
    ] {
        let mut wire = ctx.connect().await?;
        wire.send_head(&put.length(length).header("Expect", "100-continue")).await?;
        wire.any_answer().await?.expect_status(status)?;
    }
    Ok(())
}

async fn refusal_is_readable(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 1 << 20)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put_with(&format!("v={}", "0".repeat(64))).length(1 << 20)).await?;
    let body = noise(&slot.path, 1 << 20);
    for piece in body.chunks(64 << 10) {
        // The server may have stopped reading; what counts is that its answer arrives.
        if wire.send(piece).await.is_err() {
            break;
        }
    }
    wire.answer_within(AT_ONCE).await?.expect_status(403)?;
    Ok(())
}

async fn errors_are_problems(ctx: &Ctx) -> CaseResult {
    let (complete, body) = ctx.uploaded("photo.jpg", 1000).await?;
    let slot = ctx.slot("photo.jpg", 1000)?;
    let token = "5ec2e7".repeat(10) + "5ec2";
    for (step, request, status) in [
        ("no credential", slot.put_with("").body(body.clone()), 401),
        ("wrong credential", slot.put_with(&format!("v={token}")).body(body.clone()), 403),
        ("unknown download", slot.get(), 404),
        ("complete already", complete.put().body(body), 409),
    ] {
        let answer = ctx.send(&request).await?;
        answer.expect_status(status).at(step)?;
        answer.expect_problem().at(step)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        expect(!text.contains(&token), "a body without the credential", text).at(step)?;
    }
    Ok(())
}

async fn refuses_delete(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", 1000).await?;
    ctx.send(&slot.request("DELETE")).await?.expect_refused().at("with the slot's credential")?;
    ctx.send(&Request::new("DELETE", slot.url.clone())).await?.expect_refused().at("without credential")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn refuses_unknown_methods(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", 1000).await?;
    for method in ["PROPFIND", "MKCOL", "TRACE", "BREW"] {
        let answer = ctx.send(&slot.request(method)).await?;
        answer.expect_status_in(&[405, 501]).at(method)?;
        if answer.status == 405 {
            answer.expect_members("allow", &["GET", "HEAD", "PUT"]).at(method)?;
        }
        answer.expect_problem().at(method)?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn refuses_codings(ctx: &Ctx) -> CaseResult {
    for coding in ["gzip", "identity, br", "aws-chunked"] {
        let (slot, body) = ctx.file("photo.jpg", 100)?;
        let answer = ctx.send(&slot.put().header("Content-Encoding", coding).body(body.clone())).await?;
        if answer.status == 201 {
            let served = ctx.send(&slot.get()).await?;
            served.expect_header("content-encoding", coding).at(coding)?;
            continue;
        }
        answer.expect_status(415).at(coding)?.expect_header("accept-encoding", "identity").at(coding)?;
        ctx.expect_not_served(&slot).await?;
        ctx.send(&slot.put().header("Content-Encoding", "identity").body(body)).await?.expect_status(201)?;
    }
    Ok(())
}

async fn honours_conditions(ctx: &Ctx) -> CaseResult {
    for tag in ["*", "\"some-tag\""] {
        let (slot, body) = ctx.file("photo.jpg", 100)?;
        let answer = ctx.send(&slot.put().header("If-Match", tag).body(body.clone())).await?;
        answer.expect_status(412).at(format_args!("If-Match: {tag}"))?;
        ctx.expect_not_served(&slot).await?;
        let put = slot.put().header("If-None-Match", "*").body(body.clone());
        ctx.send(&put).await?.expect_status(201).at("If-None-Match: *")?;
        ctx.send(&put).await?.expect_status_in(&[409, 412]).at("If-None-Match: * on a complete file")?;
        ctx.expect_served(&slot, &body).await?;
    }
    Ok(())
}
