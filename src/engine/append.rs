//! Carries out a write: lease, decide, fence, stream, make durable, commit.

use std::{ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{
    Counted, Engine, Error, Order, Outcome, Refusal, Source,
    decide::{Plan, Stretch, decide, is_about_progress},
    digest::Check,
    receive::{Ending, Receiver},
};
use crate::{
    blobs::Durable,
    fault::{Component, Fault},
    id,
    leases::{Lease, Taken},
    ledger::{Advance, Swap},
    upload::{BlobKey, BlobState, Generation, Kind, Name, Offset, Phase, Upload, UploadId},
};

/// How often a write is judged anew because the row changed before it was fenced.
const FENCE_TRIES: u32 = 3;

impl Engine {
    pub(super) async fn append(&self, order: Order, source: Source) -> Result<Outcome, Error> {
        let arrived = Instant::now();
        // [ENG-23] what is refused whatever the older writer still commits must not end that writer
        if self.parts.leases.holder(&order.name).is_some() {
            let upload = self.parts.ledger.find(&order.name).await?;
            match decide(upload.as_ref(), &order.write, &self.limits()) {
                Ok(Plan::Already) => return already(upload),
                Err(refusal) if !is_about_progress(&refusal) => return Err(refusal.into()),
                Ok(_) | Err(_) => {}
            }
        }
        // [ENG-3] the newest writer wins
        let lease = self.lease(&order.name).await?;
        if lease.took_over {
            self.parts.metrics.taken_over();
            self.parts.metrics.takeover(arrived.elapsed());
        }
        let (plan, upload) = self.judge_and_fence(&order).await?;
        let job = match (plan, upload) {
            (Plan::Already, upload) => return already(upload),
            (Plan::Create(stretch), _) | (Plan::Restart(stretch) | Plan::Continue(stretch), None) => {
                self.begin(order, lease, stretch).await?
            }
            (Plan::Restart(stretch), Some(upload)) => self.restart(order, lease, upload, stretch).await?,
            (Plan::Continue(stretch), Some(upload)) => self.go_on(order, lease, upload, stretch).await?,
        };
        job.run(source).await
    }

    /// The plan, and the upload under a generation of its own where the plan writes to one that exists.
    async fn judge_and_fence(&self, order: &Order) -> Result<(Plan, Option<Upload>), Error> {
        for _ in 0..FENCE_TRIES {
            let upload = self.parts.ledger.find(&order.name).await?;
            let plan = decide(upload.as_ref(), &order.write, &self.limits())?;
            let (Plan::Restart(_) | Plan::Continue(_), Some(mut upload)) = (&plan, upload.clone()) else {
                return Ok((plan, upload));
            };
            // [ENG-3] from here on a writer of an older generation, wherever it lives, commits nothing
            match self.parts.ledger.fence(&upload.name, upload.generation, upload.offset).await? {
                Swap::Done => {
                    upload.generation = upload.generation.next();
                    return Ok((plan, Some(upload)));
                }
                // A writer on another node committed, or the sweeper came: the write is judged anew.
                Swap::Fenced => {}
            }
        }
        let held = self.parts.ledger.find(&order.name).await?.map_or(Offset::ZERO, |u| u.offset);
        Err(Refusal::Superseded { held }.into())
    }

    pub(super) async fn lease(&self, name: &Name) -> Result<Lease, Error> {
        let patience = self.settings.fence_timeout;
        match self.parts.leases.take(name, patience).await? {
            Taken::Held(lease) => Ok(lease),
            Taken::Superseded => {
                let held = self.parts.ledger.find(name).await?.map_or(Offset::ZERO, |u| u.offset);
                Err(Refusal::Superseded { held }.into())
            }
            Taken::TimedOut => Err(Refusal::Busy { retry_after: patience }.into()),
        }
    }

    async fn begin(&self, order: Order, lease: Lease, stretch: Stretch) -> Result<Job, Error> {
        let now = self.now();
        let upload = Upload {
            name: order.name,
            id: UploadId(id::random_hex_128()),
            phase: Phase::Receiving,
            generation: Generation::FIRST,
            offset: Offset::ZERO,
            length: stretch.length,
            blob: BlobKey(id::random_hex_128()),
            blob_state: BlobState::default(),
            kind: order.kind,
            about: order.about,
            created_at: now,
            updated_at: now,
            completed_at: None,
            expires_at: None,
        };
        self.parts.metrics.upload_started(order.dialect);
        self.open(lease, upload, stretch, order.dialect, order.check, Record::New).await
    }

    async fn restart(
        &self,
        order: Order,
        lease: Lease,
        mut upload: Upload,
        stretch: Stretch,
    ) -> Result<Job, Error> {
        let old = std::mem::replace(&mut upload.blob, BlobKey(id::random_hex_128()));
        upload.length = stretch.length;
        upload.about.content_type = order.about.content_type.or(upload.about.content_type);
        self.parts.metrics.upload_started(order.dialect);
        self.open(lease, upload, stretch, order.dialect, order.check, Record::Replacing(old)).await
    }

    async fn go_on(
        &self,
        order: Order,
        lease: Lease,
        mut upload: Upload,
        stretch: Stretch,
    ) -> Result<Job, Error> {
        let names_length = upload.length.is_none() && stretch.length.is_some();
        upload.length = stretch.length;
        let record = if upload.offset == Offset::ZERO {
            // Nothing was received yet, and so there may be no blob: an upload that was only created has none.
            Record::Replacing(std::mem::replace(&mut upload.blob, BlobKey(id::random_hex_128())))
        } else {
            self.parts.metrics.upload_resumed(order.dialect);
            Record::Same
        };
        let mut job = self.open(lease, upload, stretch, order.dialect, order.check, record).await?;
        job.receiver.commits.names_length = names_length;
        Ok(job)
    }

    async fn open(
        &self,
        lease: Lease,
        upload: Upload,
        stretch: Stretch,
        dialect: &'static str,
        check: Check,
        record: Record,
    ) -> Result<Job, Error> {
        super::name_in_log(&upload);
        let length = stretch.length.or(stretch.end);
        let writer = match record {
            Record::New | Record::Replacing(_) => {
                self.live(|live| {
                    live.insert(upload.blob.clone());
                });
                let created = self.parts.blobs.create(&upload.blob, length).await;
                if created.is_err() {
                    self.live(|live| {
                        live.remove(&upload.blob);
                    });
                }
                created
            }
            Record::Same => {
                let at = Durable { offset: upload.offset, state: upload.blob_state.clone() };
                self.parts.blobs.resume(&upload.blob, &at, length).await
            }
        };
        let writer = writer.map_err(|fault| full_or(fault, &self.parts.metrics))?;
        let commits = Commits { engine: self.clone(), upload, record, names_length: false, in_doubt: false };
        let receiver = Receiver::new(commits, lease, writer, stretch, check);
        Ok(Job {
            engine: self.clone(),
            receiver,
            dialect,
            stretch,
            counted: Counted::new(&self.parts.metrics),
        })
    }
}

fn already(upload: Option<Upload>) -> Result<Outcome, Error> {
    let upload = upload.ok_or(Refusal::Unknown)?;
    Ok(Outcome { upload, is_complete: true })
}

/// A full disk is told to the client; every other fault of the store stays ours.
fn full_or(fault: Fault, metrics: &crate::telemetry::Metrics) -> Error {
    if fault.full {
        tracing::error!(%fault, "the disk is full");
        metrics.fault(fault.component.word());
        return Refusal::StorageFull.into();
    }
    fault.into()
}

/// How the ledger knows the blob that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    /// Not at all yet: the first commit writes the row.
    New,
    /// It still refers to another blob, which goes when this one is committed.
    Replacing(BlobKey),
    /// It refers to this blob.
    Same,
}

