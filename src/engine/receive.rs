//! The loop that takes bytes: from the source to the blob, with a commit now and then, until something ends it.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::time::{Instant, sleep_until};

use super::{
    Broken, Piece, Source,
    commits::Commits,
    decide::Stretch,
    digest::{Check, Claim, Running},
};
use crate::{
    blobs::{BlobWriter, Durable},
    fault::{Component, Fault},
    leases::{CheckpointRequest, Lease},
    ledger::Swap,
    upload::Phase,
};

/// How the receiving of a body ended. In every case what was received is durable and committed, unless a newer
/// generation or a fault stands against it.
#[derive(Debug)]
pub(super) enum Ending {
    /// The last byte of the upload is committed.
    Complete,
    /// The body ended where it should, before the end of the upload.
    Partial,
    /// The body ended cleanly, too early.
    TooShort,
    /// The body went on too long.
    Overrun,
    /// A newer writer came.
    Superseded,
    /// The body was silent for too long.
    Stalled,
    /// The connection broke.
    Broken,
    /// The body's framing is wrong.
    Malformed,
    /// The server stops.
    Stopping,
    /// The bytes are not what the client claimed.
    Mismatch,
    /// The claim that was announced did not come.
    NoClaim,
    /// Ours.
    Fault(Fault),
}

/// A writer that is silent for so long gives back the space that it holds ahead of its bytes.
const QUIET: Duration = Duration::from_secs(5);
/// The least rate is looked at over so much time, of which our own disk's does not count.
const RATE_WINDOW: Duration = Duration::from_secs(30);
/// What a writer that is being ended still takes of what has already arrived.
const LAST_BYTES: u64 = 4 * 1024 * 1024;
/// For how long it does so.
const LAST_MOMENT: Duration = Duration::from_millis(20);

/// Whether a client keeps up with the least rate; windows follow each other.
struct LeastRate {
    /// Bytes a second; 0 for none.
    least: u64,
    since: Instant,
    received: u64,
    /// Time of this window that the disk took.
    disk: Duration,
}

impl LeastRate {
    fn new(least: u64, received: u64) -> Self {
        Self { least, since: Instant::now(), received, disk: Duration::ZERO }
    }

    /// Whether the window that ends now, if one does, brought too little.
    fn is_missed(&mut self, received: u64) -> bool {
        if self.least == 0 {
            return false;
        }
        let took = self.since.elapsed().saturating_sub(self.disk);
        if took < RATE_WINDOW {
            return false;
        }
        let brought = received.saturating_sub(self.received);
        let missed = brought < self.least.saturating_mul(took.as_secs());
        *self = Self::new(self.least, received);
        missed
    }
}

type Sync = BoxFuture<'static, Result<Durable, Fault>>;

pub(super) struct Receiver {
    pub(super) commits: Commits,
    lease: Lease,
    writer: Box<dyn BlobWriter>,
    stretch: Stretch,
    /// Bytes of the upload that the store has, from byte 0.
    received: u64,
    check: Check,
    /// The checksum of what this request brought, when the claim is known from the beginning.
    running: Option<Running>,
    /// Asked for, to be answered (by being dropped) after the next checkpoint.
    asked: Vec<CheckpointRequest>,
    /// To be answered after the checkpoint that runs.
    answering: Vec<CheckpointRequest>,
    /// [ENG-21] a sync failed. One that succeeds later proves nothing: the kernel forgets the pages that it could not write.
    sync_failed: bool,
}

/// What is left of a receiver: its commits. The lease ends with it.
pub(super) struct Finished {
    pub(super) commits: Commits,
    _lease: Lease,
}

impl Receiver {
    pub(super) fn new(
        commits: Commits,
        lease: Lease,
        writer: Box<dyn BlobWriter>,
        stretch: Stretch,
        check: Check,
    ) -> Self {
        let running = match &check {
            Check::Claimed(claim) => Some(Running::new(claim.algorithm)),
            Check::None | Check::InTrailer => None,
        };
        Self {
            commits,
            lease,
            writer,
            stretch,
            received: stretch.from.0,
            check,
            running,
            asked: Vec::new(),
            answering: Vec::new(),
            sync_failed: false,
        }
    }

