//! Profile `cross`: one upload, every dialect (`protocol-spec/one-upload.md`).
//!
//! Every way through two cuts is tried: begun in a first dialect, gone on with in a second, ended in a third, at a slot's
//! URL and at that of a tus upload. The report adds the ways as tables.

mod concat;
mod files;
mod shared;
mod slots;
mod table;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Failure, Need, Step as _, expect, expect_eq};
use crate::ctx::{Ctx, Slot};
use crate::http::{Request, Wire};
use crate::tus::{OFFSET_OCTET_STREAM, Resource, VERSION, slice};

pub(super) use table::matrix;

pub(super) const TABLES: &[&[Case]] = &[slots::CASES, files::CASES, concat::CASES, shared::CASES];

const CONCATENATION: &[Need] = &[Need::Extension("concatenation")];

/// The dialects in which an upload can be written: consts of a primitive type, to instantiate cases by.
const PLAIN: char = 'p';
const RANGED: char = 'r';
const TUS: char = 't';
const WRITERS: [char; 3] = [PLAIN, RANGED, TUS];

const SIZE: usize = 300_000;
/// Where the first writer and the second are cut.
const FIRST: usize = 100_000;
const SECOND: usize = 200_000;

fn name(dialect: char) -> &'static str {
    match dialect {
        PLAIN => "plain PUT",
        RANGED => "ranged PUT",
        _ => "tus PATCH",
    }
}

/// An upload that is written in several dialects.
struct Shared {
    write: Write,
    body: Bytes,
}

/// How its URL is addressed with a credential.
enum Write {
    Slot(Slot),
    Files(Resource),
}

impl Shared {
    /// A slot that nothing has been sent to.
    fn slot(ctx: &Ctx) -> Result<Self, Failure> {
        let (slot, body) = ctx.file("film.mp4", SIZE)?;
        Ok(Self { write: Write::Slot(slot), body })
    }

    /// A new upload at the tus endpoint.
    async fn files(ctx: &Ctx) -> Result<Self, Failure> {
        let (resource, body) = ctx.tus_file(SIZE).await?;
        Ok(Self { write: Write::Files(resource), body })
    }

    /// An upload at the tus endpoint that exists already, and what it is to hold.
    fn of(resource: Resource, body: Bytes) -> Self {
        Self { write: Write::Files(resource), body }
    }

    fn size(&self) -> usize {
        self.body.len()
    }

    /// A request with the upload's credential, of no dialect yet.
    fn request(&self, method: &'static str) -> Request {
        match &self.write {
            Write::Slot(slot) => slot.request(method),
            Write::Files(resource) => resource.plain(method),
        }
    }

    fn tus(&self, method: &'static str) -> Request {
        self.request(method).header("Tus-Resumable", VERSION)
    }

    fn get(&self) -> Request {
        match &self.write {
            Write::Slot(slot) => slot.get(),
            Write::Files(resource) => resource.plain("GET"),
        }
    }

    /// The head of a request for everything from `from`; a plain PUT starts from the beginning.
    fn head(&self, dialect: char, from: usize) -> Request {
        let size = self.size();
        match dialect {
            PLAIN => self.request("PUT"),
            RANGED => {
                let last = size.saturating_sub(1);
                self.request("PUT").header("Content-Range", format_args!("bytes {from}-{last}/{size}"))
            }
            _ => {
                let patch = self
                    .tus("PATCH")
                    .header("Content-Type", OFFSET_OCTET_STREAM)
                    .header("Upload-Offset", from);
                match self.write {
                    // The MAC of a slot signs a length that only the first request can tell.
                    Write::Slot(_) if from == 0 => patch.header("Upload-Length", size),
                    Write::Slot(_) | Write::Files(_) => patch,
                }
            }
        }
    }

