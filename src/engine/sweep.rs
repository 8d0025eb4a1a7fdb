//! Removes what has had its time: incomplete uploads without progress, complete ones past their retention, and
//! blobs that no row refers to.

use std::collections::HashSet;

use super::{Engine, Error};
use crate::upload::{BlobKey, Gone, Phase, UploadId};

/// Rows of one round.
const ROUND: u32 = 500;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Incomplete uploads that expired.
    pub expired: u64,
    /// Complete uploads that retention removed.
    pub retired: u64,
    /// Which, and why.
    pub removed: Vec<(UploadId, Gone)>,
}

impl Engine {
    /// [ENG-15] remove every upload that is due now
    ///
    /// # Errors
    /// A fault of the ledger; what was removed stays removed.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        loop {
            let due = self.parts.ledger.due(self.now(), ROUND).await?;
            let mut moved = false;
            for upload in due {
                // A writer at work renews the expiry with its next commit.
                if self.parts.leases.holder(&upload.name).is_some() {
                    continue;
                }
                let (why, count) = match upload.phase {
                    Phase::Receiving => (Gone::Expired, &mut swept.expired),
                    Phase::Complete => (Gone::Retention, &mut swept.retired),
                    Phase::Gone(_) => continue,
                };
                if self.bury(&upload, why).await? {
                    *count += 1;
                    swept.removed.push((upload.id.clone(), why));
                    moved = true;
                }
            }
            if !moved {
                self.parts.metrics.expired(swept.expired);
                return Ok(swept);
            }
        }
    }

    /// [ENG-14] delete blobs that neither a row nor a writer at work refers to; returns how many
    ///
    /// # Errors
    /// A fault of the ledger or the store.
    pub async fn sweep_orphans(&self) -> Result<u64, Error> {
        let mut deleted = 0;
        for page in 0..self.parts.blobs.pages() {
            let listed = self.parts.blobs.keys(page).await?;
            // Asked in this order: a writer that ends in between has committed before it is no longer live.
            let idle: Vec<BlobKey> = listed.into_iter().filter(|key| !self.is_live(key)).collect();
            for some in idle.chunks(ROUND as usize) {
                let referenced: HashSet<BlobKey> =
                    self.parts.ledger.referenced(some).await?.into_iter().collect();
                for orphan in some.iter().filter(|key| !referenced.contains(*key)) {
                    self.parts.blobs.delete(orphan).await?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }
}
