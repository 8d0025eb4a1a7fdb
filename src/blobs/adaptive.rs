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
    /// [ENG-26] bytes that may be buffered by all writers together
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

    /// Bytes that were taken, those that are held included.
    pub(super) fn accepted(&self) -> u64 {
        self.end + self.held_bytes as u64
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn pace(buffer_memory: u64, slow: bool) -> Arc<Pace> {
        let pace = Pace::new(buffer_memory, Metrics::new());
        pace.slow.store(slow, Ordering::Relaxed);
        pace
    }

    fn writer(pace: &Arc<Pace>) -> AdaptiveFile {
        AdaptiveFile::new(Arc::new(tempfile::tempfile().unwrap()), 0, Arc::clone(pace))
    }

    fn length(file: &AdaptiveFile) -> u64 {
        file.file().metadata().unwrap().len()
    }

    fn buffered(pace: &Pace) -> f64 {
        let figures = pace.metrics.render();
        let line = figures.lines().find(|l| l.starts_with("plimsoll_buffered_bytes ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_fast_disk_gets_each_piece_at_once() {
        let pace = pace(0, false);
        let mut file = writer(&pace);
        for size in [1usize, 1_000, 0, 70_000] {
            file.write(Bytes::from(vec![7; size])).await.unwrap();
            assert_eq!(file.end(), length(&file));
            // A machine under load may stall; what is measured then is the other half of this file.
            if pace.is_slow() {
                return;
            }
        }
        assert_eq!(length(&file), 71_001);
    }

    #[tokio::test]
    async fn a_slow_disk_gets_batches() {
        let pace = pace(u64::MAX, true);
        let mut file = writer(&pace);
        let piece = Bytes::from(vec![7; 10_000]);
        for n in 1..=26u64 {
            file.write(piece.clone()).await.unwrap();
            assert_eq!((file.end(), length(&file), buffered(&pace)), (0, 0, 10_000.0 * n as f64));
        }
        // The piece that fills the batch takes all of it along.
        file.write(piece).await.unwrap();
        assert_eq!((file.end(), length(&file), buffered(&pace)), (270_000, 270_000, 0.0));
    }

    #[tokio::test]
    async fn a_flush_hands_over_what_is_held_in_order() {
        let pace = pace(u64::MAX, true);
        let mut file = writer(&pace);
        // More pieces than one call of the kernel takes.
        let all: Vec<u8> = (0..5_000u32).map(|n| (n % 251) as u8).collect();
        for piece in all.chunks(2) {
            file.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(length(&file), 0);
        file.flush().await.unwrap();
        file.flush().await.unwrap();
        let mut read = vec![0; all.len()];
        file.file().read_exact_at(&mut read, 0).unwrap();
        assert_eq!((file.end(), read), (5_000, all));
    }

    #[tokio::test]
    async fn a_disk_that_is_fast_again_gets_each_piece_at_once_again() {
        let pace = pace(u64::MAX, true);
        let mut file = writer(&pace);
        let mut batches = 0;
        while file.batching {
            file.write(Bytes::from(vec![7; BATCH])).await.unwrap();
            batches += 1;
            assert!(
                batches < 10_000,
                "the disk of this machine never has {FAST_ENOUGH} fast writes in a row"
            );
        }
        assert!(batches >= FAST_ENOUGH && !pace.is_slow());
        let end = file.end();
        file.write(Bytes::from_static(b"now")).await.unwrap();
        assert_eq!(length(&file), end + 3);
    }

    #[tokio::test]
    async fn new_writers_begin_as_the_last_one_ended() {
        for slow in [true, false] {
            assert_eq!(writer(&pace(0, slow)).batching, slow);
        }
    }

    // [ENG-26]
    #[tokio::test]
    async fn all_writers_together_hold_no_more_than_the_bound() {
        let pace = pace(300_000, true);
        let (mut one, mut two) = (writer(&pace), writer(&pace));
        one.write(Bytes::from(vec![1; 200_000])).await.unwrap();
        two.write(Bytes::from(vec![2; 90_000])).await.unwrap();
        assert_eq!(buffered(&pace), 290_000.0);
        // No room for this one: what its writer holds makes way.
        two.write(Bytes::from(vec![2; 80_000])).await.unwrap();
        assert_eq!((length(&two), buffered(&pace)), (90_000, 280_000.0));
        // And who holds nothing waits until another has flushed.
        let mut three = writer(&pace);
        let mut waiting = Box::pin(three.write(Bytes::from(vec![3; 50_000])));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(buffered(&pace), 280_000.0);
        one.flush().await.unwrap();
        waiting.as_mut().await.unwrap();
        drop(waiting);
        assert_eq!(buffered(&pace), 130_000.0);
        drop((one, two, three));
        assert_eq!(buffered(&pace), 0.0);
    }

    #[tokio::test]
    async fn a_piece_that_is_larger_than_the_bound_is_taken_all_the_same() {
        let pace = pace(1, true);
        let mut file = writer(&pace);
        for _ in 0..3 {
            file.write(Bytes::from(vec![7; 3 * BATCH])).await.unwrap();
        }
        assert_eq!((length(&file), buffered(&pace)), (9 * BATCH as u64, 0.0));
    }

    #[tokio::test]
    async fn a_full_disk_is_told_apart_and_leaves_the_end_where_it_was() {
        for slow in [false, true] {
            let pace = pace(u64::MAX, slow);
            let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
            let mut file = AdaptiveFile::new(full, 0, Arc::clone(&pace));
            let fault = match file.write(Bytes::from_static(b"x")).await {
                Ok(()) => file.flush().await.unwrap_err(),
                Err(fault) => fault,
            };
            assert!(fault.full, "{fault}");
            assert_eq!((file.end(), buffered(&pace)), (0, 0.0));
        }
    }
}
