//! The one writer of the file: a queue, and a task that commits all that is queued in one transaction.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sqlx::{Connection, SqliteConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{BATCH, QUEUE, statements::Statement};
use crate::{fault::Fault, telemetry::Metrics};

#[derive(Debug)]
struct Change {
    kind: Statement,
    /// The primary key of the row.
    key: String,
    /// What the statement reads of it, in JSON.
    row: String,
    answer: oneshot::Sender<Result<bool, Fault>>,
}

/// The writer's queue. Its copies lead to the same task.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: Arc<Mutex<Option<mpsc::Sender<Change>>>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    /// Start the task that owns `db`.
    pub(super) fn start(db: SqliteConnection, metrics: Arc<Metrics>) -> Self {
        let (queue, changes) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write_changes(db, changes, metrics));
        Self { queue: Arc::new(Mutex::new(Some(queue))), task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Commit a change; whether it took effect.
    pub(super) async fn change(&self, kind: Statement, key: &str, row: String) -> Result<bool, Fault> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (answer, answered) = oneshot::channel();
        let change = Change { kind, key: key.to_owned(), row, answer };
        let closed = || Fault::new(kind.component(), "changing the ledger", "it is closed");
        queue.ok_or_else(closed)?.send(change).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Take no more changes, and return the task, which ends once it has committed the queued ones.
    pub(super) fn close(&self) -> Option<JoinHandle<()>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn write_changes(mut db: SqliteConnection, mut changes: mpsc::Receiver<Change>, metrics: Arc<Metrics>) {
    let mut queued = Vec::with_capacity(BATCH);
    while changes.recv_many(&mut queued, BATCH).await > 0 {
        let began = Instant::now();
        metrics.commit_batch(queued.len());
        match commit(&mut db, &queued).await {
            Ok(changed) => {
                metrics.commit(began.elapsed());
                for (change, took_effect) in queued.drain(..).zip(changed) {
                    // A caller that went away has no use for the answer; the change is committed all the same.
                    let _ = change.answer.send(Ok(took_effect));
                }
            }
            // One bad change must not fail its neighbours: each is tried again on its own.
            Err(cause) => {
                tracing::warn!(%cause, changes = queued.len(), "a batch failed; committing its changes one by one");
                for change in queued.drain(..) {
                    let result = commit(&mut db, std::slice::from_ref(&change)).await;
                    let component = change.kind.component();
                    let took_effect = result
                        .map(|changed| changed.first().copied().unwrap_or(false))
                        .map_err(|cause| Fault::new(component, "committing a change", cause));
                    let _ = change.answer.send(took_effect);
                }
            }
        }
    }
    if let Err(cause) = db.close().await {
        tracing::error!(%cause, "closing the ledger");
    }
}

/// Commit a batch; says of each change, in order, whether it took effect.
///
/// Changes of the same row are kept apart in rounds, since one statement may touch a row only once.
async fn commit(db: &mut SqliteConnection, queued: &[Change]) -> Result<Vec<bool>, sqlx::Error> {
    let mut took_effect = vec![false; queued.len()];
    let mut transaction = db.begin().await?;
    let mut waiting: Vec<usize> = (0..queued.len()).collect();
    while !waiting.is_empty() {
        let mut touched = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|i| {
            queued.get(*i).is_some_and(|change| touched.insert((change.kind.table(), &change.key)))
        });
        for kind in Statement::ALL {
            let rows: Vec<&str> = round
                .iter()
                .filter_map(|i| queued.get(*i))
                .filter(|c| c.kind == kind)
                .map(|c| c.row.as_str())
                .collect();
            if rows.is_empty() {
                continue;
            }
            let changed: HashSet<String> = sqlx::query_scalar(kind.sql())
                .bind(format!("[{}]", rows.join(",")))
                .fetch_all(&mut *transaction)
                .await?
                .into_iter()
                .collect();
            for i in &round {
                if let (Some(change), Some(took_effect)) = (queued.get(*i), took_effect.get_mut(*i))
                    && change.kind == kind
                {
                    *took_effect = changed.contains(&change.key);
                }
            }
        }
        waiting = later;
    }
    transaction.commit().await?;
    Ok(took_effect)
}
