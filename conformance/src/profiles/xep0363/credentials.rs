//! Who may write: the tokens that XMPP servers mint.

use jsonwebtoken::Algorithm;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect};
use crate::ctx::{Ctx, Slot};
use crate::http::Answer;
use crate::token::{self, Claims};

pub(super) const CASES: &[Case] = &[
    case!(["XEP-19"], "a length other than the granted size is refused", refuses_other_length),
    case!(
        ["XEP-20"],
        "a PUT without credential is answered 401 with a Bearer challenge",
        asks_for_a_credential
    ),
    case!(["XEP-21"], "a wrong MAC is refused with 403", refuses_wrong_mac),
    case!(["XEP-22"], "a MAC for another path is refused with 403", refuses_foreign_mac),
    case!(["XEP-23"], "a v2 MAC is accepted as v2=, with and without a type", accepts_v2),
    case!(["XEP-24"], "a v2 MAC is accepted as token=", accepts_v2_as_token),
    case!(["XEP-25"], "a Content-Type other than the granted one is refused", refuses_other_type),
    case!(["XEP-26"], "a JWT is accepted as Authorization: Bearer", accepts_bearer),
    case!(["XEP-27"], "a JWT is accepted as token=", accepts_jwt_in_query),
    case!(["XEP-28"], "an expired JWT is answered 401 with a Bearer challenge", refuses_expired),
    case!(["XEP-29"], "a JWT that is not HS256 with our secret is answered 401", refuses_other_algorithms),
    case!(["XEP-30"], "a JWT for another slot, name or size is refused with 403", refuses_foreign_claims),
    case!(["XEP-31"], "a JWT may write numbers as floats and order its claims freely", accepts_floats),
    case!(["XEP-32"], "of several credentials only the strongest counts", strongest_counts),
];

fn expect_challenge(answer: &Answer) -> CaseResult {
    answer.expect_status(401)?;
    let challenge = answer.require("www-authenticate")?;
    expect(challenge.to_ascii_lowercase().starts_with("bearer"), "WWW-Authenticate: Bearer", challenge)
}

/// Sends `size` bytes to the slot with this query.
async fn put_with(
    ctx: &Ctx,
    slot: &Slot,
    query: &str,
    content_type: Option<&str>,
) -> Result<Answer, Failure> {
    let body = crate::ctx::noise(&slot.path, usize::try_from(slot.size).unwrap_or_default());
    let mut put = slot.put_with(query);
    if let Some(content_type) = content_type {
        put = put.header("Content-Type", content_type);
    }
    ctx.send(&put.body(body)).await
}

async fn put_bearer(ctx: &Ctx, slot: &Slot, token: &str) -> Result<Answer, Failure> {
    let body = crate::ctx::noise(&slot.path, usize::try_from(slot.size).unwrap_or_default());
    ctx.send(&slot.put_with("").bearer(token).body(body)).await
}

async fn refuses_other_length(ctx: &Ctx) -> CaseResult {
    ctx.secret()?;
    for length in [0_usize, 999, 1001, 2000] {
        let slot = ctx.slot("photo.jpg", 1000)?;
        let step = format!("{length} bytes for a slot of 1000");
        ctx.send(&slot.put().body(vec![b'x'; length])).await?.expect_status(403).at(&step)?;
        ctx.expect_not_served(&slot).await.at(&step)?;
    }
    Ok(())
}

async fn asks_for_a_credential(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    expect_challenge(&put_with(ctx, &slot, "", None).await?)?;
    ctx.expect_not_served(&slot).await
}

async fn refuses_wrong_mac(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let foreign = token::v1(b"not the secret of this server", &slot.path, 100)?;
    let zeros = "0".repeat(64);
    for query in [
        format!("v={foreign}"),
        format!("v={zeros}"),
        format!("v2={zeros}"),
        format!("token={zeros}"),
        "v=".to_owned(),
        "v=zz".to_owned(),
    ] {
        put_with(ctx, &slot, &query, None).await?.expect_status(403).at(&query)?;
    }
    ctx.expect_not_served(&slot).await
}

async fn refuses_foreign_mac(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let slot = ctx.slot("photo.jpg", 100)?;
    let other = ctx.slot("photo.jpg", 100)?;
    let (_, name) = slot.ends();
    for path in [other.path.as_str(), name] {
        let query = format!("v={}", token::v1(secret, path, 100)?);
        put_with(ctx, &slot, &query, None).await?.expect_status(403).at(format_args!("a MAC of {path:?}"))?;
    }
    ctx.expect_not_served(&slot).await
}