    pub(super) async fn run(mut self, mut source: Source) -> (Finished, Ending) {
        let mut ending = self.receive(&mut source).await;
        self.lease.works();
        if matches!(ending, Ending::Superseded | Ending::Stopping | Ending::Stalled)
            && let Some(end) = self.take_what_arrived(&mut source).await
        {
            ending = end;
        }
        drop(source);
        let ending = self.conclude(ending).await;
        (Finished { commits: self.commits, _lease: self.lease }, ending)
    }

    async fn receive(&mut self, source: &mut Source) -> Ending {
        let engine = self.commits.engine().clone();
        let settings = engine.settings.clone();
        let mut sync: Option<Sync> = None;
        let mut last_piece = Instant::now();
        let mut last_commit = Instant::now();
        let mut is_quiet = false;
        let mut rate = LeastRate::new(settings.least_rate, self.received);
        let wake = sleep_until(last_piece + settings.body_gap.min(settings.checkpoint_interval).min(QUIET));
        tokio::pin!(wake);
        let ended = self.lease.ended();
        tokio::pin!(ended);
        loop {
            // [ENG-70] who is slower than the least rate is cut like who is silent, and kept
            if rate.is_missed(self.received) {
                return self.settle(sync, Ending::Stalled).await;
            }
            // [ENG-20] checkpoints while data arrives: when asked, by bytes, by time
            // [TUS-70] but nothing is committed of bytes whose checksum is still to be seen
            if self.check != Check::None {
                self.asked.clear();
                last_commit = Instant::now();
            } else if sync.is_none() {
                let due = self.commits.uncommitted(self.received) >= settings.checkpoint_bytes
                    || last_commit.elapsed() >= settings.checkpoint_interval;
                // [ENG-11] when all of it is here the end of the body decides, not a checkpoint
                if self.commits.is_current(self.received) || self.is_all_here() {
                    self.asked.clear();
                    last_commit = Instant::now();
                } else if due || !self.asked.is_empty() {
                    self.answering = std::mem::take(&mut self.asked);
                    match self.writer.checkpoint().await {
                        Ok(started) => sync = Some(started),
                        Err(fault) => return Ending::Fault(fault),
                    }
                }
            }
            self.lease.waits_for_client();
            tokio::select! {
                biased;
                () = &mut ended => return self.settle(sync, Ending::Superseded).await,
                () = engine.stopping.cancelled() => return self.settle(sync, Ending::Stopping).await,
                Some(request) = self.lease.checkpoints.recv() => {
                    self.lease.works();
                    self.asked.push(request);
                }
                durable = pending_or(&mut sync) => {
                    self.lease.works();
                    sync = None;
                    last_commit = Instant::now();
                    if let Err(ending) = self.commit(durable).await {
                        return ending;
                    }
                    self.answering.clear();
                    let idle = last_piece + settings.body_gap.min(QUIET);
                    wake.as_mut().reset(idle.min(last_commit + settings.checkpoint_interval));
                }
                () = &mut wake => {
                    // [ENG-25] a silent body is cut, and kept
                    if last_piece.elapsed() >= settings.body_gap {
                        return self.settle(sync, Ending::Stalled).await;
                    }
                    // [ENG-61] a silent writer holds no space ahead of its bytes
                    if !is_quiet && last_piece.elapsed() >= QUIET {
                        is_quiet = true;
                        self.writer.release().await;
                    }
                    let mut cut = last_piece + settings.body_gap;
                    if !is_quiet {
                        cut = cut.min(last_piece + QUIET);
                    }
                    let next = if sync.is_some() { cut } else { cut.min(last_commit + settings.checkpoint_interval) };
                    wake.as_mut().reset(next);
                }
                piece = source.next() => {
                    self.lease.received();
                    let came = Instant::now();
                    if let Some(ending) = self.take(piece).await {
                        return self.settle(sync, ending).await;
                    }
                    // [ENG-25] time that our disk took is no silence of the client's
                    last_piece = Instant::now();
                    rate.disk += last_piece - came;
                    is_quiet = false;
                }
            }
        }
    }

