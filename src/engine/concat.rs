//! Concatenation: a final upload made of partial ones, without a byte going through a client again.
//!
//! ```text
//!   POST final ──> row (receiving, kind final) ──> all parts complete? ──> assemble ──> complete
//!                                                        └─ no: the part that completes last calls for it
//! ```
//!
//! At most two are assembled at the same time, each in a task of its own that outlives its request; room is promised
//! to it before it begins. A final that meets the end of the disk is given up, and its URL says that it is gone: tried
//! again at each start, it would fill the disk at each start. The row is written first, so that a crash in the middle is taken up again by recovery, and HEAD can tell the truth
//! before, during and after. Parts are only read: one may serve many finals, or one of them many times.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Engine, Error, Order, Refusal, append::full_or};
use crate::{
    blobs::{Booking, Durable},
    fault::Fault,
    leases::Lease,
    ledger::{Advance, Swap},
    upload::{BlobKey, Gone, Kind, Name, Phase, Upload},
};

/// Concatenations of up to so many bytes are done before the request is answered.
const AT_ONCE: u64 = 64 * 1024 * 1024;
/// For how long the answer waits for them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Concatenations that are assembled at the same time.
pub(super) const ASSEMBLIES: usize = 2;

impl Engine {
    /// Begin a final upload of these parts; small ones are complete on return.
    ///
    /// # Errors
    /// `BadPart` for one that is not a partial upload of the same owner, `TooLarge`, `StorageFull`, or a fault.
    pub async fn concatenate(&self, order: Order, parts: Vec<Name>) -> Result<Upload, Error> {
        let found = self.parts_of(&parts).await?;
        for (index, name) in parts.iter().enumerate() {
            let usable = found.get(name).is_some_and(|part| {
                part.kind == Kind::Partial
                    && part.about.owner == order.about.owner
                    && matches!(part.phase, Phase::Receiving | Phase::Complete)
            });
            if !usable {
                return Err(Refusal::BadPart { index }.into());
            }
        }
        // [TUS-81] the length of the final is the sum of its parts', once each is known
        let length = parts.iter().try_fold(0u64, |sum, name| sum.checked_add(found.get(name)?.length?));
        let limits = self.limits();
        if length.is_some_and(|length| length > limits.max_size) {
            return Err(Refusal::TooLarge { limit: limits.max_size }.into());
        }
        let is_ready = found.values().all(|part| part.phase == Phase::Complete);
        // [ENG-62] room is promised to it before its row exists
        let booking = match length {
            Some(length) if is_ready => Some(self.book(length)?),
            Some(_) | None => None,
        };
        let upload = self.fresh(order.name, length, Kind::Final(parts), order.about);
        if self.parts.ledger.record(upload.clone()).await? == Swap::Fenced {
            return Err(Refusal::Complete.into());
        }
        self.parts.metrics.upload_started(order.dialect);
        // A part may have become complete between the look and the row; so ask again, whatever was seen.
        let (engine, name) = (self.clone(), upload.name.clone());
        let assembly = self.appends.spawn(async move { engine.assemble_and_log(&name, booking).await });
        // [ENG-63] the task goes on when this request is cancelled
        if is_ready
            && length.is_some_and(|length| length <= AT_ONCE)
            && let Ok(Ok(assembled)) = timeout(PATIENCE, assembly).await
        {
            assembled?;
            let row = self.parts.ledger.find(&upload.name).await?.ok_or(Refusal::Unknown)?;
            return match row.phase {
                Phase::Gone(why) => Err(Refusal::Gone(why).into()),
                Phase::Receiving | Phase::Complete => Ok(row),
            };
        }
        Ok(upload)
    }

    /// Whether so many parts may be joined.
    ///
    /// # Errors
    /// `TooManyParts`.
    pub fn may_join(&self, parts: usize) -> Result<(), Refusal> {
        // [ENG-69]
        let limit = self.settings.max_parts;
        if parts > limit { Err(Refusal::TooManyParts { limit }) } else { Ok(()) }
    }

    fn book(&self, bytes: u64) -> Result<Booking, Error> {
        self.parts.blobs.book(bytes).map_err(|fault| full_or(fault, &self.parts.metrics))
    }

