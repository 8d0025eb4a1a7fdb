//! Tokens of ejabberd's mod_http_upload_hmac and presigned PUT URLs of S3, as MongooseIM hands them out.

use crate::case::{Case, CaseResult, Failure, Step as _, case};
use crate::clock::unix_now;
use crate::ctx::{Ctx, Slot, UPLOADER};
use crate::http::{Answer, Request};
use crate::token::ejabberd::{FileToken, LIFETIME, Layout, RESILIENT_LIFETIME};
use crate::token::sigv4::{Presigned, basic_date};

pub(super) const CASES: &[Case] = &[
    case!(["XEP-88"], "a Bearer token of file name and size is accepted", accepts_plain),
    case!(["XEP-89"], "a Bearer token of the resilient layout is accepted", accepts_resilient),
    case!(["XEP-90"], "a Bearer token of another name, size or user is refused", refuses_other_claims),
    case!(["XEP-91"], "an expiry that is not the signed one is refused", refuses_unsigned_expiry),
    case!(["XEP-92"], "a Bearer token that has expired is answered 401", refuses_expired),
    case!(["XEP-93"], "a Bearer token is good for one path alone", binds_to_one_path),
    case!(["XEP-94"], "a presigned PUT is accepted", accepts_presigned),
    case!(
        ["XEP-160"],
        "a presigned PUT whose path is encoded twice is accepted, for one name",
        accepts_encoded_twice
    ),
    case!(["XEP-95"], "a presigned PUT of anything else is refused", refuses_other_presigned),
];

const SIZE: usize = 1000;
const LAYOUTS: [Layout; 2] = [Layout::Plain, Layout::Resilient];

/// A token for the slot that was issued so many seconds ago.
fn token_of(slot: &Slot, layout: Layout, age: u64) -> FileToken {
    let (_, filename) = slot.ends();
    let issued_at = unix_now().saturating_sub(age);
    let lifetime = match layout {
        Layout::Plain => LIFETIME,
        Layout::Resilient => RESILIENT_LIFETIME,
    };
    FileToken {
        layout,
        user: UPLOADER.into(),
        filename: filename.into(),
        size: slot.size,
        issued_at,
        expiry: issued_at.saturating_add(lifetime),
    }
}

fn body(slot: &Slot, size: usize) -> bytes::Bytes {
    crate::ctx::noise(&slot.path, size)
}

/// A PUT under a token that is signed as `signed` and told as `told`.
fn put(ctx: &Ctx, slot: &Slot, signed: &FileToken, told: &FileToken) -> Result<Request, Failure> {
    Ok(slot.put_with(&told.query()).bearer(&signed.sign(ctx.secret()?)?).body(body(slot, SIZE)))
}

async fn accepts(ctx: &Ctx, layout: Layout) -> CaseResult {
    let slot = ctx.slot("très cool.jpg", SIZE as u64)?;
    let token = token_of(&slot, layout, 60);
    ctx.send(&put(ctx, &slot, &token, &token)?).await?.expect_status(201).at("in the Authorization field")?;
    ctx.expect_served(&slot, &body(&slot, SIZE)).await?;
    // Issued at another moment: a token is good for one path.
    let slot = ctx.slot("très cool.jpg", SIZE as u64)?;
    let query = token_of(&slot, layout, 61).query_with_token(ctx.secret()?)?;
    let put = slot.put_with(&query).body(body(&slot, SIZE));
    ctx.send(&put).await?.expect_status(201).at("as token=")?;
    ctx.expect_served(&slot, &body(&slot, SIZE)).await?;
    Ok(())
}

async fn accepts_plain(ctx: &Ctx) -> CaseResult {
    accepts(ctx, Layout::Plain).await
}

async fn accepts_resilient(ctx: &Ctx) -> CaseResult {
    accepts(ctx, Layout::Resilient).await
}

fn expect_denied(answer: &Answer) -> CaseResult {
    answer.expect_status_in(&[401, 403])?.expect_no_header("x-session-id")?;
    Ok(())
}

