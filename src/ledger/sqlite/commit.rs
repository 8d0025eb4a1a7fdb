//! The writer's connection: commits batches, and knows what became of a batch whose commit failed.
//!
//! ```text
//!   batch ──> transaction ──> answers
//!                 └─ any error ──> close ──> open anew, prove it by a write ──> look whether it was committed
//!                                     └─ cannot be opened: every change is refused until it can
//! ```
//!
//! Rejected: a ROLLBACK on the same connection. When COMMIT fails SQLite often has rolled back by itself; the ROLLBACK
//! then fails too, sqlx still counts one open transaction, begins the next one as a savepoint in it, and its RELEASE
//! commits nothing. A connection that saw an error is therefore never used again.

use std::{
    collections::HashSet,
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{ballast::Ballast, failure::Failure, statements::Statement, writer::Change};
use crate::telemetry::Metrics;

/// Time between two attempts to open the file while it cannot be opened.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Changes `identity`, so that a disk that takes no writes, or a file that was replaced by another, is noticed. It also
/// overwrites in the WAL what a failed sync left of an earlier commit, which a crash could otherwise bring back.
const PROVE: &str = "BEGIN IMMEDIATE; UPDATE identity SET probes = probes + 1; COMMIT";

/// What is done on a full disk, for the log.
const FULL: &str = "only what frees room is committed, from the ballast, until there is room for it again; \
                    /readyz is 503 meanwhile";

#[derive(Debug)]
pub(super) struct Committer {
    /// These open the file as it is and never create it.
    options: SqliteConnectOptions,
    /// Known to be outside of a transaction. `None` after an error, and while a batch is at work on it.
    db: Option<SqliteConnection>,
    /// Why there is no connection, and when to try again.
    down: Option<(Failure, Instant)>,
    ballast: Ballast,
    /// The disk was full, and the ballast is not back yet: only what frees room is committed.
    full: Option<Failure>,
    metrics: Arc<Metrics>,
    _lock: File,
}

/// An attempt that failed; its connection is closed.
struct Failed {
    failure: Failure,
    /// When COMMIT itself failed: what is to be answered if it took effect after all.
    in_doubt: Option<Vec<bool>>,
}

impl Failed {
    fn undone(error: impl Into<Failure>) -> Self {
        Self { failure: error.into().certain(), in_doubt: None }
    }
}

impl Committer {
    /// Begins with a connection, or with the reason why there is none; and with the reason why it was not had at once, if
    /// the disk was full.
    pub(super) fn new(
        options: SqliteConnectOptions,
        db: Result<SqliteConnection, Failure>,
        full: Option<Failure>,
        ballast: Ballast,
        lock: File,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut committer = Self { options, db: None, down: None, ballast, full: None, metrics, _lock: lock };
        committer.metrics.ledger_writable(true);
        match db {
            Ok(db) => committer.db = Some(db),
            Err(failure) => committer.refuse(&failure),
        }
        if committer.ballast.make() {
            return committer;
        }
        if full.is_some() {
            committer.metrics.ledger_writable(false);
            committer.full = full;
            tracing::error!("the ledger's disk is full: {FULL}");
        } else {
            tracing::warn!(
                "there is no room for the ledger's ballast: on a full disk nothing could be deleted"
            );
        }
        committer
    }

    /// Commit a batch; whether each change, in order, took effect.
    pub(super) async fn commit(&mut self, batch: &[Change]) -> Vec<Result<bool, Failure>> {
        let batch: Vec<&Change> = batch.iter().collect();
        if let Some(failure) = self.is_still_full() {
            return self.commit_what_frees(&batch, vec![Err(failure); batch.len()]).await;
        }
        let answers = self.commit_all(&batch).await;
        if self.full.is_some() { self.commit_what_frees(&batch, answers).await } else { answers }
    }

    /// Whether everything is committed now, as opposed to nothing, or only what frees room.
    pub(super) fn is_well(&self) -> bool {
        self.db.is_some() && self.full.is_none()
    }

    /// Nobody reads or writes any more. The file alone holds everything afterwards.
    pub(super) async fn close(&mut self) {
        if let Some(mut db) = self.db.take() {
            // [ENG-51] somebody else's connection would keep SQLite from doing this at the last close
            if let Err(cause) = sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await {
                tracing::warn!(%cause, "the ledger's WAL stays beside it");
            }
            if let Err(cause) = db.close().await {
                tracing::error!(%cause, "closing the ledger");
            }
        }
        // The room of -wal and -shm is free now, and the next start will need it.
        if !self.ballast.make() {
            self.ballast.make_remainder();
        }
    }

    /// The failure to answer with, unless there is room again.
    fn is_still_full(&mut self) -> Option<Failure> {
        let failure = self.full.as_ref()?;
        if !self.ballast.make_now_and_then() {
            return Some(failure.clone().certain());
        }
        tracing::info!("the ledger's disk has room again");
        self.full = None;
        self.down = None;
        self.metrics.ledger_writable(true);
        None
    }

    /// [ENG-52] Commit those of the changes that failed and that free room.
    async fn commit_what_frees(
        &mut self,
        batch: &[&Change],
        mut answers: Vec<Result<bool, Failure>>,
    ) -> Vec<Result<bool, Failure>> {
        let (at, freeing): (Vec<usize>, Vec<&Change>) = (0..)
            .zip(batch)
            .zip(&answers)
            .filter(|((_, change), answer)| change.kind.frees_room() && answer.is_err())
            .map(|(found, _)| found)
            .unzip();
        if freeing.is_empty() {
            return answers;
        }
        let freed = self.commit_all(&freeing).await;
        for (at, answer) in at.into_iter().zip(freed) {
            if let Some(slot) = answers.get_mut(at) {
                *slot = answer;
            }
        }
        answers
    }

    async fn commit_all(&mut self, batch: &[&Change]) -> Vec<Result<bool, Failure>> {
        match self.settle(batch).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            // One bad change must not fail its neighbours.
            Err(failure) if failure.is_of_a_change() && batch.len() > 1 => {
                let mut answers = Vec::with_capacity(batch.len());
                for change in batch {
                    let alone = self.settle(std::slice::from_ref(change)).await;
                    answers.push(alone.map(|took_effect| took_effect.first().copied().unwrap_or(false)));
                }
                answers
            }
            Err(failure) => vec![Err(failure); batch.len()],
        }
    }

    /// Commit a batch, with a second attempt where the first one is known to have changed nothing.
    async fn settle(&mut self, batch: &[&Change]) -> Result<Vec<bool>, Failure> {
        let Failed { mut failure, in_doubt } = match self.attempt(batch).await {
            Ok(answers) => return Ok(answers),
            Err(failed) => failed,
        };
        // [ENG-41] a change that took effect is not tried again: it would be answered as one that came too late
        if let Some(answers) = in_doubt {
            match self.is_committed(batch, &answers).await.map_err(Failure::in_doubt)? {
                Some(true) => return Ok(answers),
                // And the connection that told this has overwritten what was left of it.
                Some(false) => failure = failure.certain(),
                None => return Err(failure),
            }
        }
        if !failure.is_worth_another_try() {
            return Err(failure);
        }
        self.attempt(batch).await.map_err(|again| again.failure)
    }

    async fn attempt(&mut self, batch: &[&Change]) -> Result<Vec<bool>, Failed> {
        let mut db = self.connection().await.map_err(Failed::undone)?;
        match transact(&mut db, batch).await {
            Ok(answers) => {
                self.db = Some(db);
                Ok(answers)
            }
            Err(mut failed) => {
                // [ENG-40] whatever failed: this connection may be inside of a transaction, and is not used again
                self.metrics.commit_failed();
                discard(db).await;
                failed.failure = failed.failure.or_full(|| self.ballast.lacks_room());
                tracing::warn!(cause = %failed.failure, changes = batch.len(), "a transaction of the ledger failed");
                self.use_ballast(&failed.failure);
                Err(failed)
            }
        }
    }

    /// [ENG-52] From now on the ballast gives room, if the failure was one of room, and for what frees it alone.
    fn use_ballast(&mut self, failure: &Failure) {
        if !failure.is_full() || self.full.is_some() || !self.ballast.is_wanted() {
            return;
        }
        tracing::error!("the ledger's disk is full: {FULL}");
        self.metrics.ledger_writable(false);
        self.full = Some(failure.clone());
        self.ballast.release();
        self.down = None;
    }

    /// Whether a batch is in the file, as far as its rows tell. `would` are its answers if it is.
    async fn is_committed(&mut self, batch: &[&Change], would: &[bool]) -> Result<Option<bool>, Failure> {
        let mut db = self.connection().await?;
        let mut found = Ok(None);
        for (change, _) in batch.iter().zip(would).filter(|(_, took_effect)| **took_effect) {
            let Some(query) = change.kind.evidence() else { continue };
            found = sqlx::query_scalar::<_, Option<bool>>(query).bind(&change.row).fetch_one(&mut db).await;
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        if found.is_ok() {
            self.db = Some(db);
        } else {
            discard(db).await;
        }
        Ok(found?)
    }

    /// Take the connection, or open one. Whoever used it without an error puts it back.
    async fn connection(&mut self) -> Result<SqliteConnection, Failure> {
        if let Some(db) = self.db.take() {
            return Ok(db);
        }
        if let Some((failure, until)) = &self.down
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        match open(&self.options).await {
            Ok(db) => {
                if self.down.take().is_some() {
                    tracing::info!("the ledger can be written again");
                    self.metrics.ledger_writable(self.full.is_none());
                }
                Ok(db)
            }
            Err(failure) => {
                let failure = failure.or_full(|| self.ballast.lacks_room());
                self.refuse(&failure);
                self.use_ballast(&failure);
                Err(failure)
            }
        }
    }

    /// There is no connection, for this reason.
    fn refuse(&mut self, failure: &Failure) {
        if self.down.is_none() {
            tracing::error!(cause = %failure, "the ledger cannot be written; every change is refused until it can");
            self.metrics.ledger_writable(false);
        }
        self.down = Some((failure.clone(), Instant::now() + RETRY_EVERY));
    }
}

/// A new connection that has just committed something.
async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, Failure> {
    prove(options.connect().await?).await
}

/// The same connection, after it has committed something.
pub(super) async fn prove(mut db: SqliteConnection) -> Result<SqliteConnection, Failure> {
    match sqlx::raw_sql(PROVE).execute(&mut db).await {
        Ok(proof) if proof.rows_affected() > 0 => Ok(db),
        Ok(_) => {
            discard(db).await;
            Err(Failure::broken("the file is not the ledger that was opened at the start"))
        }
        Err(error) => {
            discard(db).await;
            Err(error.into())
        }
    }
}

/// Close a connection of which nothing more is expected. An open transaction is rolled back by that.
pub(super) async fn discard(db: SqliteConnection) {
    if let Err(cause) = db.close().await {
        tracing::warn!(%cause, "a connection to the ledger cannot be closed");
    }
}

/// One transaction for the batch. Whatever it fails of, `db` is not to be used again.
///
/// Changes of the same row are kept apart in rounds, since one statement may touch a row only once.
async fn transact(db: &mut SqliteConnection, batch: &[&Change]) -> Result<Vec<bool>, Failed> {
    let mut transaction = db.begin().await.map_err(Failed::undone)?;
    let took_effect = apply(&mut transaction, batch).await.map_err(Failed::undone)?;
    match transaction.commit().await {
        Ok(()) => Ok(took_effect),
        Err(error) => {
            let failure = Failure::from(error);
            let in_doubt = (!failure.is_certain()).then_some(took_effect);
            Err(Failed { failure, in_doubt })
        }
    }
}

async fn apply(db: &mut SqliteConnection, batch: &[&Change]) -> Result<Vec<bool>, sqlx::Error> {
    let mut took_effect = vec![false; batch.len()];
    let mut waiting: Vec<usize> = (0..batch.len()).collect();
    while !waiting.is_empty() {
        let mut touched = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|i| {
            batch.get(*i).is_some_and(|change| touched.insert((change.kind.table(), &change.key)))
        });
        for kind in Statement::ALL {
            let rows: Vec<&str> = round
                .iter()
                .filter_map(|i| batch.get(*i))
                .filter(|c| c.kind == kind)
                .map(|c| c.row.as_str())
                .collect();
            if rows.is_empty() {
                continue;
            }
            let changed: HashSet<String> = sqlx::query_scalar(kind.sql())
                .bind(format!("[{}]", rows.join(",")))
                .fetch_all(&mut *db)
                .await?
                .into_iter()
                .collect();
            for i in &round {
                if let (Some(change), Some(took_effect)) = (batch.get(*i), took_effect.get_mut(*i))
                    && change.kind == kind
                {
                    *took_effect = changed.contains(&change.key);
                }
            }
        }
        waiting = later;
    }
    Ok(took_effect)
}

#[cfg(test)]
mod tests;