/// Commits progress of one writer, one commit at a time.
#[derive(Debug)]
pub(super) struct Commits {
    engine: Engine,
    upload: Upload,
    record: Record,
    /// See [`Commits::names_length`].
    names_length: bool,
    /// A commit ended in a fault: the ledger may or may not have taken it.
    in_doubt: bool,
}

impl Drop for Commits {
    fn drop(&mut self) {
        let blob = &self.upload.blob;
        self.engine.live(|live| {
            live.remove(blob);
        });
    }
}

impl Commits {
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Commit bytes that are durable. `Fenced` when a newer writer holds the upload.
    pub(super) async fn commit(&mut self, durable: &Durable, phase: Phase) -> Result<Swap, Fault> {
        if self.in_doubt {
            self.clear_doubt().await?;
        }
        self.in_doubt = true;
        let swap = self.try_commit(durable, phase).await?;
        self.in_doubt = false;
        Ok(swap)
    }

    /// [ENG-18] see whether the commit that ended in a fault took effect
    async fn clear_doubt(&mut self) -> Result<(), Fault> {
        if self.record == Record::Same {
            return Ok(());
        }
        let row = self.engine.parts.ledger.find(&self.upload.name).await?;
        if let Some(row) = row.filter(|row| row.blob == self.upload.blob) {
            self.upload.offset = row.offset;
            self.now_recorded().await;
        }
        Ok(())
    }

    /// The row refers to this blob from now on.
    async fn now_recorded(&mut self) {
        // [ENG-9] the old blob goes when the new one has been committed
        if let Record::Replacing(old) = std::mem::replace(&mut self.record, Record::Same) {
            self.engine.discard(&old).await;
        }
    }

