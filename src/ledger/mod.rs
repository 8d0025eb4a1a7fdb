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

    /// Turn a row whose generation is still `seen` into a tombstone and fence its writer. Its bytes may be
    /// deleted afterwards.
    async fn bury(&self, name: &Name, seen: Generation, why: Gone, at: Timestamp) -> Result<Swap, Fault>;

    /// Rows that are not yet gone and whose `expires_at` has come, oldest first, at most `limit`.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, Fault>;

    /// Receiving rows in the order of their names, after `after`; a page of at most `limit`. For recovery.
    async fn receiving(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Upload>, Fault>;

    /// Concatenations that are not done yet: all of them, or those that a partial upload is part of.
    async fn pending_finals(&self, part: Option<&Name>) -> Result<Vec<Upload>, Fault>;

    /// The rows of these names, in any order; names without one are left out.
    async fn find_all(&self, names: &[Name]) -> Result<Vec<Upload>, Fault>;

    /// Which of these blobs belong to a row that is not gone.
    async fn referenced(&self, blobs: &[BlobKey]) -> Result<Vec<BlobKey>, Fault>;

    /// Answers when the ledger can be read and written; for `/readyz`.
    async fn ping(&self) -> Result<(), Fault>;

    /// Finish what is queued and close the files.
    async fn close(&self);
}
