//! Blobs on a local disk.
//!
//! ```text
//!   <store.path>/blobs/3f/3fa9...e1     one file a blob, 256 shards by the key's first byte
//!   <store.path>/blobs/store-id         which store this is
//!   <store.path>/lock                   held for as long as the server runs: one process a store
//! ```
//!
//! A file has its final name from the first byte on. The ledger says whether it is whole, so completing an upload
//! moves nothing and needs no second sync. Names are ours: 128 random bits in hex.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio_util::sync::CancellationToken;

use super::{
    BlobWriter, Blobs, Durable,
    adaptive::{AdaptiveFile, Pace},
    ahead::Ahead,
    identity::{self, StoreIdentity},
    join::Join,
    orphans,
    space::{Booking, SpaceBook},
};
use crate::{
    clock::{Clock as _, SystemClock, Timestamp},
    fault::{Component, Fault},
    private::{self, sync_folder},
    telemetry::Metrics,
    upload::{BlobKey, BlobState, Offset},
};

/// Bytes of one piece of a download.
const READ_PIECE: u64 = 512 * 1024;
/// The first read of a download; each further one is twice as large.
const FIRST_READ_PIECE: u64 = 64 * 1024;
/// Dirty bytes after which the kernel is asked to start writing, so that the sync at the end finds little to do.
const WRITEBACK_EVERY: u64 = 32 * 1024 * 1024;
/// Whether a checkpoint waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Data and folder entry are synced before anything is acknowledged.
    Full,
    /// They are in the kernel's hands: a crash of the server loses nothing, a power cut may.
    Relaxed,
}

/// How to open a [`DiskBlobs`].
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The store's folder; created when missing.
    pub path: PathBuf,
    /// Whether checkpoints sync.
    pub durability: Durability,
    /// Free bytes that stay untouched.
    pub reserve: u64,
    /// Bytes that all writers together may buffer.
    pub buffer_memory: u64,
}

/// See the module's page.
#[derive(Debug)]
pub struct DiskBlobs {
    path: PathBuf,
    blobs: PathBuf,
    /// `None` until it is tied to a ledger.
    identity: Mutex<Option<StoreIdentity>>,
    durability: Durability,
    space: Arc<SpaceBook>,
    /// Whether space is allocated ahead.
    allocates: bool,
    pace: Arc<Pace>,
    metrics: Arc<Metrics>,
    _lock: File,
}

