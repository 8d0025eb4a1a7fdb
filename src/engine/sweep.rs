//! Removes what has had its time: incomplete uploads without progress, complete ones past their retention, tombstones
//! of names that nobody can use again, and blobs that no row refers to.
//!
//! Between the look at a row and its removal a writer may commit and let go. So each removal is a compare-and-set: the
//! row must still be due, in the phase and of the generation that was seen.

use std::collections::HashSet;

use futures_util::{StreamExt, future::join_all, stream};

use super::{Engine, Error};
use crate::{
    ledger::{Due, Extent, Swap},
    upload::{BlobKey, Gone, Phase, Upload, UploadId},
};

/// Rows of one round: their removals share a commit, and uploads wait behind it for some milliseconds.
const ROUND: u32 = 128;
/// Blobs that are deleted at the same time.
const DELETIONS: usize = 4;
/// Keys of one question for orphans.
const KEYS: usize = 500;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Incomplete uploads that expired.
    pub expired: u64,
    /// Complete uploads that retention removed.
    pub retired: u64,
    /// Tombstones that were deleted.
    pub forgotten: u64,
    /// Which uploads were removed, and why.
    pub removed: Vec<(UploadId, Gone)>,
}

impl Engine {
    /// [ENG-15] remove every upload that is due now
    ///
    /// # Errors
    /// A fault of the ledger; what was removed stays removed.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let now = self.now();
        let retired = self.settings.retention.map(|age| Due::Retired(now.minus(age)));
        for due in [Some(Due::Expired(now)), retired].into_iter().flatten() {
            let outcome = self.sweep_due(due, &mut swept).await;
            if outcome.is_err() {
                self.parts.metrics.expired(swept.expired);
                outcome?;
            }
        }
        self.parts.metrics.expired(swept.expired);
        // [ENG-87] a name that we made up is never asked for again by chance
        loop {
            match self.parts.ledger.forget(now, ROUND).await? {
                0 => return Ok(swept),
                forgotten => swept.forgotten += forgotten,
            }
        }
    }

    /// [ENG-82] What the next sweep removes because of the server's retention.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn retired(&self) -> Result<Extent, Error> {
        match self.settings.retention {
            Some(age) => Ok(self.parts.ledger.completed(None, self.now().minus(age)).await?),
            None => Ok(Extent::default()),
        }
    }

    async fn sweep_due(&self, due: Due, swept: &mut Swept) -> Result<(), Error> {
        // Rows that stay, because a writer is at work on them or changed them meanwhile.
        let mut left = 0;
        loop {
            let page = self.parts.ledger.due(due, left, ROUND).await?;
            if page.is_empty() || self.stopping.is_cancelled() {
                return Ok(());
            }
            let seen = u32::try_from(page.len()).unwrap_or(ROUND);
            // A writer at work renews the expiry with its next commit.
            let idle = page.iter().filter(|upload| self.parts.leases.holder(&upload.name).is_none());
            // [ENG-84] removed together, in one commit
            let removals = idle.map(|upload| async move { (upload, self.sweep_one(upload, due).await) });
            let mut removed: Vec<&Upload> = Vec::new();
            let mut fault = None;
            for (upload, outcome) in join_all(removals).await {
                match outcome {
                    Ok(Swap::Done) => removed.push(upload),
                    Ok(Swap::Fenced) => {}
                    Err(error) => fault = Some(error),
                }
            }
            stream::iter(&removed).for_each_concurrent(DELETIONS, |upload| self.discard(&upload.blob)).await;
            for upload in &removed {
                let why = why(upload);
                match why {
                    Gone::Expired => swept.expired += 1,
                    Gone::Retention | Gone::Deleted => swept.retired += 1,
                }
                swept.removed.push((upload.id.clone(), why));
            }
            if let Some(error) = fault {
                return Err(error);
            }
            left += seen - u32::try_from(removed.len()).unwrap_or(seen).min(seen);
        }
    }

    async fn sweep_one(&self, upload: &Upload, due: Due) -> Result<Swap, Error> {
        let swap = self.parts.ledger.tombstone(self.removal(upload, why(upload), Some(due))).await?;
        if swap == Swap::Done {
            self.parts.metrics.removed(why(upload).word(), 1);
        }
        Ok(swap)
    }

    /// [ENG-14] set aside blobs that neither a row nor a writer at work refers to, once they are a day old; returns how many
    ///
    /// # Errors
    /// A fault of the ledger or the store.
    pub async fn sweep_orphans(&self) -> Result<u64, Error> {
        let purged = self.parts.blobs.purge().await?;
        if purged > 0 {
            tracing::info!(purged, "deleted orphaned blobs that were set aside a week ago");
        }
        let mut moved = 0;
        for page in 0..self.parts.blobs.pages() {
            let listed = self.parts.blobs.keys(page).await?;
            // Asked in this order: a writer that ends in between has committed before it is no longer live.
            let idle: Vec<BlobKey> = listed.into_iter().filter(|key| !self.is_live(key)).collect();
            for some in idle.chunks(KEYS) {
                let referenced: HashSet<BlobKey> =
                    self.parts.ledger.referenced(some).await?.into_iter().collect();
                for orphan in some.iter().filter(|key| !referenced.contains(*key)) {
                    if self.parts.blobs.set_aside(orphan).await? {
                        moved += 1;
                        tracing::warn!(
                            blob = orphan.0,
                            "no upload refers to this blob: moved to orphans/, and deleted in a week"
                        );
                    }
                }
            }
        }
        Ok(moved)
    }
}

/// Why the sweeper removes an upload.
fn why(upload: &Upload) -> Gone {
    if upload.phase == Phase::Complete { Gone::Retention } else { Gone::Expired }
}
