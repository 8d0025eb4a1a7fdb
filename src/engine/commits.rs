//! What one writer commits: progress of its blob, one commit at a time.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Engine;
use crate::{
    blobs::Durable,
    fault::Fault,
    ledger::{Advance, Swap},
    upload::{BlobKey, Kind, Offset, Phase, Upload},
};

/// How the ledger knows the blob that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
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
    pub(super) fn new(engine: Engine, upload: Upload, record: Record) -> Self {
        Self { engine, upload, record, names_length: false, in_doubt: false }
    }

    /// The upload as last committed, or as it will be with the first commit.
    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Commit bytes that are durable. `Fenced` when a newer writer holds the upload.
    pub(super) async fn commit(&mut self, durable: &Durable, phase: Phase) -> Result<Swap, Fault> {
        let was_in_doubt = self.in_doubt;
        if was_in_doubt {
            self.clear_doubt().await?;
        }
        self.in_doubt = true;
        let swap = self.try_commit(durable, phase).await;
        // [ENG-18] what was certainly not taken leaves no doubt, and its blob no room taken on a full disk; an earlier
        // doubt ends with a commit alone
        self.in_doubt = swap.as_ref().is_err_and(|fault| was_in_doubt || !fault.unchanged);
        swap
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
            let partial = match next.kind {
                Kind::Partial => Some(now.plus(self.engine.settings.partial_expires)),
                Kind::Single | Kind::Final(_) => None,
            };
            next.expires_at = [next.about.retain_until, partial].into_iter().flatten().min();
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

    /// [ENG-24] this request tells the complete length for the first time: worth a commit even without bytes.
    pub(super) fn tell_length(&mut self) {
        self.names_length = true;
    }

    /// Whether this request tells the complete length for the first time, and the ledger does not know it yet.
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

    /// Drop a blob that no row refers to. One that a row may refer to stays for the next scan to judge.
    pub(super) async fn abandon(&self) {
        if self.record != Record::Same && !self.in_doubt {
            self.engine.discard(&self.upload.blob).await;
        }
    }
}
