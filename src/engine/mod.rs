//! The rules of uploads, free of HTTP and of any particular store.
//!
//! ```text
//!   wire ──Order, Source──> Engine::write ──────────> append: decide -> lease -> fence -> stream -> durable -> commit
//!   wire ──Name───────────> Engine::state ──asks the writer for a checkpoint, or ends a silent one──> ledger
//! ```
//!
//! `decide.rs` says what is permitted, `append.rs` carries it out, `receive.rs` is the loop that takes bytes,
//! `commits.rs` what one writer commits, `concat.rs` makes one upload of others.
//! An append outlives the handler that asked for it: that one may be dropped at any await (a lost HTTP/2 connection,
//! a forced shutdown), and the bytes that arrived must be committed all the same.

pub mod append;
mod commits;
pub mod concat;
pub mod decide;
pub mod digest;
mod receive;
pub mod recover;
pub mod refusal;
pub mod sweep;

use std::{
    collections::HashSet,
    ops::Range,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
    stream::{BoxStream, Stream},
};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    blobs::Blobs,
    clock::{Clock, Timestamp},
    fault::{Component, Fault},
    id,
    leases::Leases,
    ledger::{Due, Ledger, Removal, Swap},
    telemetry::Metrics,
    upload::{About, BlobKey, BlobState, Generation, Gone, Kind, Name, Offset, Phase, Upload, UploadId},
};

pub use decide::{Limits, Start, Write};
pub use refusal::{Error, Refusal};

/// The body of a request: pieces, then the end or [`Broken`].
pub type Source = Pin<Box<dyn Stream<Item = Result<Piece, Broken>> + Send>>;

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// What the trailer claims of them.
    Claim(digest::Claim),
    /// The framing went wrong: nothing behind this can be made sense of, and the body is not whole.
    Malformed,
}

/// The connection went away in mid-body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// One request to write.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which upload.
    pub name: Name,
    /// What to write.
    pub write: Write,
    /// What the client says of the file; counts when the upload is created.
    pub about: About,
    /// Whether it is a file or a part of one; counts when the upload is created.
    pub kind: Kind,
    /// What the client claims of the bytes of this request.
    pub check: digest::Check,
    /// Who asks, for the metrics.
    pub dialect: &'static str,
}

/// What became of a write that was not refused.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The upload as committed.
    pub upload: Upload,
    /// Whether this write completed it, or found it complete.
    pub is_complete: bool,
}

/// Blobs that are remembered as lost, so that each is logged once.
const MOST_LOST: usize = 10_000;

/// The parts an engine is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Offsets.
    pub ledger: Arc<dyn Ledger>,
    /// Bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Writers.
    pub leases: Arc<dyn Leases>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Arc<Metrics>,
}

/// Numbers that the operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest upload in bytes.
    pub max_size: u64,
    /// Bytes received after which a writer commits.
    pub checkpoint_bytes: u64,
    /// Time after which a writer commits what it received.
    pub checkpoint_interval: Duration,
    /// A body silent for so long is cut and kept.
    pub body_gap: Duration,
    /// Bytes a second below which a body is cut and kept; 0 for none.
    pub least_rate: u64,
    /// How long a newcomer waits for an older writer.
    pub fence_timeout: Duration,
    /// A writer silent for so long is ended by a HEAD.
    pub silent_writer: Duration,
    /// Incomplete uploads live for so long after their last progress.
    pub incomplete_expires: Duration,
    /// Parts of one concatenation, at most.
    pub max_parts: usize,
    /// Complete partial uploads live for so long.
    pub partial_expires: Duration,
    /// Complete uploads live for so long; `None` for ever.
    pub retention: Option<Duration>,
    /// Names below this path are made up by the server.
    pub own_names: Option<String>,
    /// How long the tombstone of such a name stays.
    pub forget_after: Duration,
}

/// The engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    parts: Parts,
    settings: Arc<Settings>,
    appends: TaskTracker,
    stopping: CancellationToken,
    /// Blobs of writers at work, which the ledger may not know yet.
    live: Arc<Mutex<HashSet<BlobKey>>>,
    /// Blobs that were found missing or short.
    lost: Arc<Mutex<HashSet<BlobKey>>>,
    /// Turns to assemble a concatenation.
    assemblies: Arc<Semaphore>,
}

