//! How bytes reach the disk: inline while the disk is fast, in batches on the blocking pool while it is slow.
//!
//! An inline `pwrite` into the page cache costs less than handing the bytes to another thread, but when the disk
//! stalls it holds up every other request of its worker thread. So each inline write is timed: one of
//! [`SLOW`] or more turns its writer to batches of [`BATCH`] bytes on the blocking pool, and raises a hint that
//! makes new writers begin there; after [`FAST_ENOUGH`] fast batches in a row it turns back. Rejected: always
//! the blocking pool (0.43 against 0.37 CPU seconds a GiB), and always inline (a stall of 20 ms a write made
//! every other request wait for 0.9 s).

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{fault::Fault, telemetry::Metrics};

/// An inline write that takes this long counts as a stall.
const SLOW: Duration = Duration::from_millis(5);
/// Bytes in one batch.
const BATCH: usize = 256 * 1024;
/// Fast batches in a row after which writes go inline again.
const FAST_ENOUGH: u32 = 32;

/// What the writers of one store share.
#[derive(Debug)]
pub struct Pace {
    /// Bytes that may be buffered by all writers together.
    buffers: Arc<Semaphore>,
    capacity: u32,
    slow: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Pace {
    /// `buffer_memory` bounds the buffered bytes of all writers; at least one batch.
    pub fn new(buffer_memory: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        let most = u32::MAX >> 4;
        let least = u32::try_from(BATCH).unwrap_or(most);
        let capacity = u32::try_from(buffer_memory).unwrap_or(most).clamp(least, most);
        let buffers = Arc::new(Semaphore::new(usize::try_from(capacity).unwrap_or(BATCH)));
        Arc::new(Self { buffers, capacity, slow: AtomicBool::new(false), metrics })
    }

    /// Whether the disk stalled lately, by the last writer that noticed.
    pub fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}

/// Bytes waiting for a batch, and their share of the bound.
struct Held {
    data: Bytes,
    _permit: OwnedSemaphorePermit,
    counted: i64,
    metrics: Arc<Metrics>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.buffered(-self.counted);
    }
}

/// Writes one file from `end` on.
pub struct AdaptiveFile {
    file: Arc<File>,
    pace: Arc<Pace>,
    /// Where the next byte that is handed to the kernel goes.
    end: u64,
    held: Vec<Held>,
    held_bytes: usize,
    batching: bool,
    fast: u32,
}

impl std::fmt::Debug for AdaptiveFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdaptiveFile").field("end", &self.end).field("held", &self.held_bytes).finish()
    }
}

impl AdaptiveFile {
    pub(super) fn new(file: Arc<File>, end: u64, pace: Arc<Pace>) -> Self {
        let batching = pace.is_slow();
        Self { file, pace, end, held: Vec::new(), held_bytes: 0, batching, fast: 0 }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Bytes that the kernel has; what [`AdaptiveFile::flush`] brings up to date.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) async fn write(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(());
        }
        if !self.batching {
            let began = Instant::now();
            write_all_vectored(&self.file, std::slice::from_ref(&data), self.end)
                .map_err(|e| Fault::io("writing a blob", &e))?;
            self.end += data.len() as u64;
            if began.elapsed() >= SLOW {
                self.turn(true);
            }
            return Ok(());
        }
        let counted = u32::try_from(data.len()).unwrap_or(u32::MAX).min(self.pace.capacity);
        if self.held_bytes > 0 && self.pace.buffers.available_permits() < counted as usize {
            // Waiting for room while holding some could wait for ever when all do so.
            self.flush().await?;
        }
        let permit = Arc::clone(&self.pace.buffers)
            .acquire_many_owned(counted)
            .await
            .map_err(|e| Fault::new(crate::fault::Component::Blobs, "waiting for buffers", e))?;
        let metrics = Arc::clone(&self.pace.metrics);
        metrics.buffered(i64::from(counted));
        self.held_bytes += data.len();
        self.held.push(Held { data, _permit: permit, counted: i64::from(counted), metrics });
        if self.held_bytes >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Hand everything that is held to the kernel.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        if self.held.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.held);
        let size = std::mem::take(&mut self.held_bytes) as u64;
        let (file, at) = (Arc::clone(&self.file), self.end);
        let (took, result) = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let pieces: Vec<Bytes> = batch.iter().map(|h| h.data.clone()).collect();
            let result = write_all_vectored(&file, &pieces, at);
            (began.elapsed(), result)
        })
        .await
        .map_err(|e| Fault::new(crate::fault::Component::Blobs, "writing a batch", e))?;
        result.map_err(|e| Fault::io("writing a blob", &e))?;
        self.end += size;
        if took >= SLOW {
            self.turn(true);
        } else {
            self.fast += 1;
            if self.fast >= FAST_ENOUGH {
                self.turn(false);
            }
        }
        Ok(())
    }

    fn turn(&mut self, batching: bool) {
        self.batching = batching;
        self.fast = 0;
        self.pace.slow.store(batching, Ordering::Relaxed);
    }
}

/// `pwritev` until everything is written.
fn write_all_vectored(file: &File, pieces: &[Bytes], mut at: u64) -> io::Result<()> {
    let mut rest: Vec<Bytes> = pieces.iter().filter(|p| !p.is_empty()).cloned().collect();
    while !rest.is_empty() {
        // IOV_MAX is 1024 on Linux.
        let slices: Vec<IoSlice<'_>> = rest.iter().take(1024).map(|b| IoSlice::new(b)).collect();
        let mut written = match rustix::io::pwritev(file, &slices, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        at += written as u64;
        let mut done = 0;
        for piece in &mut rest {
            if piece.len() > written {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            done += 1;
        }
        rest.drain(..done);
    }
    Ok(())
}