async fn refuses_other_claims(ctx: &Ctx) -> CaseResult {
    for layout in LAYOUTS {
        let slot = ctx.slot("photo.jpg", SIZE as u64)?;
        let good = token_of(&slot, layout, 60);
        let (_, filename) = slot.ends();
        let step = |what: &str| format!("{layout:?}, {what}");
        for (what, signed) in [
            ("another name", FileToken { filename: format!("x{filename}"), ..good.clone() }),
            ("the whole path", FileToken { filename: slot.path.clone(), ..good.clone() }),
            ("another size", FileToken { size: good.size + 1, ..good.clone() }),
            ("another user", FileToken { user: "mercutio@verona.tld".into(), ..good.clone() }),
        ] {
            expect_denied(&ctx.send(&put(ctx, &slot, &signed, &good)?).await?).at(step(what))?;
        }
        let mac = good.sign(ctx.secret()?)?;
        let user = good.query().replace("expiry=", "other=");
        let expiry = format!("expiry={}", good.expiry);
        let parameters = [("no expiry", user.as_str()), ("no user", &expiry), ("neither", "")];
        for (what, query) in parameters {
            let put = slot.put_with(query).bearer(&mac).body(body(&slot, SIZE));
            expect_denied(&ctx.send(&put).await?).at(step(what))?;
        }
        let foreign = good.sign(b"not the secret of this server")?;
        let forged = slot.put_with(&good.query()).bearer(&foreign).body(body(&slot, SIZE));
        expect_denied(&ctx.send(&forged).await?).at(step("another secret"))?;
        let longer = slot.put_with(&good.query()).bearer(&mac).body(body(&slot, SIZE + 1));
        expect_denied(&ctx.send(&longer).await?).at(step("a longer body"))?;
        ctx.expect_not_served(&slot).await?;
        ctx.send(&put(ctx, &slot, &good, &good)?).await?.expect_status(201).at(step("after all that"))?;
    }
    Ok(())
}

async fn refuses_unsigned_expiry(ctx: &Ctx) -> CaseResult {
    for layout in LAYOUTS {
        // One that has expired, too: a later end must not bring it back to life.
        for age in [60, 2 * RESILIENT_LIFETIME] {
            let slot = ctx.slot("photo.jpg", SIZE as u64)?;
            let signed = token_of(&slot, layout, age);
            for later in [1, LIFETIME, RESILIENT_LIFETIME, 10 * 365 * 86_400] {
                let told = FileToken { expiry: unix_now() + LIFETIME + later, ..signed.clone() };
                let answer = ctx.send(&put(ctx, &slot, &signed, &told)?).await?;
                expect_denied(&answer).at(format_args!("{layout:?}, {age} s old, {later} s later"))?;
            }
            ctx.expect_not_served(&slot).await?;
        }
    }
    Ok(())
}

async fn refuses_expired(ctx: &Ctx) -> CaseResult {
    for (layout, age) in [
        (Layout::Plain, LIFETIME + 60),
        (Layout::Resilient, RESILIENT_LIFETIME + 60),
        (Layout::Plain, 90 * 86_400),
    ] {
        let slot = ctx.slot("photo.jpg", SIZE as u64)?;
        let token = token_of(&slot, layout, age);
        let answer = ctx.send(&put(ctx, &slot, &token, &token)?).await?;
        answer.expect_status(401).at(format_args!("{layout:?}, {age} s old"))?;
        answer.require("www-authenticate")?;
        ctx.expect_not_served(&slot).await?;
    }
    Ok(())
}

async fn binds_to_one_path(ctx: &Ctx) -> CaseResult {
    for layout in LAYOUTS {
        let name = format!("{}.jpg", crate::ctx::unique());
        let first = ctx.slot(&name, SIZE as u64)?;
        let second = ctx.slot(&name, SIZE as u64)?;
        let token = token_of(&first, layout, 60);
        let step = format!("{layout:?}");
        let start = slot_range(&put(ctx, &first, &token, &token)?.body(body(&first, 400)));
        ctx.send(&start).await?.expect_status(308).at(&step)?;
        let elsewhere = ctx.send(&put(ctx, &second, &token, &token)?).await?;
        elsewhere.expect_status(403)?.expect_no_header("x-session-id").at(&step)?;
        ctx.expect_not_served(&second).await?;
        ctx.send(&put(ctx, &first, &token, &token)?).await?.expect_status(201).at(&step)?;
        ctx.expect_served(&first, &body(&first, SIZE)).await?;
        let late = ctx.send(&put(ctx, &second, &token, &token)?).await?;
        late.expect_status(403).at(format_args!("{step}, when the first is complete"))?;
        ctx.expect_not_served(&second).await?;
    }
    Ok(())
}

/// The same request for the first 400 bytes alone.
fn slot_range(request: &Request) -> Request {
    request.clone().header("Content-Range", format_args!("bytes 0-399/{SIZE}"))
}

