//! The newest PUT wins, and what an older socket still does reaches nobody.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect};
use crate::ctx::{Ctx, Slot, noise};
use crate::http::Wire;

const SIZE: usize = 200_000;
const PREFIX: usize = 80_000;
/// Takeover is a matter of milliseconds; a server that waits for a time-out is far beyond this.
const PROMPTLY: Duration = Duration::from_secs(2);
/// For bytes on loopback to reach the server's program.
const ARRIVAL: Duration = Duration::from_millis(300);

pub(super) const CASES: &[Case] = &[
    case!(["XEP-42"], "a newer PUT supersedes one that is half-open", newer_put_supersedes),
    case!(["XEP-43"], "late bytes of a superseded socket change nothing", late_bytes_change_nothing),
    case!(["XEP-44"], "the reset of a superseded socket changes nothing", late_reset_changes_nothing),
    case!(["XEP-45"], "the orderly close of a superseded socket changes nothing", late_close_changes_nothing),
    case!(["XEP-46"], "a PUT that was reset is started anew from byte 0", restarts_after_reset),
    case!(["XEP-81"], "of PUTs that race for a slot one wins, whole", one_of_many_wins),
    case!(["XEP-47"], "what is incomplete is not served", incomplete_is_invisible),
];

/// A PUT of [`SIZE`] bytes that stops after [`PREFIX`]; its content differs from what [`Ctx::file`] gives.
async fn half_open(ctx: &Ctx, slot: &Slot) -> Result<(Wire, Bytes), Failure> {
    let body = noise("the older content", SIZE);
    let mut wire = ctx.connect().await?;
    wire.send_head(&slot.put().length(SIZE as u64)).await?;
    wire.send(body.get(..PREFIX).unwrap_or_default()).await?;
    sleep(ARRIVAL).await;
    Ok((wire, body.slice(PREFIX..)))
}

/// A file completed by a second PUT while a first one hangs; the first one's socket and unsent bytes.
async fn superseded(ctx: &Ctx) -> Result<(Slot, Bytes, Wire, Bytes), Failure> {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let (old, rest) = half_open(ctx, &slot).await?;
    ctx.send(&slot.put().body(body.clone())).await?.expect_status(201).at("the newer PUT")?;
    Ok((slot, body, old, rest))
}

async fn newer_put_supersedes(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let (mut old, _) = half_open(ctx, &slot).await?;
    let start = Instant::now();
    ctx.send(&slot.put().body(body.clone())).await?.expect_status(201)?;
    let took = start.elapsed();
    expect(took < PROMPTLY, "201 in less than 2 s", format_args!("{} ms", took.as_millis()))?;
    ctx.expect_served(&slot, &body).await?;
    // The older writer learns that it lost: by a refusal or by the end of its connection.
    old.expect_given_up(Duration::from_secs(3)).await.at("the older PUT")?;
    Ok(())
}

async fn late_bytes_change_nothing(ctx: &Ctx) -> CaseResult {
    let (slot, body, mut old, rest) = superseded(ctx).await?;
    // A server may have closed the old socket already.
    let _closed_already = old.send(&rest).await;
    old.expect_given_up(Duration::from_secs(3)).await.at("the older PUT")?;
    sleep(ARRIVAL).await;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn late_reset_changes_nothing(ctx: &Ctx) -> CaseResult {
    let (slot, body, old, _) = superseded(ctx).await?;
    old.reset()?;
    sleep(ARRIVAL).await;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn late_close_changes_nothing(ctx: &Ctx) -> CaseResult {
    let (slot, body, mut old, rest) = superseded(ctx).await?;
    let _closed_already = old.send(rest.get(..1000).unwrap_or_default()).await;
    let _closed_already = old.half_close().await;
    drop(old);
    sleep(ARRIVAL).await;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn restarts_after_reset(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    for _ in 0..2 {
        let (old, _) = half_open(ctx, &slot).await?;
        old.reset()?;
    }
    ctx.send(&slot.put().body(body.clone())).await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn one_of_many_wins(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("photo.jpg", SIZE as u64)?;
    let bodies: Vec<Bytes> = (0..6).map(|racer| noise(&format!("{racer} {}", slot.path), SIZE)).collect();
    let mut race = JoinSet::new();
    for body in bodies {
        let (ctx, put) = (ctx.clone(), slot.put().body(body.clone()));
        race.spawn(async move { (ctx.send(&put).await, body) });
    }
    let mut winners = Vec::new();
    while let Some(finished) = race.join_next().await {
        let (answer, body) = finished.map_err(Failure::because)?;
        // A superseded racer may lose its connection instead of hearing 409.
        if let Ok(answer) = answer {
            answer.expect_status_in(&[201, 409, 423])?;
            if answer.status == 201 {
                winners.push(body);
            }
        }
    }
    let [winner] = winners.as_slice() else {
        return Err(Failure::new("one 201", winners.len()));
    };
    ctx.expect_served(&slot, winner).await?;
    Ok(())
}

async fn incomplete_is_invisible(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.file("photo.jpg", SIZE)?;
    let (old, _) = half_open(ctx, &slot).await?;
    ctx.expect_not_served(&slot).await.at("while bytes arrive")?;
    old.reset()?;
    sleep(ARRIVAL).await;
    ctx.expect_not_served(&slot).await.at("after a reset")?;
    let ranged = slot.get().header("Range", "bytes=0-9");
    ctx.send(&ranged).await?.expect_status(404).at("a range of it")?;
    Ok(())
}
