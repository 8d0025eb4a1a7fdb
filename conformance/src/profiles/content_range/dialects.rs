//! One upload, two dialects: what one leaves behind, the other goes on with.

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::{Ctx, noise};

use super::{begin, expect_offset, finish, part, range, stalled};

const SIZE: usize = 300_000;
const SENT: usize = 120_000;

pub(super) const CASES: &[Case] = &[
    case!(["CRG-43"], "a plain PUT that was cut goes on by range", range_continues_plain_put),
    case!(["CRG-44"], "a plain PUT starts an incomplete ranged upload anew", plain_put_restarts),
    case!(["CRG-45"], "a ranged upload is served only when whole", incomplete_is_invisible),
    case!(["CRG-46"], "a ranged upload works under a bearer token too", bearer_continues),
    case!(
        ["CRG-47"],
        "a first range of unknown total takes its size from the bearer token",
        bearer_names_the_size
    ),
];

async fn range_continues_plain_put(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    stalled(ctx, &slot.put().length(SIZE as u64), &part(&body, 0, SENT - 1)).await?.reset()?;
    expect_offset(ctx, &slot, SENT).await?;
    finish(ctx, &slot, &body, SENT).await
}

async fn plain_put_restarts(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    begin(ctx, &slot, &body, SENT).await?;
    let anew = noise("other content", SIZE);
    ctx.send(&slot.put().body(anew.clone())).await?.expect_status(201)?;
    ctx.expect_served(&slot, &anew).await?;
    Ok(())
}

async fn incomplete_is_invisible(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    begin(ctx, &slot, &body, SENT).await?;
    ctx.expect_not_served(&slot).await?;
    ctx.send(&range(&slot, &body, SENT, SIZE - 2)).await?.expect_status(308)?;
    ctx.expect_not_served(&slot).await.at("one byte short")?;
    finish(ctx, &slot, &body, SIZE - 1).await
}

async fn bearer_continues(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = slot.claims("video/mp4").sign(ctx.secret()?)?;
    for (first, last, status) in [(0, SENT - 1, 308), (SENT, SIZE - 1, 201)] {
        let put = slot
            .put_with("")
            .bearer(&token)
            .header("Content-Range", format_args!("bytes {first}-{last}/{SIZE}"))
            .body(part(&body, first, last));
        ctx.send(&put).await?.expect_status(status).at(format_args!("{first}-{last}"))?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn bearer_names_the_size(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = slot.claims("video/mp4").sign(ctx.secret()?)?;
    for (first, last, status) in [(0, SENT - 1, 308), (SENT, SIZE - 1, 201)] {
        let put = slot
            .put_with("")
            .bearer(&token)
            .header("Content-Range", format_args!("bytes {first}-{last}/*"))
            .body(part(&body, first, last));
        ctx.send(&put).await?.expect_status(status).at(format_args!("{first}-{last}/*"))?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}