    /// The complete length of a concatenation, as soon as every part has one.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn length_of_parts(&self, upload: &Upload) -> Result<Option<u64>, Error> {
        let Kind::Final(names) = &upload.kind else { return Ok(upload.length) };
        let found = self.parts_of(names).await?;
        Ok(names.iter().try_fold(0u64, |sum, name| sum.checked_add(found.get(name)?.length?)))
    }

    async fn parts_of(&self, parts: &[Name]) -> Result<HashMap<Name, Upload>, Fault> {
        let rows = self.parts.ledger.find_all(parts).await?;
        Ok(rows.into_iter().map(|row| (row.name.clone(), row)).collect())
    }

    /// A part has become complete: the finals that wait for it may be ready.
    pub(super) fn assemble_finals_of(&self, part: &Name) {
        let (engine, part) = (self.clone(), part.clone());
        self.appends.spawn(async move {
            match engine.parts.ledger.pending_finals(&part).await {
                Ok(finals) => {
                    for upload in finals {
                        engine.assemble_in_background(upload);
                    }
                }
                Err(fault) => tracing::error!(%fault, "looking for concatenations of a part"),
            }
        });
    }

    pub(super) fn assemble_in_background(&self, upload: Upload) {
        let engine = self.clone();
        self.appends.spawn(async move { engine.assemble_and_log(&upload.name, None).await });
    }

    async fn assemble_and_log(&self, name: &Name, booking: Option<Booking>) -> Result<(), Error> {
        let assembled = self.assemble(name, booking).await;
        match &assembled {
            Ok(()) | Err(Error::Refused(Refusal::Superseded { .. })) => {}
            Err(Error::Refused(why)) => tracing::warn!(%why, "a concatenation was given up"),
            Err(Error::Fault(fault)) if fault.lost => {
                tracing::error!(%fault, "a concatenation was given up: the bytes of a part are missing");
            }
            Err(Error::Fault(fault)) => {
                tracing::error!(%fault, "a concatenation failed; it is tried again at the next start");
            }
        }
        assembled
    }

    /// What a final is to be made of; `None` while it waits for a part, or when it is no final at work.
    async fn pieces_of(&self, upload: &Upload) -> Result<Option<Vec<(BlobKey, u64)>>, Error> {
        let (Kind::Final(names), Phase::Receiving) = (&upload.kind, upload.phase) else { return Ok(None) };
        let found = self.parts_of(names).await?;
        let mut pieces = Vec::with_capacity(names.len());
        for name in names {
            match found.get(name).map(|part| (part, part.phase)) {
                Some((part, Phase::Complete)) => pieces.push((part.blob.clone(), part.offset.0)),
                Some((_, Phase::Receiving)) => return Ok(None),
                Some((_, Phase::Gone(_))) | None => {
                    tracing::info!(
                        upload = upload.id.0,
                        "a part of a concatenation is gone, and so it is too"
                    );
                    self.remove(upload, Gone::Expired).await?;
                    return Ok(None);
                }
            }
        }
        let total = pieces.iter().try_fold(0u64, |sum, (_, length)| sum.checked_add(*length));
        if total.is_none_or(|total| total > self.settings.max_size) {
            self.remove(upload, Gone::Expired).await?;
            return Ok(None);
        }
        Ok(Some(pieces))
    }

    async fn find_pieces(&self, name: &Name) -> Result<Option<(Upload, Vec<(BlobKey, u64)>)>, Error> {
        let Some(upload) = self.parts.ledger.find(name).await? else { return Ok(None) };
        Ok(self.pieces_of(&upload).await?.map(|pieces| (upload, pieces)))
    }

    /// Concatenate if every part is complete; otherwise leave the final as it is.
    async fn assemble(&self, name: &Name, booking: Option<Booking>) -> Result<(), Error> {
        if self.find_pieces(name).await?.is_none() {
            return Ok(());
        }
        // [ENG-62] at most so many at once; who waits holds no lease, and can be deleted
        let _turn = tokio::select! {
            turn = Arc::clone(&self.assemblies).acquire_owned() => turn,
            () = self.stopping.cancelled() => return Ok(()),
        };
        let mut lease = self.lease(name).await?;
        // [ENG-63] there is nothing to checkpoint, and whoever asks for it is answered at once
        lease.checkpoints.close();
        let Some((mut upload, pieces)) = self.find_pieces(name).await? else { return Ok(()) };
        if self.parts.ledger.fence(&upload.name, upload.generation, upload.offset).await? == Swap::Fenced {
            return Ok(());
        }
        upload.generation = upload.generation.next();
        self.live(|live| {
            live.insert(upload.blob.clone());
        });
        let made = self.copy(&upload, &pieces, booking, &lease).await;
        let ended = self.end_assembly(upload, made).await;
        drop(lease);
        ended
    }

    /// Copy the pieces into the blob of a final; `None` when it was told to stop.
    async fn copy(
        &self,
        upload: &Upload,
        pieces: &[(BlobKey, u64)],
        booking: Option<Booking>,
        lease: &Lease,
    ) -> Result<Option<Durable>, Fault> {
        let booking = match booking {
            Some(booking) => booking,
            None => self.parts.blobs.book(pieces.iter().map(|(_, length)| length).sum())?,
        };
        // A server that stops does not wait for it, and neither does a DELETE.
        let stop = self.stopping.child_token();
        let copying = self.parts.blobs.concatenate(&upload.blob, pieces, booking, &stop);
        tokio::pin!(copying);
        let copied = tokio::select! {
            copied = &mut copying => copied,
            () = lease.ended() => {
                stop.cancel();
                copying.await
            }
        };
        match copied {
            Err(fault) if stop.is_cancelled() && !fault.full && !fault.lost => Ok(None),
            copied => copied.map(Some),
        }
    }

    /// Commit what was made, or free what it took.
    async fn end_assembly(&self, upload: Upload, made: Result<Option<Durable>, Fault>) -> Result<(), Error> {
        let ended = match made {
            Ok(Some(durable)) => self.complete_final(&upload, durable).await,
            // Taken up again at the next start, or deleted by whoever stopped it.
            Ok(None) => Ok(()),
            // [ENG-62] what cannot be made is not tried for ever
            Err(fault) if fault.full || fault.lost => {
                let given_up = self.remove(&upload, Gone::Expired).await;
                given_up.and_then(|_| Err(full_or(fault, &self.parts.metrics)))
            }
            Err(fault) => Err(fault.into()),
        };
        self.live(|live| {
            live.remove(&upload.blob);
        });
        ended
    }

    async fn complete_final(&self, upload: &Upload, durable: Durable) -> Result<(), Error> {
        let now = self.now();
        let complete = Advance {
            name: upload.name.clone(),
            generation: upload.generation,
            offset: durable.offset,
            length: Some(durable.offset.0),
            phase: Phase::Complete,
            blob: upload.blob.clone(),
            blob_state: durable.state,
            content_type: None,
            at: now,
            expires_at: upload.about.retain_until,
        };
        if self.parts.ledger.advance(complete).await? == Swap::Fenced {
            // It was deleted meanwhile, and its bytes with it.
            self.discard(&upload.blob).await;
        }
        Ok(())
    }
}