fn presigned(ctx: &Ctx, slot: &Slot, age: u64) -> Presigned {
    Presigned {
        key_id: "AKIDEXAMPLE".into(),
        region: "eu-west-1".into(),
        date: basic_date(unix_now().saturating_sub(age)),
        expires: 300,
        host: ctx.authority.clone(),
        path: slot.url.clone(),
        size: slot.size,
        content_type: "image/jpeg".into(),
    }
}

fn text_secret(ctx: &Ctx) -> Result<String, Failure> {
    String::from_utf8(ctx.secret()?.to_vec()).map_err(|_| Failure::because("the secret is no text"))
}

fn put_presigned(slot: &Slot, query: &str) -> Request {
    slot.put_with(query).header("Content-Type", "image/jpeg").body(body(slot, SIZE))
}

async fn accepts_presigned(ctx: &Ctx) -> CaseResult {
    let secret = text_secret(ctx)?;
    for name in ["photo.jpg", "très cool.jpg", "a+b (1).jpg"] {
        let slot = ctx.slot(name, SIZE as u64)?;
        let query = presigned(ctx, &slot, 60).query(&secret)?;
        ctx.send(&put_presigned(&slot, &query)).await?.expect_status(201).at(name)?;
        ctx.expect_served(&slot, &body(&slot, SIZE)).await?;
    }
    Ok(())
}

async fn accepts_encoded_twice(ctx: &Ctx) -> CaseResult {
    let secret = text_secret(ctx)?;
    let twice = |slot: &Slot| Presigned { path: slot.url.replace('%', "%25"), ..presigned(ctx, slot, 60) };
    for name in ["très cool.jpg", "50% off.jpg", "a b.jpg"] {
        let slot = ctx.slot(name, SIZE as u64)?;
        let query = twice(&slot).query(&secret)?;
        ctx.send(&put_presigned(&slot, &query)).await?.expect_status(201).at(name)?;
        ctx.expect_served(&slot, &body(&slot, SIZE)).await?;
        // The file whose name holds the percent signs has the same signature.
        let mut literal = slot.clone();
        literal.url = slot.url.replace('%', "%25");
        expect_denied(&ctx.send(&put_presigned(&literal, &query)).await?).at(name)?;
    }
    Ok(())
}

async fn refuses_other_presigned(ctx: &Ctx) -> CaseResult {
    let secret = text_secret(ctx)?;
    let slot = ctx.slot("photo.jpg", SIZE as u64)?;
    let other = ctx.slot("photo.jpg", SIZE as u64)?;
    let good = presigned(ctx, &slot, 60);
    let query = good.query(&secret)?;
    let without =
        |name: &str| query.split('&').filter(|pair| !pair.starts_with(name)).collect::<Vec<_>>().join("&");
    let unsigned_length = query.replace("content-length%3B", "");
    for (what, query) in [
        ("another path", Presigned { path: other.url, ..good.clone() }.query(&secret)?),
        ("another length", Presigned { size: good.size + 1, ..good.clone() }.query(&secret)?),
        ("another type", Presigned { content_type: "text/html".into(), ..good.clone() }.query(&secret)?),
        ("another host", Presigned { host: "elsewhere.example".into(), ..good.clone() }.query(&secret)?),
        ("another secret", good.query("not the secret of this server")?),
        ("a longer life", query.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")),
        ("another date", query.replace(&good.date, &basic_date(unix_now()))),
        ("another region", query.replace("eu-west-1", "eu-west-2")),
        ("no signature", without("X-Amz-Signature")),
        ("no life", without("X-Amz-Expires")),
        ("no date", without("X-Amz-Date")),
        ("fewer signed fields", unsigned_length),
        ("an expired one", presigned(ctx, &slot, 360).query(&secret)?),
        ("one of last year", presigned(ctx, &slot, 366 * 86_400).query(&secret)?),
    ] {
        expect_denied(&ctx.send(&put_presigned(&slot, &query)).await?).at(what)?;
        ctx.expect_not_served(&slot).await.at(what)?;
    }
    let longer = put_presigned(&slot, &query).body(body(&slot, SIZE + 1));
    expect_denied(&ctx.send(&longer).await?).at("a longer body")?;
    let html = slot.put_with(&query).header("Content-Type", "text/html").body(body(&slot, SIZE));
    expect_denied(&ctx.send(&html).await?).at("a body of another type")?;
    ctx.send(&put_presigned(&slot, &query)).await?.expect_status(201).at("after all that")?;
    Ok(())
}