impl DiskBlobs {
    /// Open the store, create its folders, and lock it against a second server.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process holds it.
    pub fn open(options: &DiskOptions, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let doing = |what: &'static str| move |e: io::Error| Fault::io(what, &e);
        let blobs = options.path.join("blobs");
        private::make_folder(&blobs).map_err(doing("creating the store's folder"))?;
        let lock =
            private::open_file(&options.path.join("lock")).map_err(doing("opening the store's lock"))?;
        // [ENG-27] one server a store
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => Fault::new(
                Component::Blobs,
                "locking the store",
                "another server uses this store\n    to do: stop it first, or give this one a [store] path of its own",
            ),
            TryLockError::Error(e) => Fault::io("locking the store", &e),
        })?;
        for shard in 0..=u8::MAX {
            let folder = blobs.join(format!("{shard:02x}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Fault::io("creating a shard", &e));
                }
                _ => {}
            }
        }
        sync_folder(&blobs).map_err(doing("syncing the store's folder"))?;
        private::warn_of_exposed([blobs.as_path()]);
        let identity = identity::read(&options.path).map_err(doing("reading the store's id"))?;
        let on_disk = blobs.clone();
        let store = Self {
            path: options.path.clone(),
            blobs,
            identity: Mutex::new(identity),
            durability: options.durability,
            space: SpaceBook::new(options.reserve, move || free_bytes(&on_disk)),
            allocates: !is_in_memory(&options.path),
            pace: Pace::new(options.buffer_memory, Arc::clone(&metrics)),
            metrics,
            _lock: lock,
        };
        Ok(store)
    }

    /// Which store this is; `None` when it was never tied to a ledger.
    #[must_use]
    pub fn identity(&self) -> Option<StoreIdentity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Say which store this is from now on, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_identity(&self, new: StoreIdentity) -> Result<(), Fault> {
        identity::write(&self.path, &new).map_err(|e| Fault::io("writing the store's id", &e))?;
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        Ok(())
    }

    /// One page of all keys, those that are kept from the scan for orphans too.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn all_keys(&self, page: u32) -> Result<Vec<BlobKey>, Fault> {
        let folder = self.blobs.join(format!("{page:02x}"));
        blocking("listing blobs", move || keys_in(&folder, None)).await
    }

    /// Where a blob is. Refuses a key that we did not make, whoever asks.
    fn file_of(&self, key: &BlobKey) -> Result<PathBuf, Fault> {
        let shard = key.0.get(..2).filter(|_| is_key(&key.0));
        let shard =
            shard.ok_or_else(|| Fault::new(Component::Blobs, "naming a blob", "not a key of ours"))?;
        Ok(self.blobs.join(shard).join(&key.0))
    }

    /// Run file calls inline while the disk is fast, on the blocking pool while it is not.
    async fn paced<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        if self.pace.is_slow() {
            return blocking(doing, work).await;
        }
        work().map_err(|e| Fault::io(doing, &e))
    }

    fn writer(
        &self,
        file: File,
        folder: PathBuf,
        at: u64,
        length: Option<u64>,
        is_new: bool,
    ) -> Box<dyn BlobWriter> {
        let file = Arc::new(file);
        let expected = length.filter(|_| self.allocates);
        Box::new(DiskWriter {
            ahead: Ahead::new(Arc::clone(&file), self.space.open(), at, expected),
            file: AdaptiveFile::new(file, at, Arc::clone(&self.pace)),
            folder: Arc::new(folder),
            folder_synced: Arc::new(AtomicBool::new(!is_new)),
            durability: self.durability,
            kicked: at,
            pace: Arc::clone(&self.pace),
            metrics: Arc::clone(&self.metrics),
        })
    }
}

fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Fault::new(Component::Blobs, doing, e))?
        .map_err(|e| Fault::io(doing, &e))
}

/// The keys in a shard, but for those of blobs that are as old as `keep_until`.
fn keys_in(shard: &Path, keep_until: Option<Timestamp>) -> io::Result<Vec<BlobKey>> {
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(shard)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_kept = || match (keep_until, entry.metadata()) {
            (None, _) => false,
            (Some(until), Ok(found)) => found.mtime().saturating_mul(1000) <= until.0,
            (Some(_), Err(_)) => true,
        };
        if is_key(&name) && !is_kept() {
            keys.push(BlobKey(name));
        }
    }
    Ok(keys)
}

/// A failed system call on a blob that the ledger knows: one that is not there is lost.
pub(super) fn lost_or(doing: &'static str, cause: &io::Error) -> Fault {
    if cause.kind() == io::ErrorKind::NotFound {
        return Fault::lost(doing, "the blob is not there");
    }
    Fault::io(doing, cause)
}

/// The folder of blobs that were set aside, in the store's.
const ORPHANS: &str = "orphans";

/// Whether a folder lies on tmpfs. There are no extents to lay out in memory, and allocating pages ahead was measured
/// at 1.23 times nginx's CPU where writing alone costs 1.11 times.
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|disk| disk.f_type == TMPFS_MAGIC)
}

/// Bytes that an unprivileged process may still write to the disk of a folder.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[async_trait]
impl Blobs for DiskBlobs {
    async fn create(&self, key: &BlobKey, length: Option<u64>) -> Result<Box<dyn BlobWriter>, Fault> {
        let path = self.file_of(key)?;
        let folder = path.parent().unwrap_or(&self.blobs).to_path_buf();
        let file = self
            .paced("creating a blob", move || {
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
            })
            .await?;
        Ok(self.writer(file, folder, 0, length, true))
    }

