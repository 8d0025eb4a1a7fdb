//! Concatenation: a final upload made of partial ones, without a byte going through a client again.
//!
//! ```text
//!   POST final ──> row (receiving, kind final) ──> all parts complete? ──> assemble ──> complete
//!                                                        └─ no: the part that completes last calls for it
//! ```
//!
//! The row is written first, so that a crash in the middle is taken up again by recovery, and HEAD can tell the truth
//! before, during and after. Parts are only read: one may serve many finals, or one of them many times.

use std::collections::HashMap;

use super::{Engine, Error, Order, Refusal};
use crate::{
    fault::Fault,
    ledger::{Advance, Swap},
    upload::{Gone, Kind, Name, Phase, Upload},
};

/// Concatenations of up to so many bytes are done before the request is answered.
const AT_ONCE: u64 = 64 * 1024 * 1024;

impl Engine {
    /// Begin a final upload of these parts; small ones are complete on return.
    ///
    /// # Errors
    /// `BadPart` for one that is not a partial upload of the same owner, `TooLarge`, or a fault.
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
        if limits.room.zip(length).is_some_and(|(room, length)| room < length) {
            return Err(Refusal::StorageFull.into());
        }
        let upload = self.fresh(order.name, length, Kind::Final(parts), order.about);
        if self.parts.ledger.record(upload.clone()).await? == Swap::Fenced {
            return Err(Refusal::Complete.into());
        }
        self.parts.metrics.upload_started(order.dialect);
        let is_ready = found.values().all(|part| part.phase == Phase::Complete);
        if is_ready && length.is_some_and(|length| length <= AT_ONCE) {
            let name = upload.name.clone();
            self.assemble(upload).await?;
            return Ok(self.parts.ledger.find(&name).await?.ok_or(Refusal::Unknown)?);
        }
        // A part may have become complete between the look and the row; so ask again, whatever was seen.
        self.assemble_in_background(upload.clone());
        Ok(upload)
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
                        engine.assemble_and_log(upload).await;
                    }
                }
                Err(fault) => tracing::error!(%fault, "looking for concatenations of a part"),
            }
        });
    }

    pub(super) fn assemble_in_background(&self, upload: Upload) {
        let engine = self.clone();
        self.appends.spawn(async move { engine.assemble_and_log(upload).await });
    }

    async fn assemble_and_log(&self, upload: Upload) {
        let id = upload.id.0.clone();
        if let Err(error) = self.assemble(upload).await {
            tracing::error!(upload = id, %error, "a concatenation failed; it is tried again at the next start");
        }
    }

    /// Concatenate if every part is complete; otherwise leave the final as it is.
    async fn assemble(&self, upload: Upload) -> Result<(), Error> {
        let lease = self.lease(&upload.name).await?;
        let Some(upload) = self.parts.ledger.find(&upload.name).await? else { return Ok(()) };
        let (Kind::Final(names), Phase::Receiving) = (&upload.kind, upload.phase) else { return Ok(()) };
        let found = self.parts_of(names).await?;
        let mut pieces = Vec::with_capacity(names.len());
        for name in names {
            match found.get(name).map(|part| (part, part.phase)) {
                Some((part, Phase::Complete)) => pieces.push((part.blob.clone(), part.offset.0)),
                Some((_, Phase::Receiving)) => return Ok(()),
                Some((_, Phase::Gone(_))) | None => {
                    tracing::info!(
                        upload = upload.id.0,
                        "a part of a concatenation is gone, and so it is too"
                    );
                    self.remove(&upload, Gone::Expired).await?;
                    return Ok(());
                }
            }
        }
        let total: u64 = pieces.iter().map(|(_, length)| length).sum();
        if total > self.settings.max_size {
            self.remove(&upload, Gone::Expired).await?;
            return Ok(());
        }
        if self.parts.ledger.fence(&upload.name, upload.generation, upload.offset).await? == Swap::Fenced {
            return Ok(());
        }
        self.live(|live| {
            live.insert(upload.blob.clone());
        });
        let durable = self.parts.blobs.concatenate(&upload.blob, &pieces).await;
        let committed = match durable {
            Ok(durable) => {
                let now = self.now();
                let complete = Advance {
                    name: upload.name.clone(),
                    generation: upload.generation.next(),
                    offset: durable.offset,
                    length: Some(total),
                    phase: Phase::Complete,
                    blob: upload.blob.clone(),
                    blob_state: durable.state,
                    content_type: None,
                    at: now,
                    expires_at: upload.about.retain_until,
                };
                self.parts.ledger.advance(complete).await
            }
            Err(fault) => Err(fault),
        };
        self.live(|live| {
            live.remove(&upload.blob);
        });
        drop(lease);
        if committed? == Swap::Fenced {
            // It was deleted meanwhile, and its bytes with it.
            self.discard(&upload.blob).await;
        }
        Ok(())
    }
}
