//! Space for the bytes of one writer, claimed and allocated ahead of them.
//!
//! Allocating keeps the extents of a large file together and makes its writes cheaper. It goes in steps that grow with
//! what has arrived, so that a client that announces a gigabyte and sends a byte holds [`FIRST_STEP`] of the disk.
//! Rejected: allocating the announced length at once. A failed allocation keeps the blocks that it found, and six
//! silent clients hold a disk.

use std::{fs::File, io, sync::Arc};

use super::space::Claim;

/// Less than this is not worth an allocation call.
const ALLOCATE_FROM: u64 = 1024 * 1024;
/// The first step, and the least that a writer is ahead.
const FIRST_STEP: u64 = 1024 * 1024;
/// The largest step.
const LAST_STEP: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Ahead {
    file: Arc<File>,
    claim: Claim,
    /// Where the writer ends, as far as it is known.
    expected: Option<u64>,
    /// Whether space is allocated; not any more after a failure.
    allocates: bool,
    began: u64,
    /// Bytes of the file that are claimed or on the disk.
    paid_to: u64,
    /// Bytes of the file that are written or allocated.
    spent_to: u64,
    /// Bytes of the file that are allocated; 0 when none are.
    allocated_to: u64,
}

impl Ahead {
    /// Of a writer that begins at `at`. `expected` is where it ends; without it nothing is allocated.
    pub(super) fn new(file: Arc<File>, claim: Claim, at: u64, expected: Option<u64>) -> Self {
        let allocates = expected.is_some();
        Self { file, claim, expected, allocates, began: at, paid_to: at, spent_to: at, allocated_to: 0 }
    }

    /// Claim `size` bytes at `at`, and the step that they begin; returns for how many of them there is room.
    /// `written` is where the bytes end that the kernel has, `apart` whether the disk may stall.
    pub(super) async fn claim(&mut self, at: u64, size: u64, written: u64, apart: bool) -> u64 {
        let end = at.saturating_add(size);
        if end > self.paid_to {
            let step = at.saturating_sub(self.began).clamp(FIRST_STEP, LAST_STEP);
            let goal = self.expected.map_or(end, |length| length.min(self.paid_to.saturating_add(step)));
            // [ENG-60] no more than there is room for
            let granted = self.claim.add(goal.max(end) - self.paid_to);
            self.paid_to += granted;
            if self.allocates && self.paid_to - self.spent_to >= ALLOCATE_FROM {
                self.allocate(written, apart).await;
            }
        }
        size.min(self.paid_to.saturating_sub(at))
    }

    /// Note that the kernel has every byte below `end`.
    pub(super) fn written(&mut self, end: u64) {
        if end > self.spent_to {
            self.claim.spend(end - self.spent_to);
            self.spent_to = end;
        }
    }

    /// Allocate what is claimed. A file system that cannot, or that is full, is left alone from then on: the writes
    /// themselves say what is wrong.
    async fn allocate(&mut self, written: u64, apart: bool) {
        let (file, from, size) = (Arc::clone(&self.file), self.spent_to, self.paid_to - self.spent_to);
        let work = move || allocate(&file, from, size, written);
        let done = if apart {
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)))
        } else {
            work()
        };
        match done {
            Ok(()) => {
                self.claim.spend(size);
                self.spent_to = self.paid_to;
                self.allocated_to = self.paid_to;
            }
            Err(cause) => {
                tracing::debug!(%cause, "space for an upload is not allocated ahead");
                self.allocates = false;
            }
        }
    }

    /// [ENG-61] give back what lies behind the bytes that the writer took (`accepted`) and the kernel has (`written`).
    pub(super) async fn release(&mut self, accepted: u64, written: u64) -> io::Result<()> {
        self.claim.keep(accepted.saturating_sub(written));
        self.paid_to = accepted;
        self.spent_to = written;
        // The next step is a small one again.
        self.began = accepted;
        if std::mem::take(&mut self.allocated_to) <= written {
            return Ok(());
        }
        let file = Arc::clone(&self.file);
        // Truncating to the present length frees blocks that were reserved behind it.
        tokio::task::spawn_blocking(move || file.set_len(written)).await.map_err(io::Error::other)?
    }
}

/// Reserve bytes without changing the file's length, which is `written`.
fn allocate(file: &File, from: u64, size: u64, written: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, size) {
        Ok(()) => Ok(()),
        Err(cause) => {
            // A failed allocation keeps the blocks that it found.
            file.set_len(written)?;
            Err(cause.into())
        }
    }
}
