//! After a start: what the ledger counts is compared with what storage holds.
//!
//! A clean order of sync and commit leaves nothing to mend but torn tails, which the next append cuts off. The
//! ledger can be ahead of the bytes only after a power cut under `durability = "relaxed"`, or when somebody
//! removed files; the offset is then lowered to what is there.

use super::{Engine, Error};
use crate::{
    blobs::Durable,
    id,
    ledger::{Advance, Swap},
    upload::{BlobKey, Kind, Offset, Phase, Upload},
};

/// Rows of one page.
const PAGE: u32 = 500;

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Incomplete uploads that can go on.
    pub receiving: u64,
    /// Of these, how many had their offset lowered.
    pub lowered: u64,
}

impl Engine {
    /// Check every incomplete upload against storage. Run before the first request is taken.
    ///
    /// # Errors
    /// A fault of the ledger or the store.
    pub async fn recover(&self) -> Result<Recovered, Error> {
        let mut found = Recovered::default();
        let mut after = None;
        loop {
            let page = self.parts.ledger.receiving(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.name.clone());
            for upload in page {
                found.receiving += 1;
                if let Kind::Final(_) = upload.kind {
                    self.assemble_in_background(upload);
                    continue;
                }
                if self.mend(&upload).await? {
                    found.lowered += 1;
                }
            }
        }
    }

    /// [ENG-17] the ledger's offset never exceeds the bytes ([ENG-2]); where it does, it is lowered
    async fn mend(&self, upload: &Upload) -> Result<bool, Error> {
        if upload.offset == Offset::ZERO {
            return Ok(false);
        }
        let held = self.parts.blobs.durable_length(&upload.blob, &upload.blob_state).await?;
        if held.is_some_and(|held| held >= upload.offset.0) {
            return Ok(false);
        }
        tracing::error!(
            upload = upload.id.0,
            counted = upload.offset.0,
            held,
            "storage holds fewer bytes than the ledger counts; the upload goes on from what is there"
        );
        let (blob, durable) = match held {
            Some(held) => {
                (upload.blob.clone(), Durable { offset: Offset(held), state: upload.blob_state.clone() })
            }
            None => {
                let blob = BlobKey(id::random_hex_128());
                let mut writer = self.parts.blobs.create(&blob, None).await?;
                let durable = writer.checkpoint().await?.await?;
                (blob, durable)
            }
        };
        if self.parts.ledger.fence(&upload.name, upload.generation, upload.offset).await? == Swap::Fenced {
            return Ok(false);
        }
        let lowered = Advance {
            name: upload.name.clone(),
            generation: upload.generation.next(),
            offset: durable.offset,
            length: upload.length,
            phase: Phase::Receiving,
            blob,
            blob_state: durable.state,
            content_type: None,
            at: self.now(),
            expires_at: upload.expires_at,
        };
        Ok(self.parts.ledger.advance(lowered).await? == Swap::Done)
    }
}