async fn accepts_v2(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    for content_type in [Some("image/jpeg"), None] {
        let slot = ctx.slot("photo.jpg", 100)?;
        let query = format!("v2={}", token::v2(secret, &slot.path, 100, content_type.unwrap_or_default())?);
        let step = format!("Content-Type {content_type:?}");
        put_with(ctx, &slot, &query, content_type).await?.expect_status(201).at(step)?;
    }
    Ok(())
}

async fn accepts_v2_as_token(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let query = format!("token={}", token::v2(ctx.secret()?, &slot.path, 100, "image/jpeg")?);
    put_with(ctx, &slot, &query, Some("image/jpeg")).await?.expect_status(201)?;
    Ok(())
}

async fn refuses_other_type(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let query = format!("v2={}", token::v2(ctx.secret()?, &slot.path, 100, "image/jpeg")?);
    put_with(ctx, &slot, &query, Some("text/html")).await?.expect_status(403)?;
    ctx.expect_not_served(&slot).await
}

async fn accepts_bearer(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("très cool.jpg", 100)?;
    let token = slot.claims("image/jpeg").sign(ctx.secret()?)?;
    put_bearer(ctx, &slot, &token).await?.expect_status(201)?;
    Ok(())
}

async fn accepts_jwt_in_query(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let token = slot.claims("image/jpeg").sign(ctx.secret()?)?;
    put_with(ctx, &slot, &format!("token={token}"), None).await?.expect_status(201)?;
    Ok(())
}

async fn refuses_expired(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let token = Claims { lifetime: -7200, ..slot.claims("image/jpeg") }.sign(ctx.secret()?)?;
    expect_challenge(&put_bearer(ctx, &slot, &token).await?).at("in the Authorization field")?;
    expect_challenge(&put_with(ctx, &slot, &format!("token={token}"), None).await?).at("as token=")?;
    ctx.expect_not_served(&slot).await
}

async fn refuses_other_algorithms(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let slot = ctx.slot("photo.jpg", 100)?;
    let claims = slot.claims("image/jpeg");
    for (what, token) in [
        ("alg none", claims.unsigned()),
        ("HS512", claims.sign_as(Algorithm::HS512, secret)?),
        ("a foreign secret", claims.sign(b"not the secret of this server")?),
        ("no JWT at all", "abc.def".to_owned()),
    ] {
        expect_challenge(&put_bearer(ctx, &slot, &token).await?).at(what)?;
    }
    ctx.expect_not_served(&slot).await
}

async fn refuses_foreign_claims(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let slot = ctx.slot("photo.jpg", 100)?;
    let fitting = slot.claims("image/jpeg");
    for (what, claims) in [
        ("another slot", Claims { slot: crate::ctx::unique(), ..fitting.clone() }),
        ("another name", Claims { filename: "other.jpg".into(), ..fitting.clone() }),
        ("another size", Claims { filesize: 101, ..fitting }),
    ] {
        put_bearer(ctx, &slot, &claims.sign(secret)?).await?.expect_status(403).at(what)?;
    }
    ctx.expect_not_served(&slot).await
}

async fn accepts_floats(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 100)?;
    let claims = slot.claims("image/jpeg").to_json();
    let mut text = String::from("{");
    // Backwards, and each number as a float.
    for (index, (name, value)) in claims.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value.as_u64() {
            Some(number) => text.push_str(&format!("{name:?}:{number}.0")),
            None => text.push_str(&format!("{name:?}:{value}")),
        }
    }
    text.push('}');
    put_bearer(ctx, &slot, &token::sign_json(ctx.secret()?, &text)?).await?.expect_status(201).at(text)?;
    Ok(())
}

async fn strongest_counts(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    let slot = ctx.slot("photo.jpg", 100)?;
    let good_v1 = token::v1(secret, &slot.path, 100)?;
    let good_v2 = token::v2(secret, &slot.path, 100, "")?;
    let bad = "0".repeat(64);
    put_with(ctx, &slot, &format!("v={good_v1}&v2={bad}"), None)
        .await?
        .expect_status(403)
        .at("good v1, bad v2")?;
    ctx.expect_not_served(&slot).await?;
    put_with(ctx, &slot, &format!("v={bad}&v2={good_v2}"), None)
        .await?
        .expect_status(201)
        .at("bad v1, good v2")?;
    Ok(())
}