    /// Asks for the offset in the words of this dialect. A plain PUT has none, and asks by HEAD.
    async fn offset(&self, ctx: &Ctx, dialect: char) -> Result<u64, Failure> {
        match dialect {
            PLAIN => {
                let answer = ctx.send(&self.request("HEAD")).await?;
                answer.expect_status(204).at("HEAD")?;
                answer.number("upload-offset")
            }
            RANGED => {
                let query =
                    self.request("PUT").header("Content-Range", format_args!("bytes */{}", self.size()));
                let answer = ctx.send(&query).await?;
                answer.expect_status(308).at("asking by range")?;
                answer.number("upload-offset")
            }
            _ => {
                let answer = ctx.send(&self.tus("HEAD")).await?;
                answer.expect_status_in(&[200, 204]).at("HEAD of tus")?;
                answer.number("upload-offset")
            }
        }
    }

    async fn expect_offset(&self, ctx: &Ctx, dialect: char, offset: usize) -> CaseResult {
        expect_eq("offset", &(offset as u64), &self.offset(ctx, dialect).await?).at(name(dialect))
    }

    /// The offset comes to be told, within 5 s of a cut.
    async fn await_offset(&self, ctx: &Ctx, dialect: char, offset: usize) -> CaseResult {
        let start = Instant::now();
        loop {
            let seen = self.expect_offset(ctx, dialect, offset).await;
            if seen.is_ok() || start.elapsed() > Duration::from_secs(5) {
                return seen;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where a writer of this dialect goes on.
    fn start(dialect: char, offset: usize) -> usize {
        if dialect == PLAIN { 0 } else { offset }
    }

    /// A writer that has sent everything up to `sent` and says no more.
    async fn half_open(&self, ctx: &Ctx, dialect: char, offset: usize, sent: usize) -> Result<Wire, Failure> {
        let from = Self::start(dialect, offset);
        let head = self.head(dialect, from).length((self.size() - from) as u64);
        ctx.stalled(&head, &slice(&self.body, from, sent)).await
    }

    /// A writer that is cut after `sent`.
    async fn cut(&self, ctx: &Ctx, dialect: char, offset: usize, sent: usize) -> CaseResult {
        self.half_open(ctx, dialect, offset, sent).await.at(name(dialect))?.reset()
    }

    /// A writer that sends all the rest.
    async fn rest(&self, ctx: &Ctx, dialect: char, offset: usize) -> CaseResult {
        let from = Self::start(dialect, offset);
        let request = self.head(dialect, from).body(slice(&self.body, from, self.size()));
        let status = if dialect == TUS { 204 } else { 201 };
        ctx.send(&request).await?.expect_status(status).at(format_args!("the rest by {}", name(dialect)))?;
        Ok(())
    }

    async fn expect_served(&self, ctx: &Ctx) -> CaseResult {
        let answer = ctx.send(&self.get()).await?;
        answer.expect_status(200).at("GET")?;
        crate::case::expect_bytes("the download", &self.body, &answer.body)
    }

    async fn expect_not_served(&self, ctx: &Ctx) -> CaseResult {
        ctx.send(&self.get()).await?.expect_status(404).at("GET of what is incomplete")?;
        Ok(())
    }

    /// Begun in `a`, cut, gone on with in `b`, cut, ended in `c`; whole at the end, and served no sooner.
    async fn pass_through(&self, ctx: &Ctx, [a, b, c]: [char; 3]) -> CaseResult {
        self.cut(ctx, a, 0, FIRST).await?;
        self.await_offset(ctx, b, FIRST).await.at("after the first cut")?;
        self.cut(ctx, b, FIRST, SECOND).await?;
        self.await_offset(ctx, c, SECOND).await.at("after the second cut")?;
        self.expect_not_served(ctx).await?;
        self.rest(ctx, c, SECOND).await?;
        self.expect_served(ctx).await
    }
}

async fn at_slot<const A: char, const B: char, const C: char>(ctx: &Ctx) -> CaseResult {
    Shared::slot(ctx)?.pass_through(ctx, [A, B, C]).await
}

async fn at_files<const A: char, const B: char, const C: char>(ctx: &Ctx) -> CaseResult {
    Shared::files(ctx).await?.pass_through(ctx, [A, B, C]).await
}

/// How soon a newer writer is heard.
fn expect_prompt(start: Instant) -> CaseResult {
    let took = start.elapsed();
    expect(
        took < Duration::from_secs(2),
        "an answer in less than 2 s",
        format_args!("{} ms", took.as_millis()),
    )
}