    async fn try_commit(&mut self, durable: &Durable, phase: Phase) -> Result<Swap, Fault> {
        let parts = &self.engine.parts;
        let now = self.engine.now();
        let mut next = self.upload.clone();
        next.phase = phase;
        next.offset = durable.offset;
        next.blob_state = durable.state.clone();
        next.updated_at = now;
        if phase == Phase::Complete {
            next.length = Some(durable.offset.0);
            next.completed_at = Some(now);
            let kept = self.engine.settings.retention.map(|age| now.plus(age));
            let partial = match next.kind {
                Kind::Partial => Some(now.plus(self.engine.settings.partial_expires)),
                Kind::Single | Kind::Final(_) => None,
            };
            next.expires_at = [kept, next.about.retain_until, partial].into_iter().flatten().min();
        } else {
            next.expires_at = Some(now.plus(self.engine.settings.incomplete_expires));
        }
        let swap = match &self.record {
            // [ENG-13] what arrived whole before its first commit is one row, written once
            Record::New => parts.ledger.record(next.clone()).await?,
            Record::Replacing(_) | Record::Same => {
                parts
                    .ledger
                    .advance(Advance {
                        name: next.name.clone(),
                        generation: next.generation,
                        offset: next.offset,
                        length: next.length,
                        phase,
                        blob: next.blob.clone(),
                        blob_state: next.blob_state.clone(),
                        content_type: next.about.content_type.clone(),
                        at: now,
                        expires_at: next.expires_at,
                    })
                    .await?
            }
        };
        if swap == Swap::Done {
            self.upload = next;
            self.names_length = false;
            self.now_recorded().await;
        }
        Ok(swap)
    }

    /// Bytes that the ledger holds of this upload, or would hold of the blob it refers to.
    pub(super) fn held(&self) -> Offset {
        match self.record {
            Record::New => Offset::ZERO,
            Record::Replacing(_) | Record::Same => self.upload.offset,
        }
    }

    /// Whether `received` bytes of this blob are what the ledger says.
    pub(super) fn is_current(&self, received: u64) -> bool {
        match self.record {
            Record::Same => self.upload.offset.0 == received,
            // Nothing received is nothing to commit: an older blob with bytes is worth more than an empty one.
            Record::New | Record::Replacing(_) => received == 0,
        }
    }

    /// [ENG-24] whether this request tells the complete length for the first time, and the ledger does not know it yet.
    pub(super) fn names_length(&self) -> bool {
        self.names_length
    }

    /// Bytes of this blob that the ledger does not know.
    pub(super) fn uncommitted(&self, received: u64) -> u64 {
        match self.record {
            Record::Same => received.saturating_sub(self.upload.offset.0),
            Record::New | Record::Replacing(_) => received,
        }
    }

    /// Bytes of the blob that is being written.
    pub(super) async fn read(
        &self,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault> {
        self.engine.parts.blobs.read(&self.upload.blob, range).await
    }

    /// Drop a blob that no row refers to. [ENG-18] one that a row may refer to stays for the next scan to judge
    async fn abandon(&self) {
        if self.record != Record::Same && !self.in_doubt {
            self.engine.discard(&self.upload.blob).await;
        }
    }
}

/// A write that was permitted, with everything it needs.
struct Job {
    engine: Engine,
    receiver: Receiver,
    dialect: &'static str,
    stretch: Stretch,
    counted: Counted,
}

impl Job {
    async fn run(self, source: Source) -> Result<Outcome, Error> {
        let Self { engine, receiver, dialect, stretch, counted } = self;
        let metrics = Arc::clone(&engine.parts.metrics);
        let (finished, ending) = receiver.run(source).await;
        let commits = finished.commits;
        commits.abandon().await;
        let held = commits.held();
        let refusal = match ending {
            Ending::Complete => {
                metrics.upload_finished(dialect, counted.began.elapsed(), commits.upload.offset.0);
                if commits.upload.kind == Kind::Partial {
                    engine.assemble_finals_of(&commits.upload.name);
                }
                return Ok(Outcome { upload: commits.upload.clone(), is_complete: true });
            }
            Ending::Partial => {
                let mut upload = commits.upload.clone();
                upload.offset = held;
                return Ok(Outcome { upload, is_complete: false });
            }
            Ending::Fault(fault) => {
                commits.engine.parts.metrics.cut("fault");
                return Err(full_or(fault, &metrics));
            }
            Ending::Mismatch => Refusal::ChecksumMismatch,
            Ending::NoClaim => Refusal::ChecksumMissing,
            Ending::Full => Refusal::StorageFull,
            Ending::TooShort => Refusal::TooShort {
                received: held,
                expected: stretch.end.or(stretch.length).unwrap_or_default(),
            },
            Ending::Overrun if stretch.end.or(stretch.length).is_none() => {
                Refusal::TooLarge { limit: stretch.limit }
            }
            Ending::Overrun => Refusal::Overrun { limit: stretch.limit, held },
            Ending::Superseded => Refusal::Superseded { held },
            Ending::Stalled => Refusal::Stalled { held },
            Ending::Broken | Ending::Malformed => Refusal::Broken { held },
            Ending::Stopping => Refusal::Stopping { held },
        };
        metrics.cut(refusal.word());
        Err(refusal.into())
    }
}

/// A fault of the engine itself.
pub(super) fn engine_fault(doing: &'static str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(Component::Blobs, doing, cause)
}
