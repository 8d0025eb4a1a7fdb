//! The token has expired, or is lost, and the upload goes on: in every dialect, after a cut, from the ledger's offset.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Need, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::http::Request;
use crate::session::{
    Held, SESSION_ID, asking, bare, count_in, expect_no_session, expect_problem, patch, patch_head, plain,
    ranged, ranged_head, session_of, tus,
};
use crate::token::Grant;
use crate::tus::{Resource, slice};

use super::{HOUR, SIZE, STRANGER};

pub(super) const CASES: &[Case] = &[
    case!(["SES-10"], "a cut plain PUT is recovered by a plain PUT", recovers::<PLAIN, PLAIN>),
    case!(["SES-10"], "a cut plain PUT is recovered by a ranged PUT", recovers::<PLAIN, RANGED>),
    case!(["SES-10"], "a cut plain PUT is recovered by a tus PATCH", recovers::<PLAIN, TUS>),
    case!(["SES-10"], "a cut ranged PUT is recovered by a ranged PUT", recovers::<RANGED, RANGED>),
    case!(["SES-10"], "a cut ranged PUT is recovered by a tus PATCH", recovers::<RANGED, TUS>),
    case!(["SES-10"], "a cut tus PATCH is recovered by a tus PATCH", recovers::<TUS, TUS>),
    case!(["SES-10"], "a cut tus PATCH is recovered by a ranged PUT", recovers::<TUS, RANGED>),
    case!(["SES-10"], "the offset is recovered by bytes */S, by HEAD and by HEAD of tus", recovers_offset),
    case!(["SES-10"], "an incomplete upload is deleted by its session", recovers_deletion),
    case!(["SES-10"], "an upload is recovered after each of its cuts", recovers_again_and_again),
    case!(
        ["SES-10"],
        "an upload created by grant is recovered when the grant has expired",
        recovers_beyond_a_grant,
        needs & [Need::GrantedCreation, Need::GrantedAccess]
    ),
    case!(["SES-11"], "a recovery tells a fresh token and its end", tells_a_fresh_token),
    case!(["SES-11"], "a fresh token is presented in each of three ways", fresh_token_is_taken),
    case!(["SES-11"], "a fresh token is refused for another slot, size or subject", fresh_token_is_bound),
    case!(
        ["SES-12"],
        "while a fresh token lives a recovery repeats its end and costs nothing",
        repeats_the_token
    ),
    case!(["SES-18"], "a session lets nobody send another length", widens_no_length),
    case!(["SES-18"], "a session creates no upload", creates_nothing),
    case!(
        ["SES-19"],
        "a complete upload is not written by recovery, and can be asked for",
        writes_nothing_complete
    ),
];

/// The dialects: consts of a primitive type, to instantiate cases by.
const PLAIN: char = 'p';
const RANGED: char = 'r';
const TUS: char = 't';

/// Where the cut writer starts, and where it is cut.
const START: usize = 5000;
const CUT: usize = 17_000;

fn name(dialect: char) -> &'static str {
    match dialect {
        PLAIN => "plain PUT",
        RANGED => "ranged PUT",
        _ => "tus PATCH",
    }
}

/// A writer with a good token and the session that dies at [`CUT`].
async fn cut(ctx: &Ctx, held: &Held, dialect: char) -> CaseResult {
    let token = ctx.live(&held.slot)?;
    let with = |method| held.with_session(method).bearer(&token);
    let (head, from) = match dialect {
        PLAIN => (with("PUT"), 0),
        RANGED => (ranged_head(with("PUT"), SIZE, START, SIZE), START),
        _ => (patch_head(with("PATCH"), START), START),
    };
    let sent = slice(&held.body, from, CUT);
    ctx.stalled(&head.length((SIZE - from) as u64), &sent).await?.reset()
}

/// Asks with the session until the offset is told, for up to 5 s after a cut.
async fn await_offset(ctx: &Ctx, held: &Held, offset: usize) -> CaseResult {
    let start = Instant::now();
    loop {
        let answer = ctx.send(&asking(held.with_session("PUT"), SIZE)).await?;
        let told = answer.expect_status(308).and_then(|answer| answer.number("upload-offset"));
        match told {
            Ok(told) if told == offset as u64 => return Ok(()),
            Ok(_) | Err(_) if start.elapsed() < Duration::from_secs(5) => {
                sleep(Duration::from_millis(50)).await;
            }
            Ok(told) => return expect_eq("Upload-Offset", &(offset as u64), &told),
            Err(failure) => return Err(failure),
        }
    }
}