impl Engine {
    /// Put the parts together.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Self {
        Self {
            parts,
            settings: Arc::new(settings),
            appends: TaskTracker::new(),
            stopping: CancellationToken::new(),
            live: Arc::default(),
            lost: Arc::default(),
            assemblies: Arc::new(Semaphore::new(concat::ASSEMBLIES)),
        }
    }

    /// Write to an upload; returns when the bytes are durable and committed, or refused. Dropping the returned
    /// future does not stop the append.
    ///
    /// # Errors
    /// The refusal of [`decide::decide`], the reason why the body ended early, or a fault.
    pub async fn write(&self, order: Order, source: Source) -> Result<Outcome, Error> {
        let engine = self.clone();
        let append = AssertUnwindSafe(async move { engine.append(order, source).await }.in_current_span())
            .catch_unwind();
        let append = append.map(|ended| {
            ended.unwrap_or_else(|_| Err(Fault::new(Component::Blobs, "appending", "it panicked").into()))
        });
        Outliving { append: Some(self.appends.track_future(append).boxed()) }.await
    }

    /// The upload as last committed. Asks no writer for more, unless the upload's first has committed nothing yet.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn find(&self, name: &Name) -> Result<Option<Upload>, Error> {
        let mut found = self.parts.ledger.find(name).await?;
        // [DIA-81] what the first writer holds is an upload already
        if found.is_none()
            && let Some(holder) = self.parts.leases.holder(name)
        {
            let _ = timeout(self.settings.fence_timeout, holder.checkpoint()).await;
            found = self.parts.ledger.find(name).await?;
        }
        if let Some(upload) = &found {
            name_in_log(upload);
        }
        Ok(found)
    }

    /// The upload as committed now. A writer at work is asked to commit first; one that has been silent for
    /// [`Settings::silent_writer`] is ended when `may_end` allows it.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn state(&self, name: &Name, may_end: bool) -> Result<Option<Upload>, Error> {
        if let Some(holder) = self.parts.leases.holder(name) {
            // [ENG-3] polling must not kill a live upload
            if may_end && holder.silent_for() >= self.settings.silent_writer {
                holder.end();
                let _ = timeout(self.settings.fence_timeout, holder.finished()).await;
            } else {
                let _ = timeout(self.settings.fence_timeout, holder.checkpoint()).await;
            }
        }
        Ok(self.parts.ledger.find(name).await?)
    }

    /// These uploads as committed now, in any order; names without one are left out. Their writers are asked to commit
    /// first, and live.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn states(&self, names: &[Name]) -> Result<Vec<Upload>, Error> {
        let holders: Vec<_> = names.iter().filter_map(|name| self.parts.leases.holder(name)).collect();
        let checkpoints = join_all(holders.iter().map(|holder| holder.checkpoint()));
        let _ = timeout(self.settings.fence_timeout, checkpoints).await;
        Ok(self.parts.ledger.find_all(names).await?)
    }

    /// A complete upload, for reading.
    ///
    /// # Errors
    /// `Unknown`, `Incomplete` or `Gone`, or a fault.
    pub async fn complete(&self, name: &Name) -> Result<Upload, Error> {
        let upload = self.find(name).await?.ok_or(Refusal::Unknown)?;
        match upload.phase {
            // [TUS-83] a part is no file of its own
            Phase::Complete if upload.kind == Kind::Partial => Err(Refusal::Unknown.into()),
            // Retention holds from its moment on, whenever the sweeper comes.
            Phase::Complete if self.ends_at(&upload).is_some_and(|at| at <= self.now()) => {
                Err(Refusal::Gone(Gone::Retention).into())
            }
            Phase::Complete => Ok(upload),
            // [ENG-5] incomplete is invisible
            Phase::Receiving => Err(Refusal::Incomplete.into()),
            Phase::Gone(why) => Err(Refusal::Gone(why).into()),
        }
    }

    /// Begin an upload of which no byte is there yet.
    ///
    /// # Errors
    /// `TooLarge`, `StorageFull`, `Complete` when the name is taken, or a fault.
    pub async fn create(&self, order: Order) -> Result<Upload, Error> {
        if order.write.length == Some(0) {
            let whole = Write { start: Start::Whole, body: Some(0), ..order.write };
            let outcome =
                self.write(Order { write: whole, ..order }, Box::pin(futures_util::stream::empty())).await?;
            return Ok(outcome.upload);
        }
        let limits = self.limits();
        let nothing = Write { start: Start::At(Offset::ZERO), body: Some(0), ..order.write };
        decide::decide(None, &nothing, &limits)?;
        if limits.room.zip(order.write.length).is_some_and(|(room, length)| room < length) {
            return Err(Refusal::StorageFull.into());
        }
        let upload = self.fresh(order.name, order.write.length, order.kind, order.about);
        match self.parts.ledger.record(upload.clone()).await? {
            Swap::Done => {
                self.parts.metrics.upload_started(order.dialect);
                Ok(upload)
            }
            Swap::Fenced => Err(Refusal::Complete.into()),
        }
    }

    /// The bytes of a complete upload.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn read(
        &self,
        upload: &Upload,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Error> {
        match self.parts.blobs.read(&upload.blob, range).await {
            Ok(bytes) => Ok(bytes),
            Err(fault) if fault.lost => Err(self.lost(upload, fault).await),
            Err(fault) => Err(fault.into()),
        }
    }

    /// What it means that bytes of an upload are missing in the store: that it was removed since it was looked up, or
    /// that they are lost, which is counted and logged once a blob.
    async fn lost(&self, upload: &Upload, fault: Fault) -> Error {
        // [ENG-67] a download that races a removal meets no fault
        match self.parts.ledger.find(&upload.name).await {
            Err(fault) => return fault.into(),
            Ok(None) => return Refusal::Unknown.into(),
            Ok(Some(Upload { phase: Phase::Gone(why), .. })) => return Refusal::Gone(why).into(),
            Ok(Some(_)) => {}
        }
        let is_new = {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            if lost.len() >= MOST_LOST {
                lost.clear();
            }
            lost.insert(upload.blob.clone())
        };
        // [ENG-66] once a blob and not once a request
        if is_new {
            self.parts.metrics.blob_lost();
            tracing::error!(
                upload = upload.id.0, blob = upload.blob.0, %fault,
                "bytes that were acknowledged are missing in the store; to do: restore this blob from a backup, or \
                 have its owner upload the file again"
            );
        }
        fault.into()
    }

    /// Delete an upload: a writer at work is ended, the row becomes a tombstone, the bytes go.
    ///
    /// # Errors
    /// `Unknown` or `Gone`; `Busy` when a writer does not end; `Forbidden` for a complete one unless
    /// `complete_too`; or a fault.
    pub async fn delete(&self, name: &Name, complete_too: bool) -> Result<(), Error> {
        let lease = self.lease(name).await?;
        let upload = self.parts.ledger.find(name).await?.ok_or(Refusal::Unknown)?;
        match upload.phase {
            Phase::Gone(why) => return Err(Refusal::Gone(why).into()),
            Phase::Complete if !complete_too => return Err(Refusal::Forbidden.into()),
            Phase::Complete | Phase::Receiving => {}
        }
        let removed = self.remove(&upload, Gone::Deleted).await?;
        drop(lease);
        if removed { Ok(()) } else { Err(Refusal::Superseded { held: upload.offset }.into()) }
    }

    /// An upload of which nothing is recorded yet.
    fn fresh(&self, name: Name, length: Option<u64>, kind: Kind, about: About) -> Upload {
        let now = self.now();
        Upload {
            name,
            id: UploadId(id::random_hex_128()),
            phase: Phase::Receiving,
            generation: Generation::FIRST,
            offset: Offset::ZERO,
            length,
            blob: BlobKey(id::random_hex_128()),
            blob_state: BlobState::default(),
            kind,
            about,
            created_at: now,
            updated_at: now,
            completed_at: None,
            expires_at: Some(now.plus(self.settings.incomplete_expires)),
        }
    }

    /// [ENG-16] turn an upload into a tombstone and free its bytes; `false` when it changed meanwhile
    async fn remove(&self, upload: &Upload, why: Gone) -> Result<bool, Error> {
        match self.parts.ledger.tombstone(self.removal(upload, why, None)).await? {
            Swap::Fenced => Ok(false),
            Swap::Done => {
                self.parts.metrics.removed(why.word(), 1);
                self.discard(&upload.blob).await;
                Ok(true)
            }
        }
    }

    /// [ENG-80] the removal of an upload as it was seen
    fn removal(&self, upload: &Upload, why: Gone, due: Option<Due>) -> Removal {
        let at = self.now();
        // [ENG-87] a token that never expires could write a second file under a name that a client was given
        let is_ours = self.settings.own_names.as_ref().is_some_and(|base| is_own_name(base, &upload.name));
        Removal {
            name: upload.name.clone(),
            generation: upload.generation,
            phase: upload.phase,
            due,
            why,
            at,
            forget_at: is_ours.then(|| at.plus(self.settings.forget_after)),
        }
    }

    /// Delete bytes that no row refers to any more. A failure leaves an orphan, which the next scan finds.
    async fn discard(&self, blob: &BlobKey) {
        if let Err(fault) = self.parts.blobs.delete(blob).await {
            tracing::warn!(%fault, "bytes that are no longer needed stay until the next scan for orphans");
        }
    }

    /// Tell every writer to commit what it received and go; new ones are cut at once.
    pub fn cut(&self) {
        self.stopping.cancel();
    }

    /// [ENG-19] [`Engine::cut`], wait for the writers, and close the ledger
    pub async fn stop(&self) {
        self.cut();
        self.appends.close();
        self.appends.wait().await;
        self.parts.ledger.close().await;
    }

    /// How many appends are at work.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.appends.len()
    }

    /// [ENG-42] Whether the ledger takes changes and the store is there; for readiness.
    ///
    /// # Errors
    /// The fault of the one that is not.
    pub async fn ready(&self) -> Result<(), Fault> {
        self.parts.blobs.ready().await?;
        self.parts.ledger.ping().await
    }

    /// [ENG-82] when a complete upload ends: the earliest of its own end and of retention as it is set now
    fn ends_at(&self, upload: &Upload) -> Option<Timestamp> {
        let retained = upload.completed_at.zip(self.settings.retention).map(|(at, age)| at.plus(age));
        [upload.expires_at, retained].into_iter().flatten().min()
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn limits(&self) -> Limits {
        Limits { max_size: self.settings.max_size, room: self.parts.blobs.room() }
    }

    fn live(&self, change: impl FnOnce(&mut HashSet<BlobKey>)) {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_live(&self, blob: &BlobKey) -> bool {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).contains(blob)
    }
}

