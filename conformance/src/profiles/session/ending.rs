//! Sessions that have ended, never were, or are somebody else's.

use std::time::Duration;

use tokio::time::sleep;

use crate::case::{Case, CaseResult, Condition, Failure, Need, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::session::{
    Held, SESSION_ID, asking, expect_no_session, expect_problem, plain, ranged, session_of,
};

use super::{HALF, HOUR, SIZE, STRANGER};

pub(super) const CASES: &[Case] = &[
    case!(
        ["SES-15"],
        "a session ends at its age, and its fresh tokens with it",
        ends_at_its_age,
        SessionAge,
        needs & [Need::Session(Condition::ShortSession)]
    ),
    case!(["SES-16"], "an unknown session recovers nothing", unknown_recovers_nothing),
    case!(["SES-16"], "session ids are compared by case and length", malformed_recovers_nothing),
    case!(["SES-16"], "a session does not open another's upload", does_not_open_anothers),
    case!(["SES-16"], "a session does not open its subject's other uploads", does_not_open_what_it_never_saw),
];

async fn ends_at_its_age(ctx: &Ctx) -> CaseResult {
    let age = ctx.session.max_age.ok_or_else(|| Failure::because("no --session-max-age"))?;
    let held = ctx.held(SIZE, HALF).await?;
    let fresh = ctx.fresh(&held).await?;
    let answer = ctx.send(&asking(held.with_session("PUT"), SIZE)).await?;
    let timeout = answer.number("x-upload-session-timeout")?;
    expect(timeout <= age.as_secs(), format_args!("a timeout of {} s at most", age.as_secs()), timeout)?;
    sleep(age + Duration::from_millis(1200)).await;
    let expired = ctx.expired(&held.slot, HOUR)?;
    for (what, request) in [
        ("without a token", held.with_session("PUT")),
        ("with an expired token", held.with_session("PUT").bearer(&expired)),
    ] {
        let answer = ctx.send(&ranged(request, &held.body, HALF, SIZE)).await?;
        expect_problem(&answer, 401, "session-expired").at(what)?;
        expect_no_session(&answer).at(what)?;
    }
    expect_problem(&ctx.refresh(&held.session).await?, 401, "session-expired").at("refresh")?;
    let late = ctx.send(&asking(held.bare("PUT").bearer(&fresh), SIZE)).await?;
    late.expect_status(401).at("its fresh token")?;
    let good = held.with_session("PUT").bearer(&ctx.live(&held.slot)?);
    let answer = ctx.send(&asking(good.clone(), SIZE)).await?;
    answer.expect_status(308).at("a good token beside it")?;
    expect(session_of(&answer)? != held.session, "a new session", "the ended one")?;
    ctx.finish_by(&held, good).await
}

/// This id lets nobody in, with the upload's URL alone and with its expired token.
async fn expect_useless(ctx: &Ctx, held: &Held, id: &str, status: u16, word: &str) -> CaseResult {
    let expired = ctx.expired(&held.slot, HOUR)?;
    let with = |method| held.bare(method).header(SESSION_ID, id);
    for (what, request) in [
        ("plain PUT", plain(with("PUT"), &held.body)),
        ("ranged PUT", ranged(with("PUT"), &held.body, held.offset, SIZE)),
        ("with an expired token", ranged(with("PUT").bearer(&expired), &held.body, held.offset, SIZE)),
        ("PATCH", crate::session::patch(with("PATCH"), &held.body, held.offset, SIZE)),
        ("DELETE", crate::session::tus(with("DELETE"))),
        ("bytes */S", asking(with("PUT"), SIZE)),
    ] {
        let answer = ctx.send(&request).await?;
        expect_problem(&answer, status, word).at(what)?;
        expect_no_session(&answer).at(what)?;
        let text = String::from_utf8_lossy(&answer.body);
        expect(id.is_empty() || !text.contains(id), "a problem that does not repeat the id", "it does")?;
    }
    Ok(())
}

async fn unknown_recovers_nothing(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let id = crate::ctx::unique().replace('-', "").repeat(2);
    expect_useless(ctx, &held, &id, 401, "session-unknown").await?;
    ctx.expect_untouched(&held).await
}

async fn malformed_recovers_nothing(ctx: &Ctx) -> CaseResult {
    // Of its 64 digits some are letters, but for one in ten million million.
    let held = ctx.held(SIZE, HALF).await?;
    let id = held.session.clone();
    let short = id.get(..63).unwrap_or_default().to_owned();
    for (what, id) in [
        ("capitals", id.to_uppercase()),
        ("a digit less", short.clone()),
        ("a digit more", format!("{id}0")),
        ("a letter beyond f", format!("{short}g")),
        ("in quotes", format!("\"{id}\"")),
        ("twice", format!("{id}, {id}")),
    ] {
        expect_useless(ctx, &held, &id, 401, "session-malformed").await.at(what)?;
    }
    ctx.expect_untouched(&held).await
}

async fn does_not_open_anothers(ctx: &Ctx) -> CaseResult {
    let mine = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("theirs.mp4", SIZE)?;
    let theirs = ctx.held_by(STRANGER, slot, body, HALF).await?;
    expect_useless(ctx, &theirs, &mine.session, 403, "session-foreign").await?;
    let expired =
        crate::token::Claims { sub: STRANGER.into(), lifetime: -HOUR, ..theirs.slot.claims("video/mp4") };
    let put = theirs.bare("PUT").bearer(&expired.sign(ctx.secret()?)?).header(SESSION_ID, &mine.session);
    let answer = ctx.send(&ranged(put, &theirs.body, HALF, SIZE)).await?;
    expect_problem(&answer, 403, "session-foreign").at("their own expired token")?;
    ctx.expect_untouched(&theirs).await
}

async fn does_not_open_what_it_never_saw(ctx: &Ctx) -> CaseResult {
    let first = ctx.held(SIZE, HALF).await?;
    let second = ctx.held(SIZE, HALF).await?;
    expect_useless(ctx, &second, &first.session, 403, "session-foreign").await?;
    ctx.expect_untouched(&second).await
}
