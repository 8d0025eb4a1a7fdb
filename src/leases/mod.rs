//! Who may write an upload: the newest comer.
//!
//! ```text
//!   take(name) ──> the holder before is told to end ──> it commits its prefix and releases ──> Lease
//! ```
//!
//! A lease is never refused because it is held. A phone that changed networks left a writer behind which does not
//! know that it is dead; waiting for a timeout would cost the upload minutes. Rejected: a lock with a time to
//! live; it is too long for the phone and too short for a stalled disk, and needs the fence all the same.

pub mod local;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{fault::Fault, upload::Name};

/// Coordinates the writers of each upload.
#[async_trait]
pub trait Leases: Send + Sync + std::fmt::Debug {
    /// End the present holder, wait until it has committed what it received, and hold the name.
    async fn take(&self, name: &Name, patience: Duration) -> Result<Taken, Fault>;

    /// The present holder, to ask it for a checkpoint or to end it.
    fn holder(&self, name: &Name) -> Option<Arc<Holder>>;
}

/// What became of an attempt to take a lease.
#[derive(Debug)]
pub enum Taken {
    /// The name is held.
    Held(Lease),
    /// A still newer writer came while this one waited.
    Superseded,
    /// The holder did not end in time.
    TimedOut,
}

/// Asks a writer to commit what it has; answered after the commit.
pub type CheckpointRequest = oneshot::Sender<()>;

/// What others know of a writer.
#[derive(Debug)]
pub struct Holder {
    ended: CancellationToken,
    finished: CancellationToken,
    checkpoints: mpsc::Sender<CheckpointRequest>,
    started: Instant,
    /// Milliseconds after `started` at which the present wait for the client began.
    waits_since: AtomicU64,
    /// Milliseconds of earlier waits since the last byte.
    waited: AtomicU64,
    busy: AtomicBool,
}

impl Holder {
    fn new() -> (Arc<Self>, mpsc::Receiver<CheckpointRequest>) {
        let (checkpoints, requests) = mpsc::channel(16);
        let holder = Self {
            ended: CancellationToken::new(),
            finished: CancellationToken::new(),
            checkpoints,
            started: Instant::now(),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            busy: AtomicBool::new(true),
        };
        (Arc::new(holder), requests)
    }

    /// Tell the writer to commit its prefix and go.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when the writer has committed its prefix and let go.
    pub async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// For how long the writer has been waiting for its client since the last byte. A writer that waits for our
    /// disk is not silent, and a checkpoint that somebody asks for ends no silence.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        if self.busy.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let since = self.waits_since.load(Ordering::Acquire);
        let waited = self.waited.load(Ordering::Acquire);
        Duration::from_millis(waited.saturating_add(self.now().saturating_sub(since)))
    }

    /// Milliseconds since the writer came.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Have the writer commit what it received so far; returns at once when it has ended.
    pub async fn checkpoint(&self) {
        let (asked, answered) = oneshot::channel();
        if self.checkpoints.send(asked).await.is_ok() {
            // An error means that the writer ended, and it commits before it does.
            let _ = answered.await;
        }
    }
}

/// The right to write an upload; let go when dropped.
#[derive(Debug)]
pub struct Lease {
    holder: Arc<Holder>,
    /// Requests for a checkpoint, to be answered after the commit.
    pub checkpoints: mpsc::Receiver<CheckpointRequest>,
    /// Whether another writer had to end for this one.
    pub took_over: bool,
    release: Option<local::Release>,
}

impl Lease {
    /// Resolves when a newer writer wants the upload. Does not borrow the lease.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.holder.ended.clone().cancelled_owned()
    }

    /// Whether a newer writer wants the upload.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.holder.ended.is_cancelled()
    }

    /// Note that the writer waits for its client from now on.
    pub fn waits_for_client(&self) {
        if self.holder.busy.load(Ordering::Acquire) {
            self.holder.waits_since.store(self.holder.now(), Ordering::Release);
            self.holder.busy.store(false, Ordering::Release);
        }
    }

    /// Note that the writer is at work and waits for nobody.
    pub fn works(&self) {
        if !self.holder.busy.swap(true, Ordering::AcqRel) {
            let since = self.holder.waits_since.load(Ordering::Acquire);
            self.holder.waited.fetch_add(self.holder.now().saturating_sub(since), Ordering::AcqRel);
        }
    }

    /// Note that bytes came.
    pub fn received(&self) {
        self.holder.waited.store(0, Ordering::Release);
        self.holder.busy.store(true, Ordering::Release);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Requests that wait in the channel are answered by its closing.
        self.checkpoints.close();
        if let Some(release) = self.release.take() {
            release.now(&self.holder);
        }
        self.holder.finished.cancel();
    }
}
