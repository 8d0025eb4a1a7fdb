//! The one writer of the file: a queue, and a task that commits all that is queued in one transaction.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use sqlx::SqlitePool;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{BATCH, QUEUE, commit::Committer, statements::Statement};
use crate::{
    fault::{Component, Fault},
    telemetry::Metrics,
};

/// A commit of this age still proves that the file can be written.
const PROOF_MAX_AGE: Duration = Duration::from_secs(1);
/// A file that does not take a write for this long is not ready.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Statement,
    /// The primary key of the row.
    pub(super) key: String,
    /// What the statement reads of it, in JSON.
    pub(super) row: String,
    answer: oneshot::Sender<Result<bool, Fault>>,
}

impl Change {
    /// A change, and where its answer will come from.
    pub(super) fn new(
        kind: Statement,
        key: &str,
        row: String,
    ) -> (Self, oneshot::Receiver<Result<bool, Fault>>) {
        let (answer, answered) = oneshot::channel();
        (Self { kind, key: key.to_owned(), row, answer }, answered)
    }
}

/// The writer's queue. Its copies lead to the same task.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: Arc<Mutex<Option<mpsc::Sender<Change>>>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// When something was last committed; `None` after a failure.
    committed: Arc<Mutex<Option<Instant>>>,
    /// One probe at a time.
    probing: Arc<tokio::sync::Mutex<()>>,
}

impl Writer {
    /// Start the task that owns the connection, and that closes the readers before it at the end.
    pub(super) fn start(committer: Committer, readers: SqlitePool, metrics: Arc<Metrics>) -> Self {
        let (queue, changes) = mpsc::channel(QUEUE);
        let committed = Arc::default();
        let seen = Arc::clone(&committed);
        let task = tokio::spawn(async move {
            let committer = write_changes(committer, changes, metrics, seen).await;
            close(committer, readers).await;
        });
        Self {
            queue: Arc::new(Mutex::new(Some(queue))),
            task: Arc::new(Mutex::new(Some(task))),
            committed,
            probing: Arc::default(),
        }
    }

    /// Commit a change; whether it took effect.
    pub(super) async fn change(&self, kind: Statement, key: &str, row: String) -> Result<bool, Fault> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (change, answered) = Change::new(kind, key, row);
        let closed = || Fault::new(kind.component(), "changing the ledger", "it is closed");
        queue.ok_or_else(closed)?.send(change).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// [ENG-42] whether the file can be written: a write, unless one has just been committed
    pub(super) async fn probe(&self) -> Result<(), Fault> {
        let write = async {
            let _alone = self.probing.lock().await;
            let last = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < PROOF_MAX_AGE) {
                return Ok(());
            }
            self.change(Statement::Probe, Statement::IDENTITY, Statement::IDENTITY.to_owned()).await?;
            Ok(())
        };
        tokio::time::timeout(PROBE_PATIENCE, write).await.unwrap_or_else(|_| {
            Err(Fault::new(Component::Ledger, "writing to the ledger", "it does not answer in time"))
        })
    }

    /// Take no more changes, and return the task, which ends once it has committed the queued ones.
    pub(super) fn close(&self) -> Option<JoinHandle<()>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn write_changes(
    mut committer: Committer,
    mut changes: mpsc::Receiver<Change>,
    metrics: Arc<Metrics>,
    committed: Arc<Mutex<Option<Instant>>>,
) -> Committer {
    let mut queued = Vec::with_capacity(BATCH);
    while changes.recv_many(&mut queued, BATCH).await > 0 {
        let began = Instant::now();
        metrics.commit_batch(queued.len());
        let answers = AssertUnwindSafe(committer.commit(&queued)).catch_unwind().await;
        // The connection that a panicking batch had taken is closed, and the next batch opens another.
        let answers = answers.unwrap_or_else(|_| {
            tracing::error!("the ledger's writer panicked; its batch is in doubt");
            Vec::new()
        });
        if answers.iter().any(Result::is_ok) {
            metrics.commit(began.elapsed());
        }
        let is_well = committer.is_well() && answers.iter().all(Result::is_ok);
        *committed.lock().unwrap_or_else(PoisonError::into_inner) = is_well.then(Instant::now);
        let mut answers = answers.into_iter();
        for change in queued.drain(..) {
            let component = change.kind.component();
            let answer = match answers.next() {
                Some(answer) => answer.map_err(|failure| failure.fault(component, "committing a change")),
                None => Err(Fault::new(component, "committing a change", "the writer panicked")),
            };
            // A caller that went away has no use for the answer; the change is committed nevertheless.
            let _ = change.answer.send(answer);
        }
    }
    committer
}

/// [ENG-51] The readers first: the last connection to close is one that can write, and moves the WAL into the file.
async fn close(mut committer: Committer, readers: SqlitePool) {
    readers.close().await;
    committer.close().await;
}
