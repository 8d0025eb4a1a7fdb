//! Bans and rates, tried from invented addresses, so that the suite's own stays free.

use std::net::IpAddr;

use crate::case::{Case, CaseResult, Condition, Failure, Need, Step as _, case, expect};
use crate::ctx::{Ctx, noise};
use crate::http::{Answer, Request};
use crate::session::{Place, SESSION_ID, asking, bare, plain, strange_v4, strange_v6_network, v6_in};

use super::{HALF, HOUR, SIZE};

const BAN: &[Need] = &[Need::Session(Condition::Ban)];
const ADDRESS_RATE: &[Need] = &[Need::Session(Condition::AddressRate)];
const SUBJECT_RATE: &[Need] = &[Need::Session(Condition::SubjectRate)];

pub(super) const CASES: &[Case] = &[
    case!(["SES-51"], "an address with too many bad tokens is refused, and no other is", bans_bad_tokens, needs BAN),
    case!(["SES-51"], "a banned address is served where its credential is good, and where none is needed", serves_the_banned, needs BAN),
    case!(["SES-71"], "session ids, GET and HEAD ban nobody", spares_what_a_page_can_send, needs BAN),
    case!(["SES-70"], "genuine tokens that do not fit ban nobody", spares_the_genuine, needs BAN),
    case!(["SES-51"], "IPv6 addresses count by /64", bans_a_v6_network, needs BAN),
    case!(["SES-51"], "an allow-listed address is never banned", spares_the_allowed, needs BAN),
    case!(["SES-52"], "an address that asks too often is told when to come back", limits_addresses, needs ADDRESS_RATE),
    case!(["SES-52"], "a subject that asks too often is told when to come back", limits_subjects, needs SUBJECT_RATE),
    case!(["SES-53"], "missing and expired credentials ban nobody", spares_the_late, needs BAN),
];

fn v4() -> Place {
    Place::Forwarded(IpAddr::from(strange_v4()))
}

fn ban_after(ctx: &Ctx) -> Result<u32, Failure> {
    ctx.session.ban_after.ok_or_else(|| Failure::because("no --ban-after"))
}

/// A good upload from there.
async fn upload_from(ctx: &Ctx, place: Place) -> Result<Answer, Failure> {
    let (slot, body) = ctx.file("photo.jpg", 100)?;
    ctx.send_from(place, &plain(bare(&slot, "PUT").bearer(&ctx.live(&slot)?), &body)).await
}

async fn expect_free(ctx: &Ctx, place: Place) -> CaseResult {
    upload_from(ctx, place).await?.expect_status(201).at(format_args!("from {place:?}"))?;
    Ok(())
}

/// 429, and a time to come back.
fn expect_later(answer: &Answer) -> CaseResult {
    answer.expect_status(429)?;
    let wait = answer.number("retry-after")?;
    expect(wait >= 1, "a Retry-After of a second or more", wait)
}

/// Fails as often as it takes, each time from the next of these places, and not sooner than it should.
async fn expect_banned(ctx: &Ctx, request: &Request, place: impl Fn(u16) -> Place) -> CaseResult {
    for turn in 0..ban_after(ctx)? {
        let from = place(u16::try_from(turn).unwrap_or_default());
        let answer = ctx.send_from(from, request).await?;
        answer.expect_status_in(&[401, 403]).at(format_args!("failure {}", turn + 1))?;
    }
    let from = place(u16::MAX);
    expect_later(&ctx.send_from(from, request).await?).at("one failure too many")?;
    upload_from(ctx, from).await?.expect_status(201).at("a good upload of who is banned")?;
    expect_later(&ctx.send_from(from, request).await?).at("one more failure")
}

async fn forged(ctx: &Ctx) -> Result<Request, Failure> {
    let slot = ctx.slot("photo.jpg", 100)?;
    let token = slot.claims("image/jpeg").sign(b"not the secret of this server")?;
    Ok(bare(&slot, "PUT").bearer(&token).body(noise(&slot.path, 100)))
}

async fn bans_bad_tokens(ctx: &Ctx) -> CaseResult {
    let (guilty, innocent) = (v4(), v4());
    expect_free(ctx, guilty).await?;
    expect_banned(ctx, &forged(ctx).await?, |_| guilty).await?;
    expect_free(ctx, innocent).await?;
    expect_free(ctx, Place::Usual).await
}

async fn serves_the_banned(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let (slot, body) = ctx.file("public.jpg", 100)?;
    ctx.send(&plain(bare(&slot, "PUT").bearer(&ctx.live(&slot)?), &body)).await?.expect_status(201)?;
    let guilty = v4();
    expect_banned(ctx, &forged(ctx).await?, |_| guilty).await?;
    let public = ctx.send_from(guilty, &Request::new("GET", &slot.url)).await?;
    public.expect_status(200).at("a download")?;
    let recovered = ctx.send_from(guilty, &asking(held.with_session("PUT"), SIZE)).await?;
    recovered.expect_status(308).at("a session")?;
    expect_later(&ctx.send_from(guilty, &asking(held.bare("PUT"), SIZE)).await?).at("no credential at all")
}

