//! The session as a resource of its own.

use serde_json::Value;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_eq};
use crate::ctx::{Ctx, UPLOADER};
use crate::http::Request;
use crate::session::{
    Place, SESSION_ID, asking, count_in, expect_no_session, expect_problem, list_in, ranged,
};

use super::{HALF, SIZE, TWO_ADDRESSES};

pub(super) const CASES: &[Case] = &[
    case!(["SES-30"], "a session describes itself and its incomplete upload", describes_itself),
    case!(["SES-30"], "a session describes its complete upload", describes_what_is_complete),
    case!(["SES-30"], "a session is named at its resource as everywhere", is_named_as_everywhere),
    case!(["SES-31"], "the history lists each change of place, newest last", lists_changes, needs TWO_ADDRESSES),
    case!(["SES-32"], "a session tells no secret", tells_no_secret),
    case!(["SES-33"], "a session that was ended is unknown, and its uploads stay", ends_on_request),
    case!(["SES-34"], "the session resource asks for an id", asks_for_an_id),
    case!(["SES-34"], "the session resource refuses other methods", refuses_other_methods),
    case!(["SES-34"], "the session resource answers preflights", answers_preflights),
    case!(["SES-35"], "the history keeps the newest hundred changes, and counts all", keeps_a_hundred, needs TWO_ADDRESSES),
];

fn text_in<'a>(document: &'a Value, name: &str) -> Result<&'a str, Failure> {
    let text = document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| Failure::new(format_args!("text in {name}"), document))
}

/// The only upload of a session.
async fn only_upload(ctx: &Ctx, session: &str) -> Result<(Value, Value), Failure> {
    let document = ctx.session_document(session).await?;
    let [upload] = list_in(&document, "uploads")? else {
        return Err(Failure::new("one upload", &document));
    };
    let upload = upload.clone();
    Ok((document, upload))
}

async fn describes_itself(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let (document, upload) = only_upload(ctx, &held.session).await?;
    expect_eq("subject", &UPLOADER, &text_in(&document, "subject")?)?;
    let (created, expires) = (text_in(&document, "created_at")?, text_in(&document, "expires_at")?);
    expect(created < expires, "created_at before expires_at", format_args!("{created}, {expires}"))?;
    expect_eq("refreshes_used", &0, &count_in(&document, "refreshes_used")?)?;
    expect_eq("refreshes_left", &10, &count_in(&document, "refreshes_left")?)?;
    expect_eq("changes", &0, &count_in(&document, "changes")?)?;
    expect_eq("changes in history", &0, &list_in(&document, "history")?.len())?;
    let has_network = document.get("network").is_some_and(|network| !network.is_null());
    expect(has_network, "a network", &document)?;
    expect_eq("id", &held.upload.as_str(), &text_in(&upload, "id")?)?;
    let path = text_in(&upload, "path")?;
    expect(path.ends_with(&held.slot.path), format_args!("a path that ends in {}", held.slot.path), path)?;
    expect_eq("filename", &"film.mp4", &text_in(&upload, "filename")?)?;
    expect_eq("offset", &(HALF as u64), &count_in(&upload, "offset")?)?;
    expect_eq("size", &(SIZE as u64), &count_in(&upload, "size")?)?;
    let percent = upload.get("percent").and_then(Value::as_f64).unwrap_or_default();
    expect((39.5..=40.5).contains(&percent), "40 in percent", percent)?;
    expect_eq("status", &"incomplete", &text_in(&upload, "status")?)?;
    expect(upload.get("etag").is_none_or(Value::is_null), "no etag of what is incomplete", &upload)
}

async fn describes_what_is_complete(ctx: &Ctx) -> CaseResult {
    let held = ctx.held_complete(SIZE).await?;
    let (_, upload) = only_upload(ctx, &held.session).await?;
    expect_eq("offset", &(SIZE as u64), &count_in(&upload, "offset")?)?;
    let percent = upload.get("percent").and_then(Value::as_f64);
    expect_eq("percent", &Some(100.0), &percent)?;
    expect_eq("status", &"complete", &text_in(&upload, "status")?)?;
    let download = ctx.expect_served(&held.slot, &held.body).await?;
    expect_eq("etag", &download.require("etag")?, &text_in(&upload, "etag")?)
}

