//! The embedded ledger: SQLite in WAL mode with `synchronous=FULL`.
//!
//! ```text
//!   record / fence / advance / tombstone,
//!   and the changes of sessions ────> queue ──> one writer task ──> one transaction for all that is queued,
//!                                                                     one json_each statement a kind ──> answers
//!   find ───────────────────> queue ──> up to two at a time: one SELECT for all that is queued ──> answers
//!   due / receiving ─────────────────> a small pool of read-only connections
//! ```
//!
//! Rejected: a transaction for each change. It was measured at 90 to 111 us of CPU an upload; batches cost 8
//! to 16 us, and the sync of the log is shared by everyone in the batch, so that FULL costs what NORMAL does.
//! Rejected too: a query for each look-up. Every query is two changes of thread, since sqlx keeps each connection on
//! a thread of its own.

mod ballast;
mod commit;
mod failure;
mod health;
mod identity;
mod lookups;
mod open;
mod queries;
mod rows;
mod sessions;
mod statements;
mod writer;

use std::{str::FromStr, sync::Arc};

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{
    ConnectOptions, Connection, Sqlite, SqlitePool,
    sqlite::{SqliteArguments, SqliteConnectOptions},
};
use tokio::sync::{mpsc, oneshot};

use self::{
    health::Health,
    lookups::{Lookup, answer_lookups},
    open::Opened,
    rows::{kind_word, parts_text, phase_word, unsigned, upload},
    statements::Statement,
    writer::Writer,
};
pub use self::{identity::LedgerIdentity, sessions::SqliteSessions};

use super::{Advance, Due, Extent, Ledger, Removal, Swap};
use crate::{
    clock::Timestamp,
    fault::{Component, Fault},
    telemetry::Metrics,
    upload::{BlobKey, Generation, Name, Offset, Phase, Upload},
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Changes that may wait in front of the writer task; more senders than this wait their turn.
const QUEUE: usize = 4096;
/// The largest batch of one transaction or look-up.
const BATCH: usize = 1024;

/// See the module's page.
#[derive(Debug)]
pub struct SqliteLedger {
    lookups: mpsc::Sender<Lookup>,
    writer: Writer,
    readers: SqlitePool,
    health: Health,
}

impl SqliteLedger {
    /// [`SqliteLedger::open_with`] without a ballast.
    ///
    /// # Errors
    /// The same.
    pub async fn open(url: &str, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        Self::open_with(url, 0, metrics).await
    }

    /// Open or create the ledger at `url` (`sqlite:PATH`), bring its schema up to date, and keep so many bytes free
    /// beside it for when the disk is full. When it is full now the ledger is opened nevertheless, and takes changes as
    /// soon as there is room.
    ///
    /// # Errors
    /// When the folder cannot be created, another server uses the file, or it is not a ledger of a version that this
    /// program knows.
    pub async fn open_with(url: &str, ballast: u64, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let Opened { committer, readers } = open::open(url, ballast, Arc::clone(&metrics)).await?;
        let writer = Writer::start(committer, readers.clone(), metrics);
        let (lookups, asked) = mpsc::channel(QUEUE);
        tokio::spawn(answer_lookups(readers.clone(), asked));
        let health = Health::look(readers.clone());
        Ok(Self { lookups, writer, readers, health })
    }

    /// Whether there is a file at `url`.
    #[must_use]
    pub fn is_there(url: &str) -> bool {
        SqliteConnectOptions::from_str(url).is_ok_and(|options| options.get_filename().exists())
    }

    /// What the ledger at `url` holds, and the id of its store, without creating or changing anything.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn inspect(url: &str) -> Result<(String, Option<String>), Fault> {
        let options = SqliteConnectOptions::from_str(url).map_err(|e| fault("reading ledger.url", e))?;
        if !options.get_filename().exists() {
            return Ok(("SQLite; will be created at the first start".to_owned(), None));
        }
        let mut db = options
            .read_only(true)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(|e| fault("opening the ledger for reading", e))?;
        let (complete, receiving): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE phase = 'complete'), count(*) FILTER (WHERE phase = 'receiving')
             FROM uploads",
        )
        .fetch_one(&mut db)
        .await
        .map_err(|e| fault("counting uploads", e))?;
        // A ledger of an earlier version has no such table.
        let store = sqlx::query_scalar("SELECT store FROM identity").fetch_one(&mut db).await.ok().flatten();
        db.close().await.map_err(|e| fault("closing the ledger", e))?;
        Ok((format!("SQLite; {complete} complete and {receiving} incomplete uploads"), store))
    }

    /// The sessions in the same file. They share the writer and its transactions, and end with the ledger.
    #[must_use]
    pub fn sessions(&self) -> SqliteSessions {
        SqliteSessions::new(self.writer.clone(), self.readers.clone())
    }

    async fn change(&self, kind: Statement, name: &Name, row: Value) -> Result<Swap, Fault> {
        let took_effect = self.writer.change(kind, name.as_str(), row.to_string()).await?;
        Ok(if took_effect { Swap::Done } else { Swap::Fenced })
    }

    async fn uploads(
        &self,
        doing: &'static str,
        query: sqlx::query::Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<Upload>, Fault> {
        query.fetch_all(&self.readers).await.map_err(|e| fault(doing, e))?.iter().map(upload).collect()
    }
}