async fn spares_what_a_page_can_send(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let address = v4();
    let slot = ctx.slot("photo.jpg", 100)?;
    let token = slot.claims("image/jpeg").sign(b"not the secret of this server")?;
    let guess = crate::ctx::unique().replace('-', "").repeat(2);
    for _ in 0..ban_after(ctx)?.saturating_add(5) {
        for method in ["GET", "HEAD"] {
            ctx.send_from(address, &bare(&slot, method).bearer(&token)).await?;
        }
        let request = asking(held.bare("PUT").header(SESSION_ID, &guess), SIZE);
        ctx.send_from(address, &request).await?.expect_status(401)?;
    }
    ctx.send_from(address, &asking(held.bare("PUT"), SIZE)).await?.expect_status(401)?;
    ctx.expect_untouched(&held).await
}

async fn spares_the_genuine(ctx: &Ctx) -> CaseResult {
    let address = v4();
    let (slot, other) = (ctx.slot("photo.jpg", 100)?, ctx.slot("photo.jpg", 100)?);
    let token = ctx.live(&slot)?;
    for _ in 0..ban_after(ctx)?.saturating_add(5) {
        let longer = plain(bare(&slot, "PUT").bearer(&token), &noise(&slot.path, 101));
        ctx.send_from(address, &longer).await?.expect_status(403)?;
        let elsewhere = plain(bare(&other, "PUT").bearer(&token), &noise(&other.path, 100));
        ctx.send_from(address, &elsewhere).await?.expect_status(403)?;
    }
    let missing = plain(bare(&slot, "PUT"), &noise(&slot.path, 100));
    ctx.send_from(address, &missing).await?.expect_status(401)?;
    Ok(())
}

async fn bans_a_v6_network(ctx: &Ctx) -> CaseResult {
    let (network, other) = (strange_v6_network(), strange_v6_network());
    let place = |network, host| Place::Forwarded(v6_in(network, host).into());
    expect_banned(ctx, &forged(ctx).await?, |host| place(network, host)).await?;
    expect_free(ctx, place(other, 1)).await
}

async fn spares_the_allowed(ctx: &Ctx) -> CaseResult {
    let request = forged(ctx).await?;
    for _ in 0..ban_after(ctx)?.saturating_add(5) {
        ctx.send(&request).await?.expect_status_in(&[401, 403])?;
    }
    expect_free(ctx, Place::Usual).await
}

async fn spares_the_late(ctx: &Ctx) -> CaseResult {
    let place = v4();
    let slot = ctx.slot("photo.jpg", 100)?;
    let expired = ctx.expired(&slot, HOUR)?;
    let body = noise(&slot.path, 100);
    for _ in 0..ban_after(ctx)?.saturating_add(5) {
        for request in [bare(&slot, "PUT"), bare(&slot, "PUT").bearer(&expired)] {
            ctx.send_from(place, &plain(request, &body)).await?.expect_status(401)?;
        }
    }
    expect_free(ctx, place).await
}

/// Asks until it is refused, at least so often and at most twice as often and a few.
async fn expect_limited(ctx: &Ctx, limit: u32, request: &Request, place: impl Fn() -> Place) -> CaseResult {
    for asked in 0..limit.saturating_mul(2).saturating_add(5) {
        let answer = ctx.send_from(place(), request).await?;
        if answer.status == 429 {
            expect_later(&answer)?;
            return expect(asked >= limit, format_args!("{limit} requests to be answered"), asked);
        }
        answer.expect_status(308)?;
    }
    Err(Failure::new("429", format_args!("none in more than {} requests", limit.saturating_mul(2))))
}

async fn limits_addresses(ctx: &Ctx) -> CaseResult {
    let limit = ctx.session.requests_per_minute.unwrap_or_default();
    let (slot, _) = ctx.file("photo.jpg", SIZE)?;
    let request = asking(bare(&slot, "PUT").bearer(&ctx.live(&slot)?), SIZE);
    let place = v4();
    expect_limited(ctx, limit, &request, || place).await?;
    ctx.send_from(v4(), &request).await?.expect_status(308).at("from another address")?;
    ctx.send(&request).await?.expect_status(308).at("from the suite's own address")?;
    Ok(())
}

async fn limits_subjects(ctx: &Ctx) -> CaseResult {
    let limit = ctx.session.subject_requests_per_minute.unwrap_or_default();
    let slot = ctx.slot("photo.jpg", SIZE as u64)?;
    let of = |subject: &str| -> Result<Request, Failure> {
        Ok(asking(bare(&slot, "PUT").bearer(&ctx.live_of(&slot, subject)?), SIZE))
    };
    let busy = of(&format!("{}@montague.tld", crate::ctx::unique()))?;
    expect_limited(ctx, limit, &busy, v4).await?;
    let other = of(&format!("{}@montague.tld", crate::ctx::unique()))?;
    ctx.send_from(v4(), &other).await?.expect_status(308).at("another subject")?;
    Ok(())
}
