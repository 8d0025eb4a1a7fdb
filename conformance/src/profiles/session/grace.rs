//! For how long an expired token is still good, and for what alone.
//!
//! Every token here has expired already when it is minted; none of these requests names a session.

use crate::case::{Case, CaseResult, Condition, Failure, Need, Step as _, case, expect};
use crate::ctx::{Ctx, Slot};
use crate::http::{Answer, Request};
use crate::session::{bare, expect_denied, expect_no_session, patch, plain, ranged, session_of};
use crate::token::{Claims, Grant};

use super::{HALF, HOUR, SIZE};

const USUAL: &[Need] = &[Need::Session(Condition::Grace)];
const LOW_CEILING: &[Need] = &[Need::Session(Condition::LowCeiling)];
const NONE: &[Need] = &[Need::Session(Condition::NoGrace)];

pub(super) const CASES: &[Case] = &[
    case!(["SES-40"], "before a byte a desktop client has 24 h, a mobile one 12 h, others none", windows, needs USUAL),
    case!(["SES-40"], "a complete upload has no grace", none_when_complete, needs USUAL),
    case!(
        ["SES-40"],
        "a grant has no grace",
        none_for_grants,
        needs & [Need::GrantedCreation, Need::Session(Condition::Grace)]
    ),
    case!(["SES-41"], "behind a byte desktop and mobile clients have 48 h, others none", restoration, needs USUAL),
    case!(["SES-41"], "an upload is restored in every dialect", restores_in_every_dialect, needs USUAL),
    case!(["SES-42"], "no session that grace opened outlives the ceiling", session_ends_by_the_ceiling, needs USUAL),
    case!(["SES-42"], "no window reaches beyond a lower ceiling", windows_end_at_the_ceiling, needs LOW_CEILING),
    case!(["SES-43"], "the client's class widens neither signature nor path nor length", widens_time_only, needs USUAL),
    case!(["SES-43"], "the client's class is no credential", is_no_credential, needs USUAL),
    case!(["SES-44"], "without grace an expired token is refused", refuses_without_grace, needs NONE),
];

const DESKTOP: [&str; 3] = ["Dino/0.4.2", "Gajim 1.9.3", "gajim/1.7.3 (Linux; x86_64)"];
const MOBILE: [&str; 2] = ["Conversations/2.12", "Monal/6.0 CFNetwork/1410.0.3 Darwin/22.6.0"];
const OTHER: [&str; 3] =
    ["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", ""];

fn as_agent(request: Request, agent: &str) -> Request {
    if agent.is_empty() { request } else { request.header("User-Agent", agent) }
}

/// Whether a whole PUT, or the rest behind the first bytes, is let in by a token that expired so long ago.
async fn try_expired(ctx: &Ctx, agent: &str, seconds: i64, has_bytes: bool, is_served: bool) -> CaseResult {
    let step = format!("{agent:?}, expired {} min ago, bytes there: {has_bytes}", seconds / 60);
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let put = as_agent(bare(&slot, "PUT").bearer(&ctx.expired(&slot, seconds)?), agent);
    let put = if has_bytes {
        begin(ctx, &slot, &body).await.at(&step)?;
        ranged(put, &body, HALF, SIZE)
    } else {
        plain(put, &body)
    };
    let answer = ctx.send(&put).await?;
    if is_served {
        answer.expect_status(201).at(&step)?;
        session_of(&answer).at(&step)?;
        ctx.expect_served(&slot, &body).await.at(&step)?;
    } else {
        answer.expect_status(401).at(&step)?;
        expect_no_session(&answer).at(&step)?;
        ctx.expect_not_served(&slot).await.at(&step)?;
    }
    Ok(())
}

/// Stores the first bytes under a good token, and forgets the session.
async fn begin(ctx: &Ctx, slot: &Slot, body: &bytes::Bytes) -> CaseResult {
    let first = ranged(bare(slot, "PUT").bearer(&ctx.live(slot)?), body, 0, HALF);
    ctx.send(&first).await?.expect_status(308).at("the first range")?;
    Ok(())
}

async fn windows(ctx: &Ctx) -> CaseResult {
    for agent in DESKTOP {
        for (hours, is_served) in [(1, true), (13, true), (23, true), (25, false), (49, false)] {
            try_expired(ctx, agent, hours * HOUR, false, is_served).await?;
        }
    }
    for agent in MOBILE {
        for (hours, is_served) in [(1, true), (11, true), (13, false), (23, false), (49, false)] {
            try_expired(ctx, agent, hours * HOUR, false, is_served).await?;
        }
    }
    for agent in OTHER {
        for seconds in [60, HOUR] {
            try_expired(ctx, agent, seconds, false, false).await?;
        }
    }
    Ok(())
}

async fn restoration(ctx: &Ctx) -> CaseResult {
    for agent in DESKTOP.into_iter().chain(MOBILE) {
        for (hours, is_served) in [(1, true), (13, true), (25, true), (47, true), (49, false), (73, false)] {
            try_expired(ctx, agent, hours * HOUR, true, is_served).await?;
        }
    }
    for agent in OTHER {
        for seconds in [60, HOUR] {
            try_expired(ctx, agent, seconds, true, false).await?;
        }
    }
    Ok(())
}

async fn none_when_complete(ctx: &Ctx) -> CaseResult {
    let held = ctx.held_complete(SIZE).await?;
    let expired = ctx.expired(&held.slot, HOUR)?;
    let other = crate::ctx::noise("other bytes", SIZE);
    for agent in [DESKTOP, [MOBILE[0], MOBILE[1], OTHER[0]]].concat() {
        let answer = ctx.send(&plain(as_agent(held.bare("PUT").bearer(&expired), agent), &other)).await?;
        answer.expect_status(401).at(agent)?;
        expect_no_session(&answer).at(agent)?;
    }
    ctx.expect_served(&held.slot, &held.body).await?;
    Ok(())
}