    /// Write one piece; `Some` when it was the last.
    async fn take(&mut self, piece: Option<Result<Piece, Broken>>) -> Option<Ending> {
        let mut data = match piece {
            Some(Ok(Piece::Data(data))) => data,
            Some(Ok(Piece::Claim(claim))) => {
                if self.check == Check::InTrailer {
                    self.check = Check::Claimed(claim);
                }
                return None;
            }
            // [XEP-59] bytes that came before a broken chunk are kept, but do not make a file whole
            Some(Ok(Piece::Malformed)) => return Some(Ending::Malformed),
            Some(Err(Broken)) => return Some(Ending::Broken),
            None => return Some(self.ended()),
        };
        // [ENG-8] limits hold while streaming
        let room = self.stretch.limit.saturating_sub(self.received);
        let over = data.len() as u64 > room;
        if over {
            data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        let size = data.len() as u64;
        if let Some(running) = &mut self.running {
            running.update(&data);
        }
        if let Err(fault) = self.writer.write(data).await {
            return Some(Ending::Fault(fault));
        }
        self.received += size;
        self.commits.engine().parts.metrics.received(size);
        over.then_some(Ending::Overrun)
    }

    /// The body ended cleanly: what does that mean here?
    fn ended(&self) -> Ending {
        let at = self.received;
        if self.stretch.end.is_some_and(|end| at < end) {
            return Ending::TooShort;
        }
        match self.stretch.length {
            Some(length) if at < length && self.stretch.whole => Ending::TooShort,
            Some(length) if at < length => Ending::Partial,
            Some(_) => Ending::Complete,
            // A chunked body without announced length is the whole file when it began at byte 0 as one.
            None if self.stretch.whole => Ending::Complete,
            None => Ending::Partial,
        }
    }

    /// [ENG-6] what had arrived when the writer was told to end is kept
    async fn take_what_arrived(&mut self, source: &mut Source) -> Option<Ending> {
        let until = Instant::now() + LAST_MOMENT;
        let stop = self.received.saturating_add(LAST_BYTES);
        while Instant::now() < until && self.received < stop {
            let piece = source.next().now_or_never()?;
            if let Some(ending) = self.take(piece).await {
                return Some(ending);
            }
        }
        None
    }

    /// A checkpoint that runs while the body ends is waited for, so that commits stay in order.
    async fn settle(&mut self, sync: Option<Sync>, ending: Ending) -> Ending {
        self.lease.works();
        if let Some(sync) = sync {
            let durable = sync.await;
            // When all of it is about to be committed at once, the earlier commit is not worth its row.
            if durable.is_ok() && matches!(ending, Ending::Complete | Ending::Partial) {
                return ending;
            }
            if let Err(worse) = self.commit(durable).await {
                return worse;
            }
        }
        ending
    }

    async fn commit(&mut self, durable: Result<Durable, Fault>) -> Result<(), Ending> {
        let durable = durable.map_err(|fault| {
            self.sync_failed = true;
            Ending::Fault(fault)
        })?;
        match self.commits.commit(&durable, Phase::Receiving).await {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Fenced) => Err(Ending::Superseded),
            Err(fault) => Err(Ending::Fault(fault)),
        }
    }

    /// Whether the last byte of an upload of known length has arrived.
    fn is_all_here(&self) -> bool {
        self.stretch.length == Some(self.received)
    }