async fn is_named_as_everywhere(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let path = &ctx.session.path;
    for (what, request) in [
        ("header", Request::new("GET", path).header(SESSION_ID, &held.session)),
        ("X-Session-Token", Request::new("GET", path).header("X-Session-Token", &held.session)),
        ("query", Request::new("GET", format!("{path}?session_id={}", held.session))),
    ] {
        ctx.send(&request).await?.expect_status(200).at(what)?;
    }
    Ok(())
}

/// Asks for the offset with the session from each of these places in turn.
async fn wander(
    ctx: &Ctx,
    request: &Request,
    places: impl IntoIterator<Item = (Place, String)>,
) -> CaseResult {
    for (place, agent) in places {
        let answer = ctx.send_from(place, &request.clone().header("User-Agent", agent)).await?;
        answer.expect_status(308).at(format_args!("from {place:?}"))?;
    }
    Ok(())
}

async fn lists_changes(ctx: &Ctx) -> CaseResult {
    let [home, abroad] = ctx.session.places()?;
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let first =
        crate::session::bare(&slot, "PUT").bearer(&ctx.live(&slot)?).header("User-Agent", "Dino/0.4.2");
    let answer = ctx.send_from(home, &ranged(first, &body, 0, HALF)).await?;
    let session = crate::session::session_of(answer.expect_status(308)?)?;
    let request = asking(crate::session::bare(&slot, "PUT").header(SESSION_ID, &session), SIZE);
    let (dino, conversations) = ("Dino/0.4.2", "Conversations/2.12");
    wander(
        ctx,
        &request,
        [(home, dino.to_owned()), (abroad, dino.to_owned()), (home, conversations.to_owned())],
    )
    .await?;
    let look = ctx.session_request("GET", "", &session).header("User-Agent", conversations);
    let answer = ctx.send_from(home, &look).await?;
    answer.expect_status(200)?;
    let document = crate::session::json_of(&answer)?;
    expect_eq("changes", &2, &count_in(&document, "changes")?)?;
    let [out, back] = list_in(&document, "history")? else {
        return Err(Failure::new("two changes", &document));
    };
    expect(text_in(out, "at")? <= text_in(back, "at")?, "the newest last", &document)?;
    for (change, end, place, agent, class) in [
        (out, "from", home, dino, "desktop"),
        (out, "to", abroad, dino, "desktop"),
        (back, "from", abroad, dino, "desktop"),
        (back, "to", home, conversations, "mobile"),
    ] {
        let seen = change.get(end).ok_or_else(|| Failure::new(end, change))?;
        let address = text_in(seen, "address")?;
        if let Some(expected) = place.address() {
            expect_eq("address", &expected.to_string().as_str(), &address).at(end)?;
        }
        expect_eq("agent", &agent, &text_in(seen, "agent")?).at(end)?;
        expect_eq("class", &class, &text_in(seen, "class")?).at(end)?;
        text_in(seen, "network").at(end)?;
    }
    let addresses = |change: &Value| {
        let of = |end: &str| change.get(end).and_then(|seen| seen.get("address")).cloned();
        (of("from"), of("to"))
    };
    let ((from, to), (again, home)) = (addresses(out), addresses(back));
    expect(from == home && to == again && from != to, "there and back", &document)
}

async fn keeps_a_hundred(ctx: &Ctx) -> CaseResult {
    let [home, abroad] = ctx.session.places()?;
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let first = crate::session::bare(&slot, "PUT").bearer(&ctx.live(&slot)?);
    let answer = ctx.send_from(home, &ranged(first.header("User-Agent", "0"), &body, 0, HALF)).await?;
    let session = crate::session::session_of(answer.expect_status(308)?)?;
    let request = asking(crate::session::bare(&slot, "PUT").header(SESSION_ID, &session), SIZE);
    let turns = (1..=105).map(|turn| (if turn % 2 == 0 { home } else { abroad }, turn.to_string()));
    wander(ctx, &request, turns).await?;
    let look = ctx.session_request("GET", "", &session).header("User-Agent", "105");
    let document = crate::session::json_of(&ctx.send_from(abroad, &look).await?)?;
    expect_eq("changes", &105, &count_in(&document, "changes")?)?;
    let history = list_in(&document, "history")?;
    expect_eq("changes in history", &100, &history.len())?;
    let agents: Vec<&str> = history
        .iter()
        .filter_map(|change| change.get("to").and_then(|to| to.get("agent")).and_then(Value::as_str))
        .collect();
    let newest: Vec<String> = (6..=105).map(|turn| turn.to_string()).collect();
    expect_eq("the changes that are kept", &newest, &agents.into_iter().map(str::to_owned).collect())
}

