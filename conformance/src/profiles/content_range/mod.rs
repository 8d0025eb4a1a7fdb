//! Profile `content-range`: ranged PUT, and the offset of what is incomplete (`protocol-spec/content-range.md`).

mod append;
mod cut;
mod dialects;
mod offset;
mod refusal;
mod status;
mod syntax;
mod takeover;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Step as _, expect_eq};
use crate::ctx::{Ctx, Slot};
use crate::http::{Answer, Request, Wire};

pub(super) const TABLES: &[&[Case]] = &[
    append::CASES,
    status::CASES,
    syntax::CASES,
    refusal::CASES,
    cut::CASES,
    offset::CASES,
    takeover::CASES,
    dialects::CASES,
];

/// The slot's PUT with `Content-Range: bytes F-L/S` and those bytes of the body; `last` is inclusive.
fn range(slot: &Slot, body: &Bytes, first: usize, last: usize) -> Request {
    slot.put()
        .header("Content-Range", format_args!("bytes {first}-{last}/{}", slot.size))
        .body(part(body, first, last))
}

/// The bytes `first..=last`, as far as there are any.
fn part(body: &Bytes, first: usize, last: usize) -> Bytes {
    Bytes::copy_from_slice(body.get(first..=last).unwrap_or_default())
}

/// An empty PUT that asks how far the upload has come.
fn query(slot: &Slot, complete_length: &str) -> Request {
    slot.put().header("Content-Range", format_args!("bytes */{complete_length}"))
}

/// Stores bytes 0 to `offset`, exclusive, by one range.
async fn begin(ctx: &Ctx, slot: &Slot, body: &Bytes, offset: usize) -> CaseResult {
    let answer = ctx.send(&range(slot, body, 0, offset.saturating_sub(1))).await?;
    expect_incomplete(&answer, offset).at("the first range")
}

/// 308 with everything that tells the client where to go on.
fn expect_incomplete(answer: &Answer, offset: usize) -> CaseResult {
    answer.expect_status(308)?;
    if offset == 0 {
        answer.expect_no_header("range")?;
    } else {
        answer.expect_header("range", &format!("bytes=0-{}", offset - 1))?;
    }
    expect_eq("Upload-Offset", &(offset as u64), &answer.number("upload-offset")?)
}

/// 416 with the offset that would have been right.
fn expect_mismatch(answer: &Answer, offset: usize) -> CaseResult {
    answer.expect_status(416)?.expect_header("content-range", &format!("bytes */{offset}"))?;
    expect_eq("Upload-Offset", &(offset as u64), &answer.number("upload-offset")?)
}

/// Asks by a HEAD without credential, which ends no writer.
async fn offset_of(ctx: &Ctx, slot: &Slot) -> Result<u64, Failure> {
    let answer = ctx.send(&slot.head()).await?;
    answer.expect_status(204).at("HEAD of what is incomplete")?;
    answer.number("upload-offset")
}

/// Waits for a committed offset: how long a server takes to notice a cut is its own affair, up to 5 s.
async fn expect_offset(ctx: &Ctx, slot: &Slot, offset: usize) -> CaseResult {
    let start = Instant::now();
    loop {
        let seen = offset_of(ctx, slot).await;
        match seen {
            Ok(seen) if seen == offset as u64 => return Ok(()),
            Ok(_) | Err(_) if start.elapsed() < Duration::from_secs(5) => {
                sleep(Duration::from_millis(50)).await
            }
            Ok(seen) => return expect_eq("Upload-Offset", &(offset as u64), &seen),
            Err(failure) => return Err(failure),
        }
    }
}

/// Sends the rest from `offset` by one range and checks the whole file.
async fn finish(ctx: &Ctx, slot: &Slot, body: &Bytes, offset: usize) -> CaseResult {
    ctx.send(&range(slot, body, offset, body.len().saturating_sub(1)))
        .await?
        .expect_status(201)
        .at("the last range")?;
    ctx.expect_served(slot, body).await?;
    Ok(())
}

/// A PUT whose body stops after `sent` bytes, with the connection left open. `head` announces more.
async fn stalled(ctx: &Ctx, head: &Request, sent: &[u8]) -> Result<Wire, Failure> {
    let mut wire = ctx.connect().await?;
    wire.send_head(head).await?;
    wire.send(sent).await?;
    sleep(Duration::from_millis(300)).await;
    Ok(wire)
}