fn fault(doing: &'static str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(Component::Ledger, doing, cause)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn find(&self, name: &Name) -> Result<Option<Upload>, Fault> {
        let (answer, answered) = oneshot::channel();
        let closed = || fault("finding an upload", "the ledger is closed");
        self.lookups.send(Lookup { name: name.clone(), answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    async fn record(&self, new: Upload) -> Result<Swap, Fault> {
        let row = json!({
            "name": new.name.0, "id": new.id.0, "phase": phase_word(new.phase),
            "generation": new.generation.0, "offset": new.offset.0, "length": new.length,
            "blob": new.blob.0, "blob_state": new.blob_state.0,
            "filename": new.about.filename, "content_type": new.about.content_type, "owner": new.about.owner,
            "retain_until": new.about.retain_until, "created_at": new.created_at,
            "updated_at": new.updated_at, "completed_at": new.completed_at, "expires_at": new.expires_at,
            "metadata": new.about.metadata, "kind": kind_word(&new.kind), "parts": parts_text(&new.kind),
            "concat": new.about.concat,
        });
        self.change(Statement::Record, &new.name, row).await
    }

    async fn fence(&self, name: &Name, seen: Generation, held: Offset) -> Result<Swap, Fault> {
        let row = json!({ "name": name.0, "generation": seen.0, "offset": held.0 });
        self.change(Statement::Fence, name, row).await
    }

    async fn advance(&self, p: Advance) -> Result<Swap, Fault> {
        let row = json!({
            "name": p.name.0, "generation": p.generation.0, "offset": p.offset.0, "length": p.length,
            "phase": phase_word(p.phase), "blob": p.blob.0, "blob_state": p.blob_state.0,
            "content_type": p.content_type, "at": p.at, "expires_at": p.expires_at,
        });
        self.change(Statement::Advance, &p.name, row).await
    }

    async fn tombstone(&self, removal: Removal) -> Result<Swap, Fault> {
        let (due, due_by) = match removal.due {
            None => (None, None),
            Some(Due::Expired(by)) => (Some("expired"), Some(by)),
            Some(Due::Retired(by)) => (Some("retired"), Some(by)),
        };
        let row = json!({
            "name": removal.name.0, "generation": removal.generation.0, "seen": phase_word(removal.phase),
            "phase": phase_word(Phase::Gone(removal.why)), "at": removal.at, "forget_at": removal.forget_at,
            "due": due, "due_by": due_by,
        });
        self.change(Statement::Tombstone, &removal.name, row).await
    }

    async fn forget(&self, now: Timestamp, limit: u32) -> Result<u64, Fault> {
        let names: Vec<String> = sqlx::query_scalar(queries::FORGETTABLE)
            .bind(now.0)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| fault("listing tombstones", e))?;
        let names: Vec<Name> = names.into_iter().map(Name).collect();
        let changes =
            names.iter().map(|name| self.change(Statement::Forget, name, json!({ "name": name.0 })));
        let mut forgotten = 0;
        for swap in join_all(changes).await {
            forgotten += u64::from(swap? == Swap::Done);
        }
        Ok(forgotten)
    }

    async fn due(&self, due: Due, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault> {
        let (query, by) = match due {
            Due::Expired(by) => (queries::EXPIRED, by),
            Due::Retired(by) => (queries::RETIRED, by),
        };
        let query = sqlx::query(query).bind(by.0).bind(skip).bind(limit);
        self.uploads("listing due uploads", query).await
    }

    async fn completed(&self, after: Option<Timestamp>, by: Timestamp) -> Result<Extent, Fault> {
        let (uploads, bytes): (i64, i64) = sqlx::query_as(queries::COMPLETED_BETWEEN)
            .bind(after.map_or(i64::MIN, |at| at.0))
            .bind(by.0)
            .fetch_one(&self.readers)
            .await
            .map_err(|e| fault("counting complete uploads", e))?;
        let unsigned = |n| unsigned(n).map_err(|e| fault("counting complete uploads", e));
        Ok(Extent { uploads: unsigned(uploads)?, bytes: unsigned(bytes)? })
    }

    async fn completed_since(&self, since: Timestamp, skip: u32, limit: u32) -> Result<Vec<Upload>, Fault> {
        let query = sqlx::query(queries::COMPLETED_SINCE).bind(since.0).bind(skip).bind(limit);
        self.uploads("listing complete uploads", query).await
    }

    async fn receiving(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Upload>, Fault> {
        let query = sqlx::query(queries::RECEIVING).bind(after.map_or("", Name::as_str)).bind(limit);
        self.uploads("listing incomplete uploads", query).await
    }

    async fn pending_finals(&self, part: &Name) -> Result<Vec<Upload>, Fault> {
        self.uploads("listing concatenations", sqlx::query(queries::PENDING_FINALS).bind(part.as_str())).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Fault> {
        sqlx::query_scalar(queries::NOTE)
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| fault("reading a note", e))
    }

    async fn take_note(&self, key: &str, value: &str) -> Result<(), Fault> {
        let row = json!({ "key": key, "value": value }).to_string();
        self.writer.change(Statement::Note, key, row).await.map(drop)
    }

    async fn find_all(&self, names: &[Name]) -> Result<Vec<Upload>, Fault> {
        let names = Value::from(names.iter().map(Name::as_str).collect::<Vec<_>>());
        self.uploads("finding uploads", sqlx::query(queries::NAMED).bind(names.to_string())).await
    }

    async fn referenced(&self, blobs: &[BlobKey]) -> Result<Vec<BlobKey>, Fault> {
        // [ENG-53] what a damaged index leaves out is no orphan
        self.health.known().await?;
        let keys = Value::from(blobs.iter().map(|b| b.0.as_str()).collect::<Vec<_>>());
        let found: Vec<String> = sqlx::query_scalar(queries::REFERENCED)
            .bind(keys.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(|e| fault("matching blobs", e))?;
        Ok(found.into_iter().map(BlobKey).collect())
    }

    async fn ping(&self) -> Result<(), Fault> {
        self.health.so_far()?;
        sqlx::query("SELECT 1 FROM uploads LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| fault("asking the ledger", e))?;
        self.writer.probe().await
    }

    async fn close(&self) {
        if let Some(writer) = self.writer.close()
            && let Err(cause) = writer.await
        {
            tracing::error!(%cause, "the ledger's writer ended badly");
        }
    }
}