async fn tells_no_secret(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = ctx.live(&slot)?;
    let put = Request::new("PUT", format!("{}?token={token}", slot.url));
    let answer = ctx.send(&ranged(put, &body, 0, HALF)).await?;
    let session = crate::session::session_of(answer.expect_status(308)?)?;
    let fresh = ctx.refresh(&session).await?.expect_status(200)?.require("x-session-token")?.to_owned();
    let joined = slot.put().header(SESSION_ID, &session);
    ctx.send(&ranged(joined, &body, HALF, HALF + 1)).await?.expect_status(308).at("a MAC")?;
    let answer = ctx.send(&ctx.session_request("GET", "", &session)).await?;
    let text = String::from_utf8_lossy(answer.expect_status(200)?.body.as_ref()).to_lowercase();
    let mac = crate::token::v1(ctx.secret()?, &slot.path, slot.size)?;
    let secret = String::from_utf8_lossy(ctx.secret()?).to_lowercase();
    for (what, secret) in [
        ("the session's id", &session),
        ("the token", &token.to_lowercase()),
        ("the fresh token", &fresh.to_lowercase()),
        ("the MAC", &mac),
        ("the shared secret", &secret),
    ] {
        expect(!text.contains(secret), format_args!("a document without {what}"), "it is there")?;
    }
    Ok(())
}

async fn ends_on_request(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let complete = ctx.held_complete(SIZE).await?;
    for session in [&held.session, &complete.session] {
        let answer = ctx.send(&ctx.session_request("DELETE", "", session)).await?;
        answer.expect_status(204)?;
        for (what, request) in [
            ("GET", ctx.session_request("GET", "", session)),
            ("DELETE", ctx.session_request("DELETE", "", session)),
            ("refresh", ctx.session_request("POST", "/refresh", session)),
        ] {
            let answer = ctx.send(&request).await?;
            expect_problem(&answer, 401, "session-unknown").at(what)?;
            expect_no_session(&answer).at(what)?;
        }
    }
    let recovery = ctx.send(&ranged(held.with_session("PUT"), &held.body, HALF, SIZE)).await?;
    expect_problem(&recovery, 401, "session-unknown").at("recovery")?;
    ctx.expect_untouched(&held).await?;
    ctx.expect_served(&complete.slot, &complete.body).await?;
    Ok(())
}

async fn asks_for_an_id(ctx: &Ctx) -> CaseResult {
    let path = &ctx.session.path;
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/refresh"))]
    {
        let step = format!("{method} {path}");
        let answer = ctx.send(&Request::new(method, path.clone())).await?;
        expect_problem(&answer, 401, "session-missing").at(&step)?;
        expect_no_session(&answer).at(&step)?;
        let malformed = ctx.send(&Request::new(method, path).header(SESSION_ID, "nonsense")).await?;
        expect_problem(&malformed, 401, "session-malformed").at(&step)?;
    }
    Ok(())
}

async fn refuses_other_methods(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    for (below, methods, allowed) in [
        ("", ["PUT", "POST", "PATCH"], ["GET", "DELETE"].as_slice()),
        ("/refresh", ["GET", "PUT", "DELETE"], ["POST"].as_slice()),
    ] {
        for method in methods {
            let answer = ctx.send(&ctx.session_request(method, below, &held.session)).await?;
            answer.expect_status(405).at(method)?.expect_members("allow", allowed).at(method)?;
        }
    }
    ctx.expect_untouched(&held).await
}

async fn answers_preflights(ctx: &Ctx) -> CaseResult {
    for (below, method) in [("", "GET"), ("", "DELETE"), ("/refresh", "POST")] {
        let preflight = Request::new("OPTIONS", format!("{}{below}", ctx.session.path))
            .header("Origin", "https://web.example")
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "x-session-id");
        let answer = ctx.send(&preflight).await?;
        answer.expect_status_in(&[200, 204]).at(method)?;
        answer.require("access-control-allow-origin").at(method)?;
        answer.expect_members("access-control-allow-methods", &[method]).at(method)?;
        answer.expect_members("access-control-allow-headers", &["x-session-id"]).at(method)?;
    }
    Ok(())
}