async fn none_for_grants(ctx: &Ctx) -> CaseResult {
    let expired = Grant { lifetime: -HOUR, ..Grant::default() }.sign(ctx.secret()?)?;
    for agent in [DESKTOP[0], MOBILE[0]] {
        let post =
            crate::session::tus(Request::new("POST", ctx.tus.path.clone())).header("Upload-Length", 10);
        let answer = ctx.send(&as_agent(post.bearer(&expired), agent)).await?;
        answer.expect_status(401)?.expect_no_header("location").at(agent)?;
    }
    Ok(())
}

async fn restores_in_every_dialect(ctx: &Ctx) -> CaseResult {
    for dialect in ["plain PUT", "ranged PUT", "tus PATCH"] {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        begin(ctx, &slot, &body).await?;
        let expired = ctx.expired(&slot, 30 * HOUR)?;
        let with = |method| as_agent(bare(&slot, method).bearer(&expired), "Gajim 1.9.3");
        let (request, status) = match dialect {
            "plain PUT" => (plain(with("PUT"), &body), 201),
            "ranged PUT" => (ranged(with("PUT"), &body, HALF, SIZE), 201),
            _ => (patch(with("PATCH"), &body, HALF, SIZE), 204),
        };
        ctx.send(&request).await?.expect_status(status).at(dialect)?;
        ctx.expect_served(&slot, &body).await.at(dialect)?;
    }
    Ok(())
}

/// The seconds that a session has which an expired token of this age opened.
async fn timeout_after(ctx: &Ctx, agent: &str, seconds: i64) -> Result<u64, Failure> {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body).await?;
    let put = as_agent(bare(&slot, "PUT").bearer(&ctx.expired(&slot, seconds)?), agent);
    let answer: Answer = ctx.send(&ranged(put, &body, HALF, HALF + 10)).await?;
    answer.expect_status(308).at(format_args!("{agent}, expired {seconds} s ago"))?;
    answer.number("x-upload-session-timeout")
}

async fn session_ends_by_the_ceiling(ctx: &Ctx) -> CaseResult {
    for (agent, hours) in [(DESKTOP[0], 23), (MOBILE[0], 11), (DESKTOP[1], 47), (MOBILE[0], 47)] {
        let timeout = timeout_after(ctx, agent, hours * HOUR).await?;
        let most = (72 - hours) * HOUR;
        expect(
            i64::try_from(timeout).is_ok_and(|timeout| timeout <= most),
            format_args!("{most} s at most, {hours} h behind the token's expiry"),
            timeout,
        )?;
    }
    Ok(())
}

async fn windows_end_at_the_ceiling(ctx: &Ctx) -> CaseResult {
    let ceiling = ctx.session.grace_ceiling.ok_or_else(|| Failure::because("no --grace-ceiling"))?;
    let ceiling = i64::try_from(ceiling.as_secs()).unwrap_or(i64::MAX);
    for agent in [DESKTOP[0], MOBILE[0]] {
        for has_bytes in [false, true] {
            try_expired(ctx, agent, ceiling - 60, has_bytes, true).await?;
            try_expired(ctx, agent, ceiling + 1, has_bytes, false).await?;
        }
        let timeout = timeout_after(ctx, agent, ceiling - 60).await?;
        expect(timeout <= 60, "a session of 60 s at most", timeout)?;
    }
    Ok(())
}

async fn widens_time_only(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    for agent in [DESKTOP[0], MOBILE[0]] {
        let held = ctx.held(SIZE, HALF).await?;
        let old = Claims { lifetime: -HOUR, ..held.slot.claims("video/mp4") };
        for (what, token) in [
            ("another secret", old.sign(b"not the secret of this server")?),
            ("no signature", old.unsigned()),
            ("another slot", Claims { slot: crate::ctx::unique(), ..old.clone() }.sign(secret)?),
            ("another name", Claims { filename: "other.mp4".into(), ..old.clone() }.sign(secret)?),
            ("another size", Claims { filesize: old.filesize + 1, ..old.clone() }.sign(secret)?),
        ] {
            let put = as_agent(held.bare("PUT").bearer(&token), agent);
            expect_denied(&ctx.send(&ranged(put, &held.body, HALF, SIZE)).await?).at(what)?;
        }
        let longer = as_agent(held.bare("PUT").bearer(&old.sign(secret)?), agent).body(vec![b'x'; SIZE + 1]);
        ctx.send(&longer).await?.expect_status(403).at("a longer body")?;
        ctx.expect_untouched(&held).await?;
    }
    Ok(())
}

async fn is_no_credential(ctx: &Ctx) -> CaseResult {
    for agent in DESKTOP.into_iter().chain(MOBILE) {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        let answer = ctx.send(&plain(as_agent(bare(&slot, "PUT"), agent), &body)).await?;
        answer.expect_status(401).at(agent)?;
        expect_no_session(&answer)?;
        ctx.expect_not_served(&slot).await?;
    }
    Ok(())
}

async fn refuses_without_grace(ctx: &Ctx) -> CaseResult {
    for agent in DESKTOP.into_iter().chain(MOBILE) {
        for has_bytes in [false, true] {
            try_expired(ctx, agent, 60, has_bytes, false).await?;
        }
    }
    Ok(())
}