/// Whether a name below `base` ends in 128 random bits of ours.
fn is_own_name(base: &str, name: &Name) -> bool {
    let id = name.as_str().strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    id.is_some_and(|id| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Put an upload's id into the log lines of the request at hand.
fn name_in_log(upload: &Upload) {
    tracing::Span::current().record("upload", upload.id.0.as_str());
}

/// An append. Polled by whoever asked for it, and handed to the runtime when that one goes away.
///
/// Rejected: a task of its own from the start. One thread would then read each piece from the socket and another
/// write it to the file, with cold caches and a waking in between: a fifth more CPU time for a large file.
struct Outliving {
    /// `None` once it has ended.
    append: Option<BoxFuture<'static, Result<Outcome, Error>>>,
}

impl Future for Outliving {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(append) = &mut self.append else { return Poll::Pending };
        let outcome = ready!(append.as_mut().poll(cx));
        self.append = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Outliving {
    fn drop(&mut self) {
        // [ENG-22] whoever asked went away; what arrived is committed all the same.
        // Without a runtime the whole server is being torn down, and nobody could poll it.
        if let (Some(append), Ok(runtime)) = (self.append.take(), Handle::try_current()) {
            runtime.spawn(append);
        }
    }
}

/// Counts a writer for as long as it lives.
struct Counted {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.writers_delta(1);
        Self { metrics: Arc::clone(metrics), began: Instant::now() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.writers_delta(-1);
    }
}
