//! The newest request wins over a writer that has gone silent.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::http::Wire;
use crate::tus::{Resource, slice};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-96"], "HEAD tells at once all that a half-open PATCH brought", head_tells_all),
    case!(["TUS-96"], "a PATCH takes over behind a half-open one, at once", patch_takes_over),
    case!(["TUS-96"], "a writer that was taken over hears 423 or 409, or nothing", loser_may_retry),
    case!(["TUS-96"], "late bytes of a writer that was taken over change nothing", late_bytes_change_nothing),
    case!(["TUS-96"], "HEAD lets a PATCH that is still receiving live", polling_lets_it_live),
    case!(
        ["TUS-104"],
        "of PATCHes that race for one offset one wins, and the upload is sound",
        races_soundly
    ),
];

const SIZE: usize = 10_000_000;
const SENT: usize = 3_000_000;
const PROMPTLY: Duration = Duration::from_secs(1);

/// A PATCH to the end of which the first 3 MB were sent.
async fn half_open(ctx: &Ctx) -> Result<(Resource, Bytes, Wire), Failure> {
    let (upload, body) = ctx.tus_file(SIZE).await?;
    let wire = ctx.stalled(&upload.patch_at(0).length(SIZE as u64), &slice(&body, 0, SENT)).await?;
    Ok((upload, body, wire))
}

fn expect_prompt(start: Instant) -> CaseResult {
    let took = start.elapsed();
    expect(took < PROMPTLY, "an answer in less than 1 s", format_args!("{} ms", took.as_millis()))
}

async fn head_tells_all(ctx: &Ctx) -> CaseResult {
    let (upload, body, _old) = half_open(ctx).await?;
    let start = Instant::now();
    ctx.expect_tus_offset(&upload, SENT).await?;
    expect_prompt(start)?;
    ctx.tus_finish(&upload, &body, SENT).await
}

async fn patch_takes_over(ctx: &Ctx) -> CaseResult {
    let (upload, body, _old) = half_open(ctx).await?;
    let start = Instant::now();
    ctx.expect_patched(&upload.patch(&body, SENT, SENT + 1000), SENT + 1000).await?;
    expect_prompt(start)?;
    ctx.tus_finish(&upload, &body, SENT + 1000).await
}

async fn loser_may_retry(ctx: &Ctx) -> CaseResult {
    let (upload, body, mut old) = half_open(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, SENT, SENT + 1000), SENT + 1000).await?;
    match old.answer_within(Duration::from_secs(5)).await {
        Ok(answer) => answer.expect_status_in(&[409, 423]).map(|_| ()),
        Err(_) => old.expect_ended(Duration::from_secs(1)).await,
    }
    .at("the older PATCH")?;
    ctx.tus_finish(&upload, &body, SENT + 1000).await
}

async fn late_bytes_change_nothing(ctx: &Ctx) -> CaseResult {
    let (upload, body, mut old) = half_open(ctx).await?;
    ctx.expect_patched(&upload.patch(&body, SENT, SENT + 1000), SENT + 1000).await?;
    // Wrong bytes where the newcomer goes on; the target may have closed the socket already.
    let _closed_already = old.send(&[0x55; 5000]).await;
    old.reset()?;
    sleep(Duration::from_millis(200)).await;
    ctx.tus_finish(&upload, &body, SENT + 1000).await
}

async fn polling_lets_it_live(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_file(400_000).await?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&upload.patch_at(0).length(400_000)).await?;
    let mut known = 0;
    for (index, piece) in body.chunks(10_000).enumerate() {
        wire.send(piece).await?;
        sleep(Duration::from_millis(30)).await;
        if index % 8 == 7 {
            let offset = ctx.tus_offset(&upload).await?;
            let sent = (index as u64 + 1) * 10_000;
            expect((known..=sent).contains(&offset), format_args!("an offset of {known} to {sent}"), offset)?;
            known = offset;
        }
    }
    wire.answer().await?.expect_status(204).at("the polled PATCH")?;
    ctx.expect_tus_content(&upload, &body).await
}

async fn races_soundly(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(300_000, 1000).await?;
    let mut race = JoinSet::new();
    for _ in 0..6 {
        let (ctx, patch) = (ctx.clone(), upload.patch(&body, 1000, 200_000));
        race.spawn(async move { ctx.send(&patch).await });
    }
    let mut accepted = 0;
    while let Some(finished) = race.join_next().await {
        // A superseded racer may lose its connection instead of hearing a refusal.
        if let Ok(answer) = finished.map_err(Failure::because)? {
            answer.expect_status_in(&[204, 409, 423])?;
            accepted += usize::from(answer.status == 204);
        }
    }
    expect(accepted <= 1, "one 204 at most for one offset", accepted)?;
    let offset = usize::try_from(ctx.tus_offset(&upload).await?).map_err(Failure::because)?;
    expect((1000..=200_000).contains(&offset), "an offset that the racers can have reached", offset)?;
    expect(accepted == 0 || offset == 200_000, "the offset that 204 acknowledged", offset)?;
    ctx.tus_finish(&upload, &body, offset).await
}
