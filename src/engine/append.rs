//! Carries out a write: lease, decide, fence, stream, make durable, commit.

use std::{sync::Arc, time::Instant};

use super::{
    Counted, Engine, Error, Order, Outcome, Refusal, Source,
    commits::{Commits, Record},
    decide::{Plan, Stretch, decide, is_about_progress},
    digest::Check,
    receive::{Ending, Receiver},
};
use crate::{
    blobs::Durable,
    fault::Fault,
    id,
    leases::{Lease, Taken},
    ledger::Swap,
    upload::{BlobKey, Kind, Name, Offset, Upload},
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
        let upload = self.fresh(order.name, stretch.length, order.kind, order.about);
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
        if names_length {
            job.receiver.commits.tell_length();
        }
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
        // What this request brings; the rest of the upload may never come.
        let length = stretch.end.or(stretch.length);
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
        let writer = match writer {
            Ok(writer) => writer,
            Err(fault) if fault.lost => return Err(self.lost(&upload, fault).await),
            Err(fault) => return Err(full_or(fault, &self.parts.metrics)),
        };
        let commits = Commits::new(self.clone(), upload, record);
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
pub(super) fn full_or(fault: Fault, metrics: &crate::telemetry::Metrics) -> Error {
    if fault.full {
        tracing::warn!(%fault, "an upload met the end of the disk");
        metrics.fault(fault.component.word());
        return Refusal::StorageFull.into();
    }
    fault.into()
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
                metrics.upload_finished(dialect, counted.began.elapsed(), commits.upload().offset.0);
                if commits.upload().kind == Kind::Partial {
                    engine.assemble_finals_of(&commits.upload().name);
                }
                return Ok(Outcome { upload: commits.upload().clone(), is_complete: true });
            }
            Ending::Partial => {
                let mut upload = commits.upload().clone();
                upload.offset = held;
                return Ok(Outcome { upload, is_complete: false });
            }
            Ending::Fault(fault) => {
                commits.engine().parts.metrics.cut("fault");
                return Err(full_or(fault, &metrics));
            }
            Ending::Mismatch => Refusal::ChecksumMismatch,
            Ending::NoClaim => Refusal::ChecksumMissing,
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
