//! One session, several uploads; and ids that do no harm beside a good credential.

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::http::Request;
use crate::session::{SESSION_ID, asking, bare, expect_problem, list_in, plain, ranged, session_of};

use super::{HALF, HOUR, SIZE, STRANGER};

pub(super) const CASES: &[Case] = &[
    case!(["SES-3"], "a good token for another upload joins the session that is named", joins),
    case!(
        ["SES-3"],
        "three uploads on one connection, a preflight each, are in one session",
        three_on_one_connection
    ),
    case!(["SES-77"], "a session that is named by the query joins no upload", query_joins_nothing),
    case!(["SES-82"], "of two credentials in one field, or two ids, neither counts", shown_twice),
    case!(["SES-4"], "a session is named by header, by X-Session-Token or by query", named_in_each_place),
    case!(["SES-4"], "of several session ids the first place counts", first_place_counts),
    case!(["SES-5"], "a good token is served beside a session id that is of no use", useless_ids_do_no_harm),
    case!(
        ["SES-5"],
        "a good token beside another subject's session opens one of its own",
        foreign_id_does_no_harm
    ),
];

/// An id that no session has.
fn unknown_id() -> String {
    [crate::ctx::unique(), crate::ctx::unique()].concat().replace('-', "")
}

async fn joins(ctx: &Ctx) -> CaseResult {
    let first = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("second.mp4", SIZE)?;
    let put = bare(&slot, "PUT").bearer(&ctx.live(&slot)?).header(SESSION_ID, &first.session);
    let answer = ctx.send(&ranged(put, &body, 0, HALF)).await?;
    answer.expect_status(308)?;
    expect(session_of(&answer)? == first.session, "the session that was named", "another")?;
    let rest = bare(&slot, "PUT").bearer(&ctx.expired(&slot, HOUR)?).header(SESSION_ID, &first.session);
    ctx.send(&ranged(rest, &body, HALF, SIZE)).await?.expect_status(201).at("the second, recovered")?;
    ctx.expect_served(&slot, &body).await?;
    ctx.finish_by(&first, first.with_session("PUT")).await.at("the first, recovered")
}

/// Whoever made the URL may have planted a session of their own.
async fn query_joins_nothing(ctx: &Ctx) -> CaseResult {
    let planted = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("second.mp4", SIZE)?;
    let linked = slot.put_with(&format!("session_id={}", planted.session)).bearer(&ctx.live(&slot)?);
    let answer = ctx.send(&ranged(linked, &body, 0, HALF)).await?;
    answer.expect_status(308)?;
    expect(session_of(&answer)? != planted.session, "a session of its own", "the planted one")?;
    let look = bare(&slot, "PUT").header(SESSION_ID, &planted.session);
    expect_problem(&ctx.send(&asking(look, SIZE)).await?, 403, "session-foreign")?;
    let document = ctx.session_document(&planted.session).await?;
    expect_eq("uploads in the planted session", &1, &list_in(&document, "uploads")?.len())
}

async fn shown_twice(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.live(&held.slot)?;
    let twice = held.bare("PUT").bearer(&token).bearer(&token);
    ctx.send(&asking(twice, SIZE)).await?.expect_status(401).at("Authorization")?;
    let twice = held.bare("PUT").header("X-Session-Token", &token).header("X-Session-Token", &token);
    ctx.send(&asking(twice, SIZE)).await?.expect_status(401).at("X-Session-Token")?;
    let twice = held.with_session("PUT").header(SESSION_ID, &held.session);
    expect_problem(&ctx.send(&asking(twice, SIZE)).await?, 401, "session-malformed").at("X-Session-ID")?;
    ctx.expect_untouched(&held).await
}