    /// What the claim makes of an ending: `Err` when nothing of this request may be committed.
    async fn verify(&mut self, ending: Ending) -> Result<Ending, Ending> {
        let clean = matches!(ending, Ending::Complete | Ending::Partial);
        match (std::mem::take(&mut self.check), clean) {
            (Check::None, _) => Ok(ending),
            (_, false) => Err(ending),
            (Check::InTrailer, true) => Err(Ending::NoClaim),
            (Check::Claimed(claim), true) => {
                let value = match self.running.take() {
                    Some(running) => Ok(running.value()),
                    None => self.read_back(&claim).await,
                };
                match value {
                    Ok(value) if value == claim.value => Ok(ending),
                    Ok(_) => Err(Ending::Mismatch),
                    Err(fault) => Err(Ending::Fault(fault)),
                }
            }
        }
    }

    /// A claim in a trailer names its algorithm when the bytes are gone, so they are read again.
    async fn read_back(&mut self, claim: &Claim) -> Result<Vec<u8>, Fault> {
        self.writer.checkpoint().await?.await?;
        let mut bytes = self.commits.read(self.stretch.from.0..self.received).await?;
        let mut running = Running::new(claim.algorithm);
        while let Some(piece) = bytes.next().await {
            running.update(&piece?);
        }
        Ok(running.value())
    }

    /// Make durable and commit what the ending asks for.
    async fn conclude(&mut self, ending: Ending) -> Ending {
        let is_cut =
            matches!(ending, Ending::Superseded | Ending::Stalled | Ending::Broken | Ending::Stopping);
        // [ENG-11] all of it is here: that the connection goes a moment later changes nothing
        let ending = if is_cut && self.is_all_here() { Ending::Complete } else { ending };
        let ending = match self.verify(ending).await {
            Ok(ending) => ending,
            Err(ending) => {
                // The bytes stay behind the ledger's offset, as a torn tail that the next append cuts off.
                self.writer.release().await;
                self.received = self.stretch.from.0;
                return ending;
            }
        };
        // [TUS-52] a request that ended well may tell the length and nothing else
        let tells_length = matches!(ending, Ending::Partial) && self.commits.names_length();
        if !matches!(ending, Ending::Complete) {
            // [ENG-61] nothing is held for bytes that this request does not bring
            self.writer.release().await;
            // [ENG-11] a plain PUT that goes on behind its announced length is not the file it announced
            let is_unclear = self.is_all_here() && self.stretch.whole;
            // [ENG-21] what a failed sync left behind is never acknowledged
            // Of the piece that met the end of the disk a part may have been taken.
            let is_full = matches!(&ending, Ending::Fault(fault) if fault.full);
            let has_news = tells_length || is_full || !self.commits.is_current(self.received);
            if is_unclear || self.sync_failed || !has_news {
                return ending;
            }
        }
        let durable = match self.writer.checkpoint().await {
            Ok(sync) => sync.await,
            Err(fault) => Err(fault),
        };
        match (durable, ending) {
            (Ok(durable), Ending::Complete) if durable.offset.0 != self.received => {
                let text = format!("{} bytes are durable of {}", durable.offset, self.received);
                Ending::Fault(Fault::new(Component::Blobs, "completing an upload", text))
            }
            (Ok(durable), ending) => {
                let is_complete =
                    matches!(ending, Ending::Complete) || self.stretch.length == Some(durable.offset.0);
                let phase = if is_complete { Phase::Complete } else { Phase::Receiving };
                // A write that failed may leave less than was received.
                if !is_complete && !tells_length && self.commits.is_current(durable.offset.0) {
                    return ending;
                }
                match self.commits.commit(&durable, phase).await {
                    Ok(Swap::Done) => ending,
                    Ok(Swap::Fenced) => Ending::Superseded,
                    Err(fault) => Ending::Fault(fault),
                }
            }
            // The first fault says more than the one that followed from it.
            (Err(_), ending @ Ending::Fault(_)) => ending,
            (Err(fault), _) => Ending::Fault(fault),
        }
    }
}

/// The result of a running checkpoint; never, when none runs.
async fn pending_or(sync: &mut Option<Sync>) -> Result<Durable, Fault> {
    match sync {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}
