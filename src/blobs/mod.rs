//! The bytes. A store knows keys and offsets and nothing of uploads.
//!
//! A writer appends at a known offset and makes what it has durable with [`BlobWriter::checkpoint`], which
//! returns the durable offset and the store's own state for it. The ledger commits both together, and only that
//! pair is ever given back to [`Blobs::resume`]: whatever lies behind it in storage is a torn tail and is cut off.
//! Rejected: appending at end-of-file. After a crash the file may be longer than what was acknowledged, and the
//! client, told the acknowledged offset, would write its bytes behind the tail.

pub mod adaptive;
mod ahead;
pub mod disk;
pub mod identity;
mod join;
mod orphans;
pub mod space;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::Fault,
    upload::{BlobKey, BlobState, Offset},
};

/// Bytes below `offset` are durable; `state` lets the store go on there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Bytes from the beginning of the blob.
    pub offset: Offset,
    /// Opaque to everyone but the store.
    pub state: BlobState,
}

pub use space::Booking;

/// A store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + std::fmt::Debug {
    /// Begin a blob. `length` is where this writer is expected to end, in bytes from the blob's beginning: a hint for
    /// allocation.
    async fn create(&self, key: &BlobKey, length: Option<u64>) -> Result<Box<dyn BlobWriter>, Fault>;

    /// Go on at a committed offset; bytes behind it are cut off first. A fault that is `lost` when the blob is missing
    /// or holds fewer.
    async fn resume(
        &self,
        key: &BlobKey,
        at: &Durable,
        length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, Fault>;

    /// Promise room for a concatenation of this many bytes; a fault that is `full` where there is none.
    fn book(&self, bytes: u64) -> Result<Booking, Fault>;

    /// Make a durable blob of others, whole, in this order: `(key, length)`. Without copying where the store can. It
    /// looks at `stop` between pieces; whatever ends it early, a full store included, leaves no blob.
    async fn concatenate(
        &self,
        key: &BlobKey,
        parts: &[(BlobKey, u64)],
        booking: Booking,
        stop: &CancellationToken,
    ) -> Result<Durable, Fault>;

    /// The bytes of `range`, in pieces. A fault that is `lost` where the blob is missing or ends before.
    async fn read(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault>;

    /// How many bytes of the blob could be resumed after a crash, at most; `None` when there is no such blob.
    async fn durable_length(&self, key: &BlobKey, state: &BlobState) -> Result<Option<u64>, Fault>;

    /// Remove a blob; removing one that is not there is no error.
    async fn delete(&self, key: &BlobKey) -> Result<(), Fault>;

    /// Move a blob that nothing refers to out of the way, for as long as the store keeps such blobs; `false` when it is too
    /// young to be taken for an orphan.
    async fn set_aside(&self, key: &BlobKey) -> Result<bool, Fault> {
        self.delete(key).await.map(|()| true)
    }

    /// Delete what was set aside long ago; how many.
    async fn purge(&self) -> Result<u64, Fault> {
        Ok(0)
    }

    /// One page of the keys in the store, from `page` 0 up to [`Blobs::pages`]. For finding orphans.
    async fn keys(&self, page: u32) -> Result<Vec<BlobKey>, Fault>;

    /// How many pages [`Blobs::keys`] has.
    fn pages(&self) -> u32;

    /// [ENG-42] Whether the store is there, for `/readyz`: where its blobs are, and the same store as at the start.
    async fn ready(&self) -> Result<(), Fault>;

    /// Bytes that may still be written before the disk reserve is touched; `None` where a store has no end.
    fn room(&self) -> Option<u64>;
}

/// The one writer of a blob.
#[async_trait]
pub trait BlobWriter: Send {
    /// Append; returns when the bytes are in the store's hands (not yet durable). Where the store has room for a part
    /// of them only, that part is taken and the fault says that it is full.
    async fn write(&mut self, data: Bytes) -> Result<(), Fault>;

    /// Start to make durable what was written so far. The future does not borrow the writer: more may be
    /// written while it runs.
    async fn checkpoint(&mut self) -> Result<BoxFuture<'static, Result<Durable, Fault>>, Fault>;

    /// Give back space that was reserved for bytes which will not come now. More may be written afterwards.
    async fn release(&mut self);
}
