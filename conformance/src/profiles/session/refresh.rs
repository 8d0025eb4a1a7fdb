//! Fresh tokens of choice, and how many there are.

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::session::{
    SESSION_ID, asking, bare, count_in, expect_no_session, expect_problem, json_of, ranged, session_of,
};

use super::{HALF, SIZE, STRANGER};

pub(super) const CASES: &[Case] = &[
    case!(["SES-13"], "ten refreshes are granted and the eleventh is refused", refuses_the_eleventh),
    case!(
        ["SES-22", "SES-23"],
        "a fresh token leads to no session, but is seen in the one that is named beside it",
        renews_no_refreshes
    ),
    case!(["SES-14"], "a refresh answers a token, by document and by field", answers_a_token),
    case!(["SES-14"], "a refresh among several uploads names the one it is for", names_its_upload),
    case!(["SES-14"], "there is nothing to refresh when all is complete", nothing_to_refresh),
    case!(
        ["SES-14"],
        "a refresh of an upload that the session does not cover is refused",
        refreshes_no_foreign
    ),
];

async fn refuses_the_eleventh(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    for left in (0..10_u64).rev() {
        let answer = ctx.refresh(&held.session).await?;
        answer.expect_status(200).at(format_args!("with {} left", left + 1))?;
        expect_eq("refreshes_left", &left, &count_in(&json_of(&answer)?, "refreshes_left")?)?;
    }
    for _ in 0..2 {
        let answer = ctx.refresh(&held.session).await?;
        expect_problem(&answer, 403, "session-exhausted").at("the eleventh")?;
        answer.expect_no_header("x-session-token").at("the eleventh")?;
    }
    let document = ctx.session_document(&held.session).await?;
    expect_eq("refreshes_used", &10, &count_in(&document, "refreshes_used")?)?;
    expect_eq("refreshes_left", &0, &count_in(&document, "refreshes_left")?)?;
    ctx.finish_by(&held, held.bare("PUT").bearer(&ctx.live(&held.slot)?)).await
}

/// Were it otherwise, a session would live for ever: one refresh, one more session, one more refresh.
async fn renews_no_refreshes(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.refresh(&held.session).await?.require("x-session-token")?.to_owned();
    for put in [
        held.bare("PUT").bearer(&token),
        held.bare("PUT").header("X-Session-Token", &token),
        held.bare("PUT").bearer(&token).header(SESSION_ID, "0".repeat(64)),
    ] {
        let answer = ctx.send(&asking(put, SIZE)).await?;
        expect_no_session(answer.expect_status(308)?)?;
    }
    let beside = held.with_session("PUT").bearer(&token);
    let answer = ctx.send(&asking(beside, SIZE)).await?;
    let session = session_of(answer.expect_status(308)?)?;
    expect(session == held.session, "the session that was named", "another")?;
    let document = ctx.session_document(&session).await?;
    expect_eq("refreshes_used", &1, &count_in(&document, "refreshes_used")?)
}

async fn answers_a_token(ctx: &Ctx) -> CaseResult {
    for place in [SESSION_ID, "X-Session-Token", "?session_id"] {
        let held = ctx.held(SIZE, HALF).await?;
        let path = format!("{}/refresh", ctx.session.path);
        let request = match place {
            "?session_id" => crate::http::Request::new("POST", format!("{path}?session_id={}", held.session)),
            field => crate::http::Request::new("POST", path).header(field, &held.session),
        };
        let answer = ctx.send(&request).await?;
        answer.expect_status(200).at(place)?;
        let document = json_of(&answer).at(place)?;
        let text = |name: &str| document.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let token = answer.require("x-session-token").at(place)?;
        expect(text("token") == token, "the token in X-Session-Token", "another in the document")?;
        expect_eq("upload_id", &held.upload.as_str(), &text("upload_id")).at(place)?;
        expect(!text("expires_at").is_empty(), "a date in expires_at", document.get("expires_at").is_some())?;
        let end = answer.require("x-session-expires").at(place)?;
        expect(httpdate::parse_http_date(end).is_ok(), "a date in X-Session-Expires", end).at(place)?;
        expect_eq("refreshes_left", &9, &count_in(&document, "refreshes_left")?).at(place)?;
        ctx.finish_by(&held, held.bare("PUT").bearer(token)).await.at(place)?;
    }
    Ok(())
}

async fn names_its_upload(ctx: &Ctx) -> CaseResult {
    let first = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("second.mp4", SIZE)?;
    let put = bare(&slot, "PUT").bearer(&ctx.live(&slot)?).header(SESSION_ID, &first.session);
    let answer = ctx.send(&ranged(put, &body, 0, HALF)).await?;
    let second = answer.expect_status(308)?.require("x-upload-id")?.to_owned();
    expect(session_of(&answer)? == first.session, "the session that was named", "another")?;
    expect_problem(&ctx.refresh(&first.session).await?, 409, "upload-ambiguous")?;
    let refresh = ctx.session_request("POST", "/refresh", &first.session).header("X-Upload-ID", &second);
    let answer = ctx.send(&refresh).await?;
    let token = answer.expect_status(200).at("named")?.require("x-session-token")?.to_owned();
    let wrong = ctx.send(&asking(first.bare("PUT").bearer(&token), SIZE)).await?;
    wrong.expect_status_in(&[401, 403]).at("the second's token at the first")?;
    let rest = ranged(bare(&slot, "PUT").bearer(&token), &body, HALF, SIZE);
    ctx.send(&rest).await?.expect_status(201).at("the second's token")?;
    ctx.expect_served(&slot, &body).await?;
    ctx.refresh(&first.session).await?.expect_status(200).at("with one upload left")?;
    Ok(())
}

async fn nothing_to_refresh(ctx: &Ctx) -> CaseResult {
    let held = ctx.held_complete(SIZE).await?;
    let named = ctx.session_request("POST", "/refresh", &held.session);
    for request in [named.clone(), named.clone().header("X-Upload-ID", &held.upload)] {
        ctx.send(&request).await?.expect_status(404)?.expect_no_header("x-session-token")?;
    }
    ctx.send(&named.header("X-Upload-ID", "no such upload")).await?.expect_status(404)?;
    Ok(())
}

async fn refreshes_no_foreign(ctx: &Ctx) -> CaseResult {
    let mine = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("theirs.mp4", SIZE)?;
    let theirs = ctx.held_by(STRANGER, slot, body, HALF).await?;
    let refresh =
        ctx.session_request("POST", "/refresh", &mine.session).header("X-Upload-ID", &theirs.upload);
    let answer = ctx.send(&refresh).await?;
    answer.expect_status_in(&[403, 404])?.expect_no_header("x-session-token")?;
    let unknown = crate::ctx::unique().replace('-', "").repeat(2);
    let answer = ctx.refresh(&unknown).await?;
    expect_problem(&answer, 401, "session-unknown")?;
    expect_no_session(&answer)
}
