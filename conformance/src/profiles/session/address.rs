//! Whose word on the client's address counts.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use crate::case::{Case, CaseResult, Condition, Failure, Need, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::session::{
    Held, asking, count_in, json_of, list_in, ranged_head, strange_v4, strange_v6_network, v6_in,
};
use crate::tus::slice;

use super::{HALF, SIZE, TRUSTED_PROXY};

const UNTRUSTED: &[Need] = &[Need::Session(Condition::UntrustedPeer)];

pub(super) const CASES: &[Case] = &[
    case!(["SES-50"], "what an untrusted peer writes of its address counts for nothing", believes_no_stranger, needs UNTRUSTED),
    case!(["SES-50"], "of X-Forwarded-For the last address that is no proxy counts", last_untrusted_counts, needs TRUSTED_PROXY),
    case!(
        ["SES-36"],
        "the late answer to an old socket's request moves no session back",
        late_answers_move_nothing
    ),
    case!(["SES-50"], "Forwarded is read like X-Forwarded-For", reads_forwarded, needs TRUSTED_PROXY),
];

/// The session's document after one recovery with these fields, asked for with the same ones.
async fn seen_with(ctx: &Ctx, held: &Held, fields: &[(&str, String)]) -> Result<Value, Failure> {
    let told = |request: crate::http::Request| {
        fields.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let recovery = ctx.send(&told(asking(held.with_session("PUT"), SIZE))).await?;
    recovery.expect_status(308).at(format_args!("with {fields:?}"))?;
    let answer = ctx.send(&told(ctx.session_request("GET", "", &held.session))).await?;
    json_of(answer.expect_status(200).at(format_args!("with {fields:?}"))?)
}

async fn believes_no_stranger(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let forged = strange_v4().to_string();
    for (name, value) in [
        ("X-Forwarded-For", forged.clone()),
        ("X-Forwarded-For", format!("{forged}, 127.0.0.1")),
        ("X-Forwarded-For", format!("127.0.0.1, {forged}")),
        ("Forwarded", format!("for={forged}")),
        ("X-Real-IP", forged.clone()),
        ("True-Client-IP", forged.clone()),
    ] {
        let document = seen_with(ctx, &held, &[(name, value)]).await?;
        expect(!document.to_string().contains(&forged), "no forged address", &document).at(name)?;
        expect_eq("changes", &0, &count_in(&document, "changes")?).at(name)?;
    }
    Ok(())
}

/// The address that a session was seen at last.
fn last_address(document: &Value) -> Result<IpAddr, Failure> {
    let last = list_in(document, "history")?.last().and_then(|change| change.get("to"));
    let address = last.and_then(|to| to.get("address")).and_then(Value::as_str).unwrap_or_default();
    address.parse().map_err(|_| Failure::new("an address in the history", document))
}

async fn last_untrusted_counts(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let forged = strange_v4().to_string();
    let one = || IpAddr::from(strange_v4());
    let six = || IpAddr::from(v6_in(strange_v6_network(), 1));
    for (form, address) in
        [("alone", one()), ("forged", one()), ("port", one()), ("v6", six()), ("v6 and port", six())]
    {
        let value = match form {
            "forged" => format!("{forged}, {address}"),
            "port" => format!("{address}:50123"),
            "v6 and port" => format!("{forged}, [{address}]:50123"),
            _ => address.to_string(),
        };
        let document = seen_with(ctx, &held, &[("X-Forwarded-For", value)]).await?;
        expect_eq("address", &address, &last_address(&document)?).at(form)?;
        expect(!document.to_string().contains(&forged), "no forged address", &document).at(form)?;
    }
    let address = one();
    let lines = [("X-Forwarded-For", forged.clone()), ("X-Forwarded-For", address.to_string())];
    let document = seen_with(ctx, &held, &lines).await?;
    expect_eq("address", &address, &last_address(&document)?).at("two lines")?;
    expect(!document.to_string().contains(&forged), "no forged address", &document)
}

async fn reads_forwarded(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let forged = strange_v4();
    let four = IpAddr::from(strange_v4());
    let six: Ipv6Addr = v6_in(strange_v6_network(), 7);
    let quoted = IpAddr::from(strange_v4());
    for (value, address) in [
        (format!("for={four}"), four),
        (format!("for={forged};proto=https, for=\"[{six}]:4711\""), six.into()),
        (format!("proto=https;FOR=\"{quoted}:80\";by=_proxy"), quoted),
    ] {
        let document = seen_with(ctx, &held, &[("Forwarded", value.clone())]).await?;
        expect_eq("address", &address, &last_address(&document)?).at(&value)?;
        expect(!document.to_string().contains(&forged.to_string()), "no forged address", &document)?;
    }
    Ok(())
}

async fn late_answers_move_nothing(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.live(&held.slot)?;
    let rest = |agent: &str| {
        let put = held.with_session("PUT").bearer(&token).header("User-Agent", agent);
        ranged_head(put, SIZE, HALF, SIZE)
    };
    let mut old = ctx.stalled(&rest("first/1").length((SIZE - HALF) as u64), b"").await?;
    let new = rest("second/2").body(slice(&held.body, HALF, SIZE));
    ctx.send(&new).await?.expect_status(201).at("the newer request")?;
    old.answer().await?.expect_refused().at("the older request")?;
    let look = ctx.session_request("GET", "", &held.session).header("User-Agent", "second/2");
    let document = json_of(ctx.send(&look).await?.expect_status(200)?)?;
    // The older answer may be written before the newer one: then both are seen, in the order of their arrival.
    let agent = |change: &Value| change.pointer("/to/agent").and_then(Value::as_str).map(str::to_owned);
    let agents: Vec<_> = list_in(&document, "history")?.iter().filter_map(agent).collect();
    let is_forward = agents == ["second/2"] || agents == ["first/1", "second/2"];
    expect(is_forward, "the newer request's agent once, and last", format_args!("{agents:?}"))
}
