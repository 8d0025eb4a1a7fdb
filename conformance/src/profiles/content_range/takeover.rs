//! A newer request ends an older writer of the same upload and is judged by what that one left behind.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect};
use crate::ctx::{Ctx, Slot};
use crate::http::Wire;

use super::{begin, expect_incomplete, expect_mismatch, finish, offset_of, part, query, range, stalled};

const SIZE: usize = 300_000;
const SENT: usize = 120_000;
const PROMPTLY: Duration = Duration::from_secs(2);

pub(super) const CASES: &[Case] = &[
    case!(["CRG-39"], "a range takes over behind a half-open writer's prefix, promptly", range_takes_over),
    case!(["CRG-40"], "asking ends a half-open writer and tells its prefix", question_takes_over),
    case!(
        ["CRG-41"],
        "a range at a wrong offset is judged by the half-open writer's prefix",
        gap_is_judged_by_prefix
    ),
    case!(
        ["CRG-42"],
        "late bytes, close and reset of the older writer change nothing",
        late_bytes_change_nothing
    ),
    case!(["CRG-48"], "ranges that race for an offset leave one file, whole", racing_ranges_leave_one_file),
];

/// A range to the end that stops after [`SENT`] bytes.
async fn half_open(ctx: &Ctx) -> Result<(Slot, Bytes, Wire), Failure> {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let head =
        slot.put().header("Content-Range", format_args!("bytes 0-{}/{SIZE}", SIZE - 1)).length(SIZE as u64);
    let wire = stalled(ctx, &head, &part(&body, 0, SENT - 1)).await?;
    Ok((slot, body, wire))
}

async fn range_takes_over(ctx: &Ctx) -> CaseResult {
    let (slot, body, mut old) = half_open(ctx).await?;
    let start = Instant::now();
    finish(ctx, &slot, &body, SENT).await?;
    let took = start.elapsed();
    expect(took < PROMPTLY, "201 in less than 2 s", format_args!("{} ms", took.as_millis()))?;
    old.expect_given_up(Duration::from_secs(3)).await.at("the older range")?;
    Ok(())
}

async fn question_takes_over(ctx: &Ctx) -> CaseResult {
    let (slot, body, mut old) = half_open(ctx).await?;
    expect_incomplete(&ctx.send(&query(&slot, &SIZE.to_string())).await?, SENT)?;
    old.expect_given_up(Duration::from_secs(3)).await.at("the older range")?;
    finish(ctx, &slot, &body, SENT).await
}

async fn gap_is_judged_by_prefix(ctx: &Ctx) -> CaseResult {
    let (slot, body, _old) = half_open(ctx).await?;
    expect_mismatch(&ctx.send(&range(&slot, &body, SENT + 1, SIZE - 1)).await?, SENT)?;
    finish(ctx, &slot, &body, SENT).await
}

async fn racing_ranges_leave_one_file(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let mut race = JoinSet::new();
    for _ in 0..6 {
        let (ctx, put) = (ctx.clone(), range(&slot, &body, 1000, SENT - 1));
        race.spawn(async move { ctx.send(&put).await });
    }
    let mut accepted = 0;
    while let Some(finished) = race.join_next().await {
        // A superseded racer may lose its connection instead of hearing a refusal.
        if let Ok(answer) = finished.map_err(Failure::because)? {
            answer.expect_status_in(&[308, 409, 416, 423])?;
            accepted += usize::from(answer.status == 308);
        }
    }
    expect(accepted <= 1, "one 308 at most for one offset", accepted)?;
    let offset = usize::try_from(offset_of(ctx, &slot).await?).map_err(Failure::because)?;
    expect((1000..=SENT).contains(&offset), "an offset that the racers can have reached", offset)?;
    expect(accepted == 0 || offset == SENT, "the offset that 308 acknowledged", offset)?;
    finish(ctx, &slot, &body, offset).await
}

async fn late_bytes_change_nothing(ctx: &Ctx) -> CaseResult {
    for ending in ["close", "reset"] {
        let (slot, body, mut old) = half_open(ctx).await?;
        expect_incomplete(&ctx.send(&range(&slot, &body, SENT, SENT + 999)).await?, SENT + 1000)
            .at(ending)?;
        // Wrong bytes where the newcomer goes on; a server may have closed the socket already.
        let _closed_already = old.send(&[0x55; 5000]).await;
        if ending == "reset" {
            old.reset()?;
        } else {
            drop(old);
        }
        sleep(Duration::from_millis(200)).await;
        finish(ctx, &slot, &body, SENT + 1000).await.at(ending)?;
    }
    Ok(())
}
