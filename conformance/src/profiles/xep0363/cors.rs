//! Web clients on other origins.

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::http::{Answer, Request};

const ORIGIN: &str = "https://web.example";

pub(super) const CASES: &[Case] = &[
    case!(["XEP-75"], "a preflight needs no credential and allows every method", preflight_allows_methods),
    case!(["XEP-76"], "a preflight is kept for a day and asks for no cookies", preflight_lasts_a_day),
    case!(["XEP-77"], "a preflight allows the fields of every dialect", preflight_allows_fields),
    case!(["XEP-137"], "a preflight allows the fields that it asks for", preflight_echoes_fields),
    case!(["XEP-138"], "an answer that allows one origin varies by it", varies_by_origin),
    case!(["XEP-78"], "answers expose the fields that resumption reads", answers_expose_fields),
    case!(["XEP-79"], "refusals are readable across origins", refusals_are_readable),
    case!(["XEP-80"], "a preflight is answered on every path", preflight_everywhere),
];

fn preflight(path: &str, method: &str, fields: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", fields)
}

fn expect_origin(answer: &Answer) -> CaseResult {
    let origin = answer.require("access-control-allow-origin")?;
    expect(origin == "*" || origin == ORIGIN, "the origin to be allowed", origin)
}

async fn preflight_allows_methods(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 10)?;
    let answer = ctx.send(&preflight(&slot.url, "PUT", "content-type")).await?;
    answer.expect_status_in(&[200, 204])?;
    expect_origin(&answer)?;
    let methods = ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"];
    answer.expect_members("access-control-allow-methods", &methods)?;
    Ok(())
}

async fn preflight_lasts_a_day(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 10)?;
    let answer = ctx.send(&preflight(&slot.url, "PUT", "content-type")).await?;
    answer.expect_header("access-control-max-age", "86400")?;
    let credentials = answer.header("access-control-allow-credentials").unwrap_or("false");
    expect(credentials == "false", "no Access-Control-Allow-Credentials, or false", credentials)
}

async fn preflight_allows_fields(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 10)?;
    let fields = [
        "authorization",
        "content-type",
        "content-range",
        "range",
        "if-range",
        "upload-length",
        "upload-offset",
        "upload-complete",
        "upload-metadata",
        "tus-resumable",
        "x-session-id",
    ];
    let answer = ctx.send(&preflight(&slot.url, "PUT", &fields.join(", "))).await?;
    answer.expect_members("access-control-allow-headers", &fields)?;
    Ok(())
}

async fn preflight_echoes_fields(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", 10)?;
    let fields = ["sentry-trace", "baggage", "traceparent", "apikey", "x-client-info", "content-type"];
    let answer = ctx.send(&preflight(&slot.url, "PUT", &fields.join(","))).await?;
    answer.expect_status_in(&[200, 204])?.expect_members("access-control-allow-headers", &fields)?;
    // What is no name of a field is not repeated.
    let answer = ctx.send(&preflight(&slot.url, "PUT", "a b, c:d, content-type")).await?;
    let allowed = answer.list("access-control-allow-headers");
    let odd = allowed.iter().find(|name| name.contains([' ', ':']));
    expect(odd.is_none(), "names of fields alone", format_args!("{odd:?}"))
}

async fn varies_by_origin(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("photo.jpg", 10).await?;
    for origin in [ORIGIN, "https://other.example", "null"] {
        let answer = ctx.send(&slot.get().header("Origin", origin)).await?;
        let allowed = answer.header("access-control-allow-origin").unwrap_or("none").to_owned();
        let sends_cookies = answer.header("access-control-allow-credentials") == Some("true");
        if allowed == "*" {
            expect(!sends_cookies, "no credentials together with *", answer.summary()).at(origin)?;
            continue;
        }
        expect(allowed == origin || allowed == "none", "the origin that asked, or none", &allowed)
            .at(origin)?;
        answer.expect_members("vary", &["origin"]).at(origin)?;
    }
    Ok(())
}

async fn answers_expose_fields(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 100)?;
    let fields = [
        "content-range",
        "range",
        "etag",
        "location",
        "upload-length",
        "upload-offset",
        "upload-complete",
        "tus-resumable",
        "x-session-id",
    ];
    let put = ctx.send(&slot.put().header("Origin", ORIGIN).body(body)).await?;
    put.expect_status(201)?;
    let get = ctx.send(&slot.get().header("Origin", ORIGIN)).await?;
    get.expect_status(200)?;
    for (step, answer) in [("PUT", put), ("GET", get)] {
        expect_origin(&answer).at(step)?;
        answer.expect_members("access-control-expose-headers", &fields).at(step)?;
    }
    Ok(())
}

async fn refusals_are_readable(ctx: &Ctx) -> CaseResult {
    let (complete, body) = ctx.uploaded("photo.jpg", 100).await?;
    let slot = ctx.slot("photo.jpg", 100)?;
    for (request, status) in [
        (slot.put_with("").body(body.clone()), 401),
        (slot.put_with("v=00").body(body.clone()), 403),
        (slot.get(), 404),
        (complete.put().body(body), 409),
        (complete.get().header("Range", "bytes=100-"), 416),
    ] {
        let answer = ctx.send(&request.header("Origin", ORIGIN)).await?;
        answer.expect_status(status)?;
        expect_origin(&answer).at(status)?;
    }
    Ok(())
}

async fn preflight_everywhere(ctx: &Ctx) -> CaseResult {
    for path in
        ["/".to_owned(), ctx.base.clone() + "/", ctx.base.clone() + "/lone", "/no/such/route".to_owned()]
    {
        let answer = ctx.send(&preflight(&path, "PUT", "authorization")).await?;
        answer.expect_status_in(&[200, 204]).at(&path)?;
        expect_origin(&answer).at(&path)?;
    }
    Ok(())
}
