//! Ways in that another system left open: each has to be shut.

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::{Ctx, Slot};
use crate::http::Request;
use crate::session::{Held, SESSION_ID, expect_denied, expect_no_session, patch, plain, ranged, session_of};
use crate::token::{self, Claims};

use super::{HALF, HOUR, SIZE, STRANGER, TWO_ADDRESSES};

pub(super) const CASES: &[Case] = &[
    case!(["SES-17"], "a garbage token is refused beside its own live session", refuses_garbage_beside_own),
    case!(
        ["SES-17"],
        "a garbage token is refused beside a known session of another subject",
        refuses_garbage_beside_foreign
    ),
    case!(["SES-17"], "a MAC of the path alone is refused", refuses_path_only_mac),
    case!(
        ["SES-17"],
        "an expired token that is wrong in more than its age is refused",
        refuses_wrong_and_old
    ),
    case!(["SES-17"], "a session does not rescue a wrong token in the query", refuses_wrong_query),
    case!(["SES-20"], "a changed address refuses nobody", changed_address_is_served, needs TWO_ADDRESSES),
    case!(["SES-20"], "a changed agent refuses nobody", changed_agent_is_served),
];

/// Tokens for this slot that nobody should take, whatever their age.
fn garbage(ctx: &Ctx, slot: &Slot) -> Result<Vec<(&'static str, String)>, crate::case::Failure> {
    let claims = slot.claims("video/mp4");
    let secret = ctx.secret()?;
    let good = claims.sign(secret)?;
    let (signed, _) = good.rsplit_once('.').unwrap_or_default();
    Ok(vec![
        ("text", "garbage".to_owned()),
        ("two dots", "not.a.token".to_owned()),
        ("64 hex digits", "0".repeat(64)),
        ("another secret's", claims.sign(b"not the secret of this server")?),
        ("an unsigned token", claims.unsigned()),
        ("a cut signature", format!("{signed}.AAAA")),
        ("another slot's", Claims { slot: crate::ctx::unique(), ..claims.clone() }.sign(secret)?),
        ("another name's", Claims { filename: "other.mp4".into(), ..claims.clone() }.sign(secret)?),
        ("another size's", Claims { filesize: claims.filesize + 1, ..claims }.sign(secret)?),
    ])
}

/// With this session beside it none of the garbage gets anything written, deleted or told.
async fn expect_shut(ctx: &Ctx, held: &Held, session: &str) -> CaseResult {
    for (what, token) in garbage(ctx, &held.slot)? {
        let with = |method| held.bare(method).bearer(&token).header(SESSION_ID, session);
        for request in [
            plain(with("PUT"), &held.body),
            ranged(with("PUT"), &held.body, held.offset, SIZE),
            patch(with("PATCH"), &held.body, held.offset, SIZE),
            crate::session::tus(with("DELETE")),
        ] {
            let step = format!("{what}, {}", request.method());
            expect_denied(&ctx.send(&request).await?).at(step)?;
        }
    }
    ctx.expect_untouched(held).await
}

async fn refuses_garbage_beside_own(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    expect_shut(ctx, &held, &held.session).await
}

async fn refuses_garbage_beside_foreign(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("theirs.mp4", SIZE)?;
    let theirs = ctx.held_by(STRANGER, slot, body, HALF).await?;
    expect_shut(ctx, &held, &theirs.session).await?;
    ctx.expect_untouched(&theirs).await
}

async fn refuses_path_only_mac(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let held = ctx.held(SIZE, HALF).await?;
    let (slot, name) = held.slot.ends();
    for signed in [held.slot.path.as_str(), &held.slot.url, name, slot, &format!("{} ", held.slot.path)] {
        let mac = token::hex_mac(secret, &[signed.as_bytes()])?;
        for query in [format!("v={mac}"), format!("v2={mac}"), format!("token={mac}")] {
            let put = held.slot.put_with(&query);
            for request in [put.clone(), put.header(SESSION_ID, &held.session)] {
                let answer = ctx.send(&ranged(request, &held.body, HALF, SIZE)).await?;
                answer.expect_status(403).at(format_args!("a MAC of {signed:?}"))?;
                expect_no_session(&answer)?;
            }
        }
    }
    ctx.expect_untouched(&held).await
}

async fn refuses_wrong_and_old(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let old = Claims { lifetime: -HOUR, ..held.slot.claims("video/mp4") };
    for (what, token) in [
        ("another secret", old.sign(b"not the secret of this server")?),
        ("another slot", Claims { slot: crate::ctx::unique(), ..old.clone() }.sign(ctx.secret()?)?),
        ("another size", Claims { filesize: old.filesize + 1, ..old }.sign(ctx.secret()?)?),
    ] {
        let put = held.with_session("PUT").bearer(&token);
        expect_denied(&ctx.send(&ranged(put, &held.body, HALF, SIZE)).await?).at(what)?;
    }
    ctx.expect_untouched(&held).await
}

async fn refuses_wrong_query(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let zeros = "0".repeat(64);
    for query in [format!("v={zeros}"), format!("v2={zeros}"), "token=nonsense".to_owned(), "v=".to_owned()] {
        for put in [
            held.slot.put_with(&query).header(SESSION_ID, &held.session),
            held.slot.put_with(&format!("{query}&session_id={}", held.session)),
        ] {
            expect_denied(&ctx.send(&ranged(put, &held.body, HALF, SIZE)).await?).at(&query)?;
        }
    }
    ctx.expect_untouched(&held).await
}

async fn changed_address_is_served(ctx: &Ctx) -> CaseResult {
    let [home, abroad] = ctx.session.places()?;
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = ctx.live(&slot)?;
    let with_token = || crate::session::bare(&slot, "PUT").bearer(&token);
    let first = ctx.send_from(home, &ranged(with_token(), &body, 0, 4000)).await?;
    let session = session_of(first.expect_status(308)?)?;
    let steps: [(&str, Request, usize); 3] = [
        ("a good token alone", with_token(), 4000),
        ("a good token and the session", with_token().header(SESSION_ID, &session), 8000),
        ("the session alone", crate::session::bare(&slot, "PUT").header(SESSION_ID, &session), 12_000),
    ];
    for (what, request, from) in steps {
        for (place, from) in [(abroad, from), (home, from + 2000)] {
            let answer = ctx.send_from(place, &ranged(request.clone(), &body, from, from + 2000)).await?;
            answer.expect_status(308).at(what)?;
            if what != "a good token alone" {
                expect(session_of(&answer).at(what)? == session, "the same session", "another").at(what)?;
            }
        }
    }
    let expired = crate::session::bare(&slot, "PUT").bearer(&ctx.expired(&slot, HOUR)?);
    let last = ranged(expired.header(SESSION_ID, &session), &body, 16_000, SIZE);
    let answer = ctx.send_from(abroad, &last).await?;
    answer.expect_status(201).at("an expired token and the session")?;
    expect(session_of(&answer)? == session, "the same session", "another")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn changed_agent_is_served(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let mut offset = HALF;
    for agent in ["Dino/0.4.2", "Conversations/2.12", "curl/8.0", "\"; drop table--", ""] {
        let put = held.with_session("PUT").header("User-Agent", agent);
        let answer = ctx.send(&ranged(put, &held.body, offset, offset + 100)).await?;
        answer.expect_status(308).at(format_args!("User-Agent {agent:?}"))?;
        offset += 100;
    }
    ctx.finish_by(&Held { offset, ..held.clone() }, held.with_session("PUT")).await
}