/// The rest in a dialect, with what `request` makes of a method.
async fn finish(
    ctx: &Ctx,
    held: &Held,
    dialect: char,
    request: impl Fn(&'static str) -> Request,
) -> CaseResult {
    let (request, status) = match dialect {
        PLAIN => (plain(request("PUT"), &held.body), 201),
        RANGED => (ranged(request("PUT"), &held.body, CUT, SIZE), 201),
        _ => (patch(request("PATCH"), &held.body, CUT, SIZE), 204),
    };
    ctx.send(&request).await?.expect_status(status).at(format_args!("the rest by {}", name(dialect)))?;
    ctx.expect_served(&held.slot, &held.body).await?;
    Ok(())
}

async fn recovers<const BEGUN: char, const ENDED: char>(ctx: &Ctx) -> CaseResult {
    for credential in ["no token", "an expired token", "an expired token in the query"] {
        let held = ctx.held(SIZE, START).await?;
        cut(ctx, &held, BEGUN).await.at(credential)?;
        await_offset(ctx, &held, CUT).await.at(credential)?;
        let expired = ctx.expired(&held.slot, HOUR)?;
        let with = |method| match credential {
            "no token" => held.with_session(method),
            "an expired token" => held.with_session(method).bearer(&expired),
            _ => Request::new(method, format!("{}?token={expired}", held.slot.url))
                .header(SESSION_ID, &held.session),
        };
        finish(ctx, &held, ENDED, with).await.at(credential)?;
    }
    Ok(())
}

async fn recovers_offset(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let expired = ctx.expired(&held.slot, HOUR)?;
    for (what, request, statuses) in [
        ("bytes */S", asking(held.with_session("PUT").bearer(&expired), SIZE), [308, 308]),
        ("HEAD", held.with_session("HEAD").bearer(&expired), [204, 204]),
        ("HEAD without a token", held.with_session("HEAD"), [204, 204]),
        ("HEAD of tus", tus(held.with_session("HEAD").bearer(&expired)), [200, 204]),
    ] {
        let answer = ctx.send(&request).await?;
        answer.expect_status_in(&statuses).at(what)?;
        expect_eq("Upload-Offset", &(START as u64), &answer.number("upload-offset")?).at(what)?;
        expect(session_of(&answer).at(what)? == held.session, "the session", "another").at(what)?;
        answer.require("x-session-token").at(what)?;
    }
    Ok(())
}

async fn recovers_deletion(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    ctx.send(&tus(held.with_session("DELETE"))).await?.expect_status(204)?;
    let gone = ctx.send(&held.bare("HEAD")).await?;
    gone.expect_status_in(&[404, 410]).at("HEAD of what was deleted")?;
    Ok(())
}

async fn recovers_again_and_again(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let expired = ctx.expired(&held.slot, HOUR)?;
    let mut offset = START;
    for (turn, sent) in [6000, 6001, 15_000, SIZE - 1].into_iter().enumerate() {
        let with = |method| held.with_session(method).bearer(&expired);
        let head = if turn % 2 == 0 {
            ranged_head(with("PUT"), SIZE, offset, SIZE)
        } else {
            patch_head(with("PATCH"), offset)
        };
        let part = slice(&held.body, offset, sent);
        ctx.stalled(&head.length((SIZE - offset) as u64), &part).await?.reset()?;
        await_offset(ctx, &held, sent).await.at(format_args!("cut after byte {sent}"))?;
        offset = sent;
    }
    ctx.finish_by(&Held { offset, ..held.clone() }, held.with_session("PUT")).await?;
    let document = ctx.session_document(&held.session).await?;
    expect_eq("refreshes_used", &1, &count_in(&document, "refreshes_used")?)
}

async fn recovers_beyond_a_grant(ctx: &Ctx) -> CaseResult {
    let answer = ctx.send(&ctx.creation(SIZE)).await?;
    let session = session_of(&answer)?;
    let url = ctx.resource(&answer)?.url;
    let body = crate::ctx::noise(&url, SIZE);
    let expired = Grant { lifetime: -HOUR, ..Grant::default() }.sign(ctx.secret()?)?;
    let with = |method| Request::new(method, url.clone()).bearer(&expired);
    let refused = ctx.send(&patch(with("PATCH"), &body, 0, START)).await?;
    refused.expect_status(401).at("an expired grant without a session")?;
    for (from, to) in [(0, START), (START, SIZE)] {
        let request = patch(with("PATCH").header(SESSION_ID, &session), &body, from, to);
        ctx.expect_patched(&request, to).await?;
    }
    let whole = Resource::at(url.clone()).plain("GET").bearer(&Grant::default().sign(ctx.secret()?)?);
    crate::case::expect_bytes("the download", &body, &ctx.send(&whole).await?.body)
}

/// Seconds since 1970 in an IMF-fixdate.
fn end_of(answer: &crate::http::Answer) -> Result<u64, Failure> {
    let text = answer.require("x-session-expires")?;
    let date = httpdate::parse_http_date(text).map_err(|_| Failure::new("an IMF-fixdate", text))?;
    expect_eq("an IMF-fixdate", &httpdate::fmt_http_date(date).as_str(), &text)?;
    Ok(date.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

async fn tells_a_fresh_token(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let answer = ctx.send(&ranged(held.with_session("PUT"), &held.body, START, CUT)).await?;
    answer.expect_status(308)?;
    let token = answer.require("x-session-token")?;
    expect(token != held.session, "a token of its own", "the session's id")?;
    let now = crate::clock::unix_now();
    let end = end_of(&answer)?;
    let latest = now + answer.number("x-upload-session-timeout")? + 2;
    expect(end > now && end <= latest, format_args!("an end within the session, by {latest}"), end)?;
    let good = ctx.live(&held.slot)?;
    let unneeded = ctx.send(&asking(held.with_session("PUT").bearer(&good), SIZE)).await?;
    unneeded.expect_status(308)?.expect_no_header("x-session-token").at("beside a good token")?;
    Ok(())
}

async fn fresh_token_is_taken(ctx: &Ctx) -> CaseResult {
    for place in ["Authorization", "token", "X-Session-Token"] {
        let held = ctx.held(SIZE, START).await?;
        let token = ctx.fresh(&held).await.at(place)?;
        let put = match place {
            "Authorization" => held.bare("PUT").bearer(&token),
            "token" => held.slot.put_with(&format!("token={token}")),
            field => held.bare("PUT").header(field, &token),
        };
        ctx.finish_by(&held, put).await.at(place)?;
    }
    Ok(())
}

async fn fresh_token_is_bound(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let token = ctx.fresh(&held).await?;
    let (folder, name) = held.slot.ends();
    let other = ctx.slot_at(
        format!("{folder}/other-{name}"),
        held.slot.url.replace(name, &format!("other-{name}")),
        SIZE as u64,
    )?;
    let unrelated = ctx.slot(name, SIZE as u64)?;
    for (what, slot) in [("another name", &other), ("another slot", &unrelated)] {
        for put in [bare(slot, "PUT").bearer(&token), slot.put_with(&format!("token={token}"))] {
            expect_no_session(
                ctx.send(&plain(put, &held.body)).await?.expect_status_in(&[401, 403]).at(what)?,
            )?;
        }
        ctx.expect_not_served(slot).await.at(what)?;
    }
    for size in [SIZE - 1, SIZE + 1] {
        let put = held.bare("PUT").bearer(&token).body(vec![b'x'; size]);
        ctx.send(&put).await?.expect_status(403).at("another size")?;
    }
    let theirs = ctx.held_by(STRANGER, ctx.slot("theirs.mp4", 100)?, vec![b'x'; 100].into(), 50).await?;
    let beside = held.bare("PUT").bearer(&token).header(SESSION_ID, &theirs.session);
    let answer = ctx.send(&asking(beside, SIZE)).await?;
    expect_no_session(answer.expect_status(308)?).at("beside another subject's session")?;
    ctx.expect_untouched(&held).await
}

async fn repeats_the_token(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let mut ends = Vec::new();
    for _ in 0..12 {
        let answer = ctx.send(&asking(held.with_session("PUT"), SIZE)).await?;
        answer.expect_status(308)?;
        ends.push(end_of(&answer)?);
    }
    ends.dedup();
    expect_eq("different ends of a fresh token", &1, &ends.len())?;
    let document = ctx.session_document(&held.session).await?;
    expect_eq("refreshes_used", &1, &count_in(&document, "refreshes_used")?)
}

async fn widens_no_length(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let expired = ctx.expired(&held.slot, HOUR)?;
    for size in [SIZE - 1, SIZE + 1, 2 * SIZE] {
        for put in [held.with_session("PUT"), held.with_session("PUT").bearer(&expired)] {
            let refused = ctx.send(&put.clone().body(vec![b'x'; size])).await?;
            refused.expect_refused().at(format_args!("a plain PUT of {size} bytes"))?;
            let range = put.header("Content-Range", format_args!("bytes {START}-{}/{size}", size - 1));
            let refused = ctx.send(&range.body(vec![b'x'; size - START])).await?;
            refused.expect_refused().at(format_args!("a range of {size} bytes"))?;
        }
    }
    let long = patch_head(held.with_session("PATCH"), START).body(vec![b'x'; SIZE]);
    ctx.send(&long).await?.expect_refused().at("a PATCH beyond the end")?;
    ctx.expect_untouched(&held).await
}

async fn creates_nothing(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let (slot, body) = ctx.file("uninvited.mp4", SIZE)?;
    let with = |method| bare(&slot, method).header(SESSION_ID, &held.session);
    for (what, request) in [
        ("plain PUT", plain(with("PUT"), &body)),
        ("ranged PUT", ranged(with("PUT"), &body, 0, START)),
        ("PATCH", patch(with("PATCH"), &body, 0, START).header("Upload-Length", SIZE)),
    ] {
        let answer = ctx.send(&request).await?;
        expect_problem(&answer, 403, "session-foreign").at(what)?;
        expect_no_session(&answer).at(what)?;
        ctx.expect_not_served(&slot).await.at(what)?;
    }
    let asked = ctx.send(&asking(bare(&slot, "PUT").bearer(&ctx.live(&slot)?), SIZE)).await?;
    asked.expect_status(308)?.expect_no_header("range").at("afterwards")?;
    let creation = tus(Request::new("POST", ctx.tus.path.clone()))
        .header("Upload-Length", 10)
        .header(SESSION_ID, &held.session);
    let answer = ctx.send(&creation).await?;
    // Where strangers may create, this one is let in as a stranger.
    if ctx.tus.creations_per_minute.is_none() {
        answer.expect_status_in(&[401, 403]).at("a creation")?;
    }
    expect_no_session(&answer).at("a creation")
}

async fn writes_nothing_complete(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, START).await?;
    let fresh = ctx.fresh(&held).await?;
    ctx.finish_by(&held, held.with_session("PUT")).await?;
    let other = crate::ctx::noise("other bytes", SIZE);
    let expired = ctx.expired(&held.slot, HOUR)?;
    for (what, put) in [
        ("the session", held.with_session("PUT")),
        ("the session beside an expired token", held.with_session("PUT").bearer(&expired)),
        ("a good token", held.bare("PUT").bearer(&ctx.live(&held.slot)?)),
        ("a fresh token of before", held.bare("PUT").bearer(&fresh)),
    ] {
        ctx.send(&plain(put, &other)).await?.expect_status(409).at(what)?;
        ctx.expect_served(&held.slot, &held.body).await.at(what)?;
    }
    let tail = ctx.send(&patch(held.with_session("PATCH"), &other, START, SIZE)).await?;
    tail.expect_refused().at("a PATCH")?;
    ctx.expect_served(&held.slot, &held.body).await?;
    for (what, request, status) in [
        ("bytes */S", asking(held.with_session("PUT"), SIZE), 201),
        ("HEAD", held.with_session("HEAD"), 200),
        ("HEAD of tus", tus(held.with_session("HEAD")), 200),
    ] {
        let answer = ctx.send(&request).await?;
        answer.expect_status(status)?.expect_no_header("x-session-token").at(what)?;
    }
    Ok(())
}
