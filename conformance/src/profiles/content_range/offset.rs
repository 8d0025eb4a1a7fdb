//! HEAD tells how far an incomplete upload has come.

use std::time::Duration;

use tokio::time::sleep;

use crate::case::{Case, CaseResult, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;

use super::{begin, finish, offset_of, part, stalled};

const SIZE: usize = 300_000;
const SENT: usize = 120_000;

pub(super) const CASES: &[Case] = &[
    case!(
        ["CRG-35"],
        "HEAD of an incomplete upload is 204 with offset and length, not cached",
        head_tells_the_offset
    ),
    case!(["CRG-36"], "HEAD of an unknown upload is 404, of a complete one 200", head_of_others),
    case!(["CRG-37"], "HEAD with a credential ends a writer that has fallen silent", head_ends_silent_writer),
    case!(["CRG-38"], "HEAD lets a writer live that is still receiving", head_spares_live_writer),
];

async fn head_tells_the_offset(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    begin(ctx, &slot, &body, SENT).await?;
    for request in [slot.head(), slot.request("HEAD")] {
        let answer = ctx.send(&request).await?;
        answer.expect_status(204)?.expect_header("cache-control", "no-store")?;
        expect_eq("Upload-Offset", &(SENT as u64), &answer.number("upload-offset")?)?;
        expect_eq("Upload-Length", &(SIZE as u64), &answer.number("upload-length")?)?;
    }
    finish(ctx, &slot, &body, SENT).await
}

async fn head_of_others(ctx: &Ctx) -> CaseResult {
    let slot = ctx.slot("never.mp4", 10)?;
    ctx.send(&slot.head()).await?.expect_status(404)?;
    let (slot, _) = ctx.uploaded("photo.jpg", 500).await?;
    ctx.send(&slot.head()).await?.expect_status(200)?.expect_header("content-length", "500")?;
    Ok(())
}

async fn head_ends_silent_writer(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let mut writer = stalled(ctx, &slot.put().length(SIZE as u64), &part(&body, 0, SENT - 1)).await?;
    // Silent for 250 ms is what counts as fallen silent.
    sleep(Duration::from_millis(300)).await;
    let answer = ctx.send(&slot.request("HEAD")).await?;
    answer.expect_status(204)?;
    expect_eq("Upload-Offset", &(SENT as u64), &answer.number("upload-offset")?)?;
    writer.expect_given_up(Duration::from_secs(3)).await.at("the silent writer")?;
    finish(ctx, &slot, &body, SENT).await
}

async fn head_spares_live_writer(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let mut writer = ctx.connect().await?;
    writer.send_head(&slot.put().length(SIZE as u64)).await?;
    let mut seen = 0;
    for (round, piece) in body.chunks(SIZE / 30).enumerate() {
        writer.send(piece).await.at(format_args!("piece {round}"))?;
        sleep(Duration::from_millis(60)).await;
        if round % 5 == 4 && round < 29 {
            let credential = ctx.send(&slot.request("HEAD")).await?;
            let offset = credential.expect_status(204)?.number("upload-offset")?;
            let bare = offset_of(ctx, &slot).await?;
            expect(
                seen <= offset && offset <= bare,
                "offsets that never shrink",
                format_args!("{seen}, {offset}, {bare}"),
            )?;
            expect(bare <= ((round + 1) * piece.len()) as u64, "no offset ahead of what was sent", bare)?;
            seen = bare;
        }
    }
    expect(seen > 0, "an offset above 0 while the upload runs", seen)?;
    writer.answer().await?.expect_status(201)?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}