    // [ENG-2] a tail beyond the committed offset is cut off before the next append
    async fn resume(
        &self,
        key: &BlobKey,
        at: &Durable,
        length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, Fault> {
        let path = self.file_of(key)?;
        let folder = path.parent().unwrap_or(&self.blobs).to_path_buf();
        let at = at.offset.0;
        let open = move || {
            let file = OpenOptions::new().write(true).open(&path)?;
            let held = file.metadata()?.len();
            if held > at {
                file.set_len(at)?;
            }
            Ok((file, held))
        };
        let doing = "resuming a blob";
        let (file, held) = self.paced(doing, move || Ok(open().map_err(|e| lost_or(doing, &e)))).await??;
        if held < at {
            let text = format!("the blob holds {held} bytes, the ledger counts {at}");
            return Err(Fault::lost(doing, text));
        }
        Ok(self.writer(file, folder, at, length, false))
    }

    fn book(&self, bytes: u64) -> Result<Booking, Fault> {
        self.space.claim(bytes).map(Booking::of).ok_or_else(Fault::no_room)
    }

    async fn concatenate(
        &self,
        key: &BlobKey,
        parts: &[(BlobKey, u64)],
        booking: Booking,
        stop: &CancellationToken,
    ) -> Result<Durable, Fault> {
        let path = self.file_of(key)?;
        let folder = path.parent().unwrap_or(&self.blobs).to_path_buf();
        let parts: Vec<(PathBuf, u64)> = parts
            .iter()
            .map(|(part, length)| Ok((self.file_of(part)?, *length)))
            .collect::<Result<_, Fault>>()?;
        let total = parts.iter().map(|(_, length)| length).sum();
        let join = Join { path, folder, parts, durability: self.durability, space: Arc::clone(&self.space) };
        join.run(booking, stop).await?;
        Ok(Durable { offset: Offset(total), state: BlobState::default() })
    }

    async fn read(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault> {
        let path = self.file_of(key)?;
        let open = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let held = file.metadata()?.len();
            io::Result::Ok((file, held))
        });
        let open = open.await.map_err(|e| Fault::new(Component::Blobs, "opening a blob", e))?;
        let (file, held) = open.map_err(|e| lost_or("opening a blob", &e))?;
        if held < range.end {
            let text = format!("the blob holds {held} bytes, and byte {} is asked for", range.end);
            return Err(Fault::lost("opening a blob", text));
        }
        let file = Arc::new(file);
        let metrics = Arc::clone(&self.metrics);
        // A client that takes nothing holds a small piece in memory; whoever takes much gets large ones.
        Ok(Box::pin(stream::try_unfold((range, FIRST_READ_PIECE), move |(rest, most)| {
            let (file, metrics) = (Arc::clone(&file), Arc::clone(&metrics));
            async move {
                if rest.is_empty() {
                    return Ok(None);
                }
                let size = usize::try_from((rest.end - rest.start).min(most)).unwrap_or(1);
                let piece = blocking("reading a blob", move || {
                    let mut piece = BytesMut::zeroed(size);
                    file.read_exact_at(&mut piece, rest.start)?;
                    Ok(piece.freeze())
                })
                .await?;
                metrics.sent(piece.len() as u64);
                let next = rest.start + piece.len() as u64;
                Ok(Some((piece, (next..rest.end, (most * 2).min(READ_PIECE)))))
            }
        })))
    }

