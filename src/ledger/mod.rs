//! The one offset ledger: which uploads exist, how many bytes of each are durable, who may write next.
//!
//! Durable bytes >= ledger offset, always: a writer makes bytes durable first and then calls [`Ledger::advance`].
//! Every change of an existing row is a compare-and-set on its generation, so that a writer which was fenced
//! changes nothing, whichever node it lives on. Rejected: a lock in the database for the time of an upload; it
//! would outlive a dead node, and a phone that left the WiFi would have to wait for it.

pub mod sqlite;

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    fault::Fault,
    upload::{BlobKey, BlobState, Generation, Gone, Name, Offset, Phase, Upload},
};

/// Progress of a writer, ready to be committed: the bytes below `offset` are durable.
#[derive(Clone, Debug)]
pub struct Advance {
    /// Which upload.
    pub name: Name,
    /// The writer's generation; an older one than the row's changes nothing.
    pub generation: Generation,
    /// The new offset.
    pub offset: Offset,
    /// The complete length, once known.
    pub length: Option<u64>,
    /// `Receiving` or `Complete`.
    pub phase: Phase,
    /// Where the bytes are; differs from the row's after a restart.
    pub blob: BlobKey,
    /// The store's state at `offset`.
    pub blob_state: BlobState,
    /// The media type, when the restart named another.
    pub content_type: Option<String>,
    /// Now.
    pub at: Timestamp,
    /// The new expiry.
    pub expires_at: Option<Timestamp>,
}

/// What makes an upload due for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its `expires_at` is this moment or an earlier one.
    Expired(Timestamp),
    /// It was completed at this moment or earlier, and retention ends.
    Retired(Timestamp),
}

impl Due {
    /// Whether a row is due in this way.
    #[must_use]
    pub fn covers(self, upload: &Upload) -> bool {
        match (self, upload.phase) {
            (Self::Expired(by), Phase::Receiving | Phase::Complete) => {
                upload.expires_at.is_some_and(|at| at <= by)
            }
            (Self::Retired(by), Phase::Complete) => upload.completed_at.is_some_and(|at| at <= by),
            (Self::Expired(_) | Self::Retired(_), _) => false,
        }
    }
}

/// A removal: what the row must still be, and what the tombstone says.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which upload.
    pub name: Name,
    /// The generation that was seen.
    pub generation: Generation,
    /// The phase that was seen: `Receiving` or `Complete`.
    pub phase: Phase,
    /// The row must still be due in this way; `None` where somebody asked for the removal.
    pub due: Option<Due>,
    /// Why it goes.
    pub why: Gone,
    /// Now.
    pub at: Timestamp,
    /// When [`Ledger::forget`] may delete the tombstone; `None`: never.
    pub forget_at: Option<Timestamp>,
}

/// How much of the store something concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many uploads.
    pub uploads: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// Whether a compare-and-set took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swap {
    /// The row was as expected and is changed.
    Done,
    /// A newer generation holds the row, it is in another phase, or (for [`Ledger::record`]) the name is
    /// taken. Nothing changed.
    Fenced,
}

/// The ledger's contract. `tests/ledger_contract.rs` holds the cases every implementation must pass.
#[async_trait]
pub trait Ledger: Send + Sync + std::fmt::Debug {
    /// The row of a name, as last committed.
    async fn find(&self, name: &Name) -> Result<Option<Upload>, Fault>;

    /// Write a new row; `Fenced` when the name exists in any phase.
    async fn record(&self, upload: Upload) -> Result<Swap, Fault>;

    /// Take the next generation of a receiving upload whose generation and offset are still those that were seen.
    /// The offset counts because a writer on another node may commit between the look and the fence.
    async fn fence(&self, name: &Name, seen: Generation, held: Offset) -> Result<Swap, Fault>;

    /// Commit a writer's progress.
    async fn advance(&self, progress: Advance) -> Result<Swap, Fault>;

    /// Turn a row that is still as it was seen, and still due where that is asked, into a tombstone, and fence its
    /// writer. The tombstone keeps name, id, sizes and times, and nothing that a client said of the upload. The bytes
    /// may be deleted afterwards.
    async fn tombstone(&self, removal: Removal) -> Result<Swap, Fault>;

    /// Delete tombstones whose `forget_at` has come, at most `limit`; how many.
    async fn forget(&self, now: Timestamp, limit: u32) -> Result<u64, Fault>;

    /// Rows that are due, oldest first: at most `limit` behind the first `skip`.
    async fn due(&self, due: Due, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault>;

    /// Complete uploads that were completed later than `after` and not later than `by`.
    async fn completed(&self, after: Option<Timestamp>, by: Timestamp) -> Result<Extent, Fault>;

    /// Complete rows in the order of their completion: at most `limit` behind the first `skip` of those that were
    /// completed at `since` or later.
    async fn completed_since(&self, since: Timestamp, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault>;

    /// Receiving rows in the order of their names, after `after`; a page of at most `limit`. For recovery.
    async fn receiving(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Upload>, Fault>;

    /// Incomplete concatenations that have this part, and of whose parts none is receiving any more.
    async fn pending_finals(&self, part: &Name) -> Result<Vec<Upload>, Fault>;

    /// What an earlier run noted under this key.
    async fn note(&self, key: &str) -> Result<Option<String>, Fault>;

    /// Note something for the next run, in place of what was noted under this key.
    async fn take_note(&self, key: &str, value: &str) -> Result<(), Fault>;

    /// The rows of these names, in any order; names without one are left out.
    async fn find_all(&self, names: &[Name]) -> Result<Vec<Upload>, Fault>;

    /// Which of these blobs belong to a row that is not gone.
    async fn referenced(&self, blobs: &[BlobKey]) -> Result<Vec<BlobKey>, Fault>;

    /// Answers when the ledger can be read and written; for `/readyz`.
    async fn ping(&self) -> Result<(), Fault>;

    /// Finish what is queued and close the files.
    async fn close(&self);
}