async fn three_on_one_connection(ctx: &Ctx) -> CaseResult {
    let mut wire = ctx.connect().await?;
    let mut id: Option<String> = None;
    let mut paths = Vec::new();
    for name in ["one.jpg", "two.jpg", "three.jpg"] {
        let (slot, body) = ctx.file(name, SIZE)?;
        let preflight = Request::new("OPTIONS", slot.url.clone())
            .header("Origin", "https://web.example")
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "authorization,x-session-id");
        let answer = wire.exchange(&preflight).await.at("preflight")?;
        answer.expect_status_in(&[200, 204]).at("preflight")?;
        answer.expect_members("access-control-allow-headers", &["authorization", "x-session-id"])?;
        let mut put = bare(&slot, "PUT").bearer(&ctx.live(&slot)?);
        if let Some(id) = &id {
            put = put.header(SESSION_ID, id);
        }
        let answer = wire.exchange(&plain(put, &body)).await.at(name)?;
        answer.expect_status(201).at(name)?;
        let session = session_of(&answer).at(name)?;
        expect(id.is_none_or(|id| id == session), "the session that was named", "another").at(name)?;
        id = Some(session);
        ctx.expect_served(&slot, &body).await?;
        paths.push(slot.path);
    }
    let document = ctx.session_document(&id.unwrap_or_default()).await?;
    let uploads = list_in(&document, "uploads")?;
    expect_eq("uploads in the session", &3, &uploads.len())?;
    for path in paths {
        let is_listed = uploads.iter().any(|upload| {
            upload
                .get("path")
                .and_then(|listed| listed.as_str())
                .is_some_and(|listed| listed.ends_with(&path))
        });
        expect(is_listed, format_args!("{path} in the session"), &document)?;
    }
    Ok(())
}

async fn named_in_each_place(ctx: &Ctx) -> CaseResult {
    for place in [SESSION_ID, "X-Session-Token", "?session_id"] {
        let held = ctx.held(SIZE, HALF).await?;
        let put = match place {
            "?session_id" => held.slot.put_with(&format!("session_id={}", held.session)),
            field => held.bare("PUT").header(field, &held.session),
        };
        ctx.finish_by(&held, put).await.at(place)?;
    }
    Ok(())
}

async fn first_place_counts(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let (good, unknown) = (held.session.as_str(), unknown_id());
    let with = |header: &str, token: &str, query: &str| {
        let query = if query.is_empty() { String::new() } else { format!("session_id={query}") };
        let mut put = held.slot.put_with(&query);
        for (name, value) in [(SESSION_ID, header), ("X-Session-Token", token)] {
            if !value.is_empty() {
                put = put.header(name, value);
            }
        }
        asking(put, SIZE)
    };
    for (what, request) in [
        ("header before X-Session-Token", with(&unknown, good, "")),
        ("header before query", with(&unknown, "", good)),
        ("X-Session-Token before query", with("", &unknown, good)),
    ] {
        expect_problem(&ctx.send(&request).await?, 401, "session-unknown").at(what)?;
    }
    for (what, request) in [
        ("good header before X-Session-Token", with(good, &unknown, "")),
        ("good header before query", with(good, "", &unknown)),
        ("good X-Session-Token before query", with("", good, &unknown)),
    ] {
        ctx.send(&request).await?.expect_status(308).at(what)?;
    }
    let malformed = with("nonsense", "", good);
    expect_problem(&ctx.send(&malformed).await?, 401, "session-malformed").at("a malformed header")
}

async fn useless_ids_do_no_harm(ctx: &Ctx) -> CaseResult {
    let ended = ctx.held(SIZE, HALF).await?;
    ctx.send(&ctx.session_request("DELETE", "", &ended.session)).await?.expect_status(204).at("the end")?;
    for (what, id) in [
        ("an unknown id", unknown_id()),
        ("an ended session", ended.session),
        ("a short id", unknown_id().split_off(1)),
        ("capitals", unknown_id().to_uppercase()),
        ("nonsense", "../../etc/passwd".to_owned()),
        ("an empty id", String::new()),
        ("a long id", "a".repeat(3000)),
    ] {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        let put = bare(&slot, "PUT").bearer(&ctx.live(&slot)?).header(SESSION_ID, &id);
        let answer = ctx.send(&plain(put, &body)).await?;
        answer.expect_status(201).at(what)?;
        expect(session_of(&answer).at(what)? != id, "a new session", "the id that was sent").at(what)?;
        ctx.expect_served(&slot, &body).await.at(what)?;
    }
    Ok(())
}

async fn foreign_id_does_no_harm(ctx: &Ctx) -> CaseResult {
    let theirs = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let put = bare(&slot, "PUT").bearer(&ctx.live_of(&slot, STRANGER)?).header(SESSION_ID, &theirs.session);
    let answer = ctx.send(&plain(put, &body)).await?;
    answer.expect_status(201)?;
    expect(session_of(&answer)? != theirs.session, "a new session", "that of another subject")?;
    let document = ctx.session_document(&theirs.session).await?;
    expect_eq("uploads in the other's session", &1, &list_in(&document, "uploads")?.len())
}