    async fn durable_length(&self, key: &BlobKey, _state: &BlobState) -> Result<Option<u64>, Fault> {
        let path = self.file_of(key)?;
        blocking("measuring a blob", move || match std::fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        })
        .await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), Fault> {
        let path = self.file_of(key)?;
        blocking("deleting a blob", move || match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await
    }

    async fn set_aside(&self, key: &BlobKey) -> Result<bool, Fault> {
        let (file, aside) = (self.file_of(key)?, self.path.join(ORPHANS));
        let now = SystemClock.now().to_system();
        blocking("setting a blob aside", move || orphans::set_aside(&file, &aside, now)).await
    }

    async fn purge(&self) -> Result<u64, Fault> {
        let aside = self.path.join(ORPHANS);
        let now = SystemClock.now().to_system();
        blocking("deleting old orphans", move || orphans::purge(&aside, now)).await
    }

    async fn keys(&self, page: u32) -> Result<Vec<BlobKey>, Fault> {
        let folder = self.blobs.join(format!("{page:02x}"));
        // [ENG-47] what a ledger from an older backup does not know is no orphan
        let keep_until = self.identity().and_then(|identity| identity.keep_until);
        blocking("listing blobs", move || keys_in(&folder, keep_until)).await
    }

    fn pages(&self) -> u32 {
        256
    }

    async fn ready(&self) -> Result<(), Fault> {
        let (path, blobs, ours) = (self.path.clone(), self.blobs.clone(), self.identity());
        blocking("looking at the store", move || {
            let shards = std::fs::read_dir(&blobs)?.filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            });
            if shards.count() <= usize::from(u8::MAX) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "folders of the store are missing"));
            }
            let found = identity::read(&path)?.map(|identity| identity.id);
            if found != ours.map(|identity| identity.id) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "another store is in its place"));
            }
            Ok(())
        })
        .await
    }

    fn room(&self) -> Option<u64> {
        self.space.room()
    }
}

struct DiskWriter {
    file: AdaptiveFile,
    folder: Arc<PathBuf>,
    folder_synced: Arc<AtomicBool>,
    durability: Durability,
    /// Up to where the kernel was asked to start writing back.
    kicked: u64,
    ahead: Ahead,
    pace: Arc<Pace>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl BlobWriter for DiskWriter {
    // [ENG-60] what there is room for is written, the rest is refused
    async fn write(&mut self, mut data: Bytes) -> Result<(), Fault> {
        let (at, size) = (self.file.accepted(), data.len() as u64);
        let fits = self.ahead.claim(at, size, self.file.end(), self.pace.is_slow()).await;
        data.truncate(usize::try_from(fits).unwrap_or(usize::MAX));
        let written = self.file.write(data).await;
        self.ahead.written(self.file.end());
        written?;
        if fits < size {
            return Err(Fault::no_room());
        }
        let end = self.file.end();
        if self.durability == Durability::Full && end - self.kicked >= WRITEBACK_EVERY {
            let (file, from) = (Arc::clone(self.file.file()), self.kicked);
            self.kicked = end;
            // A hint: the sync of the checkpoint is what counts, so neither result nor end matters here.
            tokio::task::spawn_blocking(move || start_writeback(&file, from, end - from));
        }
        Ok(())
    }

    // [ENG-1] data first, then the folder entry, then (by the caller) the ledger
    async fn checkpoint(&mut self) -> Result<BoxFuture<'static, Result<Durable, Fault>>, Fault> {
        let flushed = self.file.flush().await;
        self.ahead.written(self.file.end());
        flushed?;
        let durable = Durable { offset: Offset(self.file.end()), state: BlobState::default() };
        if self.durability == Durability::Relaxed {
            return Ok(Box::pin(async move { Ok(durable) }));
        }
        let (file, folder) = (Arc::clone(self.file.file()), Arc::clone(&self.folder));
        let (synced, metrics) = (Arc::clone(&self.folder_synced), Arc::clone(&self.metrics));
        Ok(Box::pin(async move {
            blocking("syncing a blob", move || {
                let began = Instant::now();
                file.sync_data()?;
                if !synced.load(Ordering::Acquire) {
                    sync_folder(&folder)?;
                    synced.store(true, Ordering::Release);
                }
                metrics.sync(began.elapsed());
                Ok(())
            })
            .await?;
            Ok(durable)
        }))
    }

    async fn release(&mut self) {
        if let Err(cause) = self.ahead.release(self.file.accepted(), self.file.end()).await {
            tracing::debug!(%cause, "space reserved for an upload stays reserved");
        }
    }
}

/// Ask the kernel to start writing dirty pages; does not wait.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "no crate of this tree wraps sync_file_range; the descriptor is open for the call"
)]
pub(super) fn start_writeback(file: &File, from: u64, length: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else { return };
    // SAFETY: takes numbers only, and `file` keeps the descriptor open.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn start_writeback(_file: &File, _from: u64, _length: u64) {}
