//! Concatenation of parts that other dialects wrote.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect};
use crate::ctx::{Ctx, noise};
use crate::tus::Resource;

use super::{CONCATENATION, PLAIN, RANGED, Shared, TUS, WRITERS, name};

pub(super) const CASES: &[Case] = &[
    case!(["DIA-61"], "parts: plain PUT > plain PUT", joins::<PLAIN, PLAIN>, needs CONCATENATION),
    case!(["DIA-62"], "parts: plain PUT > ranged PUT", joins::<PLAIN, RANGED>, needs CONCATENATION),
    case!(["DIA-63"], "parts: plain PUT > tus PATCH", joins::<PLAIN, TUS>, needs CONCATENATION),
    case!(["DIA-64"], "parts: ranged PUT > plain PUT", joins::<RANGED, PLAIN>, needs CONCATENATION),
    case!(["DIA-65"], "parts: ranged PUT > ranged PUT", joins::<RANGED, RANGED>, needs CONCATENATION),
    case!(["DIA-66"], "parts: ranged PUT > tus PATCH", joins::<RANGED, TUS>, needs CONCATENATION),
    case!(["DIA-67"], "parts: tus PATCH > plain PUT", joins::<TUS, PLAIN>, needs CONCATENATION),
    case!(["DIA-68"], "parts: tus PATCH > ranged PUT", joins::<TUS, RANGED>, needs CONCATENATION),
    case!(["DIA-69"], "parts: tus PATCH > tus PATCH", joins::<TUS, TUS>, needs CONCATENATION),
    case!(["DIA-70"], "a final upload joins parts of every dialect", joins_one_of_each, needs CONCATENATION),
    case!(["DIA-71"], "a final upload takes bytes in no dialect", takes_no_bytes, needs CONCATENATION),
];

const PART: usize = 90_000;
const CUT: usize = 30_000;

async fn part(ctx: &Ctx) -> Result<(Resource, Shared), Failure> {
    let resource = ctx.create(&ctx.creation(PART).header("Upload-Concat", "partial")).await?;
    let body = noise(&resource.url, PART);
    Ok((resource.clone(), Shared::of(resource, body)))
}

/// A complete part that was begun in one dialect, cut, and ended in another.
async fn written(ctx: &Ctx, begun: char, ended: char) -> Result<(Resource, Bytes), Failure> {
    let (resource, shared) = part(ctx).await?;
    shared.cut(ctx, begun, 0, CUT).await?;
    shared.await_offset(ctx, ended, CUT).await?;
    shared.rest(ctx, ended, CUT).await?;
    Ok((resource, shared.body))
}

async fn join(ctx: &Ctx, parts: &[Resource], body: Vec<u8>) -> Result<Shared, Failure> {
    let urls: Vec<&str> = parts.iter().map(|part| part.url.as_str()).collect();
    let request = ctx.post().header("Upload-Concat", format_args!("final;{}", urls.join(" ")));
    let joined = Shared::of(ctx.create(&request).await.at("the final upload")?, body.into());
    let start = Instant::now();
    while ctx.send(&joined.get()).await?.status != 200 {
        expect(
            start.elapsed() < Duration::from_secs(10),
            "the final upload to complete",
            "none within 10 s",
        )?;
        sleep(Duration::from_millis(50)).await;
    }
    joined.expect_served(ctx).await?;
    Ok(joined)
}

async fn joins<const A: char, const B: char>(ctx: &Ctx) -> CaseResult {
    let (one, first) = written(ctx, A, B).await?;
    let (two, second) = written(ctx, A, B).await?;
    join(ctx, &[two, one], [second, first].concat()).await?;
    Ok(())
}

async fn joins_one_of_each(ctx: &Ctx) -> CaseResult {
    let (mut parts, mut whole) = (Vec::new(), Vec::new());
    for (begun, ended) in [(PLAIN, RANGED), (RANGED, TUS), (TUS, PLAIN)] {
        let (part, body) = written(ctx, begun, ended).await?;
        parts.push(part);
        whole.extend_from_slice(&body);
    }
    join(ctx, &parts, whole).await?;
    Ok(())
}

async fn takes_no_bytes(ctx: &Ctx) -> CaseResult {
    let (one, first) = written(ctx, TUS, TUS).await?;
    let joined = join(ctx, &[one], first.to_vec()).await?;
    for dialect in WRITERS {
        let request = joined.head(dialect, 0).body(vec![0x55; PART]);
        let answer = ctx.send(&request).await?;
        answer.expect_refused().at(name(dialect))?;
        joined.expect_served(ctx).await.at(format_args!("after {}", name(dialect)))?;
    }
    Ok(())
}
