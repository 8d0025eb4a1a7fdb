//! Who may create, and who may go on.

use std::time::{Duration, Instant};

use crate::case::{Case, CaseResult, Need, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::http::Request;
use crate::token::Grant;
use crate::tus::{Resource, VERSION, expect_not_created};

const OPEN: &[Need] = &[Need::OpenCreation];
const GRANTED: &[Need] = &[Need::GrantedCreation];
const GRANTED_REMOVAL: &[Need] = &[Need::GrantedCreation, Need::Extension("termination")];
const EVERY_VERB: &[Need] = &[Need::GrantedCreation, Need::GrantedAccess];

pub(super) const CASES: &[Case] = &[
    case!(["TUS-94", "TUS-127"], "strangers who create too much wait, or are answered 429 with Retry-After", limits_strangers, needs OPEN),
    case!(["TUS-95"], "every verb asks for a grant of the upload's subject", asks_with_every_verb, needs EVERY_VERB),
    case!(["TUS-102"], "a creation without a good grant is refused", asks_for_a_grant, needs GRANTED),
    case!(["TUS-160"], "whoever knows the URL alone deletes no complete upload that a grant created", keeps_what_is_complete, needs GRANTED_REMOVAL),
    case!(["TUS-122"], "a creation without a grant is refused for that, whatever it says", judges_the_grant_first, needs GRANTED),
    case!(["TUS-103"], "a creation beyond the grant's size is refused", holds_to_the_grant, needs GRANTED),
];

/// A creation that carries this token, or none.
fn creation(ctx: &Ctx, token: Option<&str>) -> Request {
    let post = Request::new("POST", ctx.tus.path.clone()).header("Tus-Resumable", VERSION);
    match token {
        Some(token) => post.bearer(token),
        None => post,
    }
}

async fn limits_strangers(ctx: &Ctx) -> CaseResult {
    let limit = ctx.tus.creations_per_minute.unwrap_or_default();
    let mut created = 0;
    let start = Instant::now();
    for _ in 0..limit.saturating_mul(2).saturating_add(5) {
        let answer = ctx.send(&creation(ctx, None).header("Upload-Length", 1)).await?;
        if answer.status == 201 {
            created += 1;
            continue;
        }
        answer.expect_status(429)?;
        let wait = answer.number("retry-after")?;
        expect((1..=60).contains(&wait), "Retry-After of a minute or less", wait)?;
        // Other cases may have created some of this minute's.
        return expect(created <= limit.saturating_add(1), format_args!("{limit} creations"), created);
    }
    // Those beyond the first ones were let in one by one.
    let least = Duration::from_secs(60).saturating_mul(created.saturating_sub(limit)) / limit.max(1) / 2;
    let took = start.elapsed();
    expect(took >= least, "429, or to be slowed down", format_args!("{created} creations in {took:?}"))
}

async fn asks_with_every_verb(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let (complete, _) = ctx.tus_begun(100, 100).await?;
    let stranger = Grant { sub: "mercutio@verona.tld".into(), ..Grant::default() }.sign(secret)?;
    let expired = Grant { lifetime: -3600, ..Grant::default() }.sign(secret)?;
    let patch = |upload: &Resource| Resource::at(upload.url.clone()).patch(&body, 40, 100);
    let bare = Resource::at(upload.url.clone());
    let requests = [
        ("HEAD", bare.head()),
        ("PATCH", patch(&upload)),
        ("DELETE", bare.request("DELETE")),
        ("GET", Resource::at(complete.url.clone()).plain("GET")),
    ];
    for (verb, request) in requests {
        ctx.send(&request).await?.expect_status(401).at(format_args!("{verb} without a grant"))?;
        ctx.send(&request.clone().bearer(&expired))
            .await?
            .expect_status(401)
            .at(format_args!("{verb}, expired"))?;
        let answer = ctx.send(&request.bearer(&stranger)).await?;
        answer.expect_status_in(&[403, 404]).at(format_args!("{verb} with another's grant"))?;
    }
    ctx.expect_tus_offset(&upload, 40).await?;
    ctx.tus_finish(&upload, &body, 40).await
}

async fn asks_for_a_grant(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let expired = Grant { lifetime: -3600, ..Grant::default() }.sign(secret)?;
    let forged = Grant::default().sign(b"another secret")?;
    let other_scope = Grant { scope: "download", ..Grant::default() }.sign(secret)?;
    let slot = ctx.slot("photo.jpg", 1)?.claims("image/jpeg").sign(secret)?;
    for (what, token, statuses) in [
        ("no grant", None, [401, 401]),
        ("an expired grant", Some(expired), [401, 401]),
        ("a forged grant", Some(forged), [401, 403]),
        ("a grant of another scope", Some(other_scope), [401, 403]),
        ("a slot's token", Some(slot), [401, 403]),
        ("no token at all", Some("nonsense".to_owned()), [401, 403]),
    ] {
        let answer = ctx.send(&creation(ctx, token.as_deref()).header("Upload-Length", 1)).await?;
        answer.expect_status_in(&statuses).at(what)?;
        expect_not_created(&answer).at(what)?;
        if answer.status == 401 {
            answer.require("www-authenticate").at(what)?;
        }
    }
    Ok(())
}

async fn judges_the_grant_first(ctx: &Ctx) -> CaseResult {
    let many = (0..1000).map(|n| format!("k{n} Yg==")).collect::<Vec<_>>().join(",");
    for (field, value) in [
        ("Upload-Metadata", ","),
        ("Upload-Metadata", many.as_str()),
        ("Upload-Concat", "neither"),
        ("Upload-Checksum", "whirlpool AAAA"),
    ] {
        let answer = ctx.send(&creation(ctx, None).header("Upload-Length", 1).header(field, value)).await?;
        answer.expect_status(401).at(field)?;
    }
    Ok(())
}

async fn holds_to_the_grant(ctx: &Ctx) -> CaseResult {
    let token = Grant { max_size: Some(1000), ..Grant::default() }.sign(ctx.secret()?)?;
    let fitting = ctx.send(&creation(ctx, Some(&token)).header("Upload-Length", 1000)).await?;
    ctx.resource(&fitting).at("a length that fits")?;
    let answer = ctx.send(&creation(ctx, Some(&token)).header("Upload-Length", 1001)).await?;
    answer.expect_status_in(&[403, 413]).at("a length beyond")?;
    expect_not_created(&answer)
}

async fn keeps_what_is_complete(ctx: &Ctx) -> CaseResult {
    let stranger = Grant { sub: "mercutio@verona.tld".into(), ..Grant::default() }.sign(ctx.secret()?)?;
    let (complete, _) = ctx.tus_begun(100, 100).await?;
    let bare = Resource::at(complete.url.clone());
    for (dialect, request) in [("tus", bare.request("DELETE")), ("no dialect", bare.plain("DELETE"))] {
        ctx.send(&request).await?.expect_status(401).at(format_args!("the URL alone, {dialect}"))?;
        let answer = ctx.send(&request.bearer(&stranger)).await?;
        answer.expect_status_in(&[403, 404]).at(format_args!("another's grant, {dialect}"))?;
    }
    ctx.expect_tus_offset(&complete, 100).await?;
    ctx.send(&complete.request("DELETE")).await?.expect_status(204).at("the grant that created it")?;
    ctx.expect_gone(&complete).await
}
