//! The embedded ledger: SQLite in WAL mode with `synchronous=FULL`.
//!
//! ```text
//!   record / fence / advance / bury ──> queue ──> one writer task ──> one transaction for all that is queued,
//!                                                                     one json_each statement a kind ──> answers
//!   find ───────────────────> queue ──> up to two at a time: one SELECT for all that is queued ──> answers
//!   due / receiving ─────────────────> a small pool of read-only connections
//! ```
//!
//! Rejected: a transaction for each change. It was measured at 90 to 111 us of CPU an upload; batches cost 8
//! to 16 us, and the sync of the log is shared by everyone in the batch, so that FULL costs what NORMAL does.
//! Rejected too: a query for each look-up. Every query is two changes of thread, since sqlx keeps each connection on
//! a thread of its own.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use super::{Advance, Ledger, Swap};
use crate::{
    clock::Timestamp,
    fault::{Component, Fault},
    telemetry::Metrics,
    upload::{About, BlobKey, BlobState, Generation, Gone, Kind, Name, Offset, Phase, Upload, UploadId},
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Changes that may wait in front of the writer task; more senders than this wait their turn.
const QUEUE: usize = 4096;
/// The largest batch of one transaction or look-up.
const BATCH: usize = 1024;
/// Look-ups that run at the same time; what is asked for meanwhile makes the next batch.
const LOOKUPS: usize = 2;

/// The kinds of change, each with its one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statement {
    Record,
    Fence,
    Advance,
    Bury,
}

impl Statement {
    const ALL: [Self; 4] = [Self::Record, Self::Fence, Self::Advance, Self::Bury];

    /// The statement takes a JSON array and returns the names of the rows that it changed.
    const fn sql(self) -> &'static str {
        match self {
            Self::Record => {
                r#"INSERT INTO uploads (name, id, phase, generation, "offset", length, blob, blob_state, filename,
                       content_type, owner, retain_until, created_at, updated_at, completed_at, expires_at,
                       metadata, kind, parts, concat)
                   SELECT value ->> 'name', value ->> 'id', value ->> 'phase', value ->> 'generation',
                       value ->> 'offset', value ->> 'length', value ->> 'blob', value ->> 'blob_state',
                       value ->> 'filename', value ->> 'content_type', value ->> 'owner',
                       value ->> 'retain_until', value ->> 'created_at', value ->> 'updated_at',
                       value ->> 'completed_at', value ->> 'expires_at', value ->> 'metadata', value ->> 'kind',
                       value ->> 'parts', value ->> 'concat'
                   FROM json_each(?1) WHERE true
                   ON CONFLICT (name) DO NOTHING
                   RETURNING name"#
            }
            // [ENG-12] each change is a compare-and-set on the generation
            Self::Fence => {
                r#"UPDATE uploads SET generation = generation + 1
                  FROM json_each(?1) AS c
                  WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                      AND uploads."offset" = c.value ->> 'offset' AND uploads.phase = 'receiving'
                  RETURNING uploads.name"#
            }
            Self::Advance => {
                r#"UPDATE uploads SET "offset" = c.value ->> 'offset', length = c.value ->> 'length',
                       phase = c.value ->> 'phase', blob = c.value ->> 'blob',
                       blob_state = c.value ->> 'blob_state',
                       content_type = coalesce(c.value ->> 'content_type', uploads.content_type),
                       updated_at = c.value ->> 'at', expires_at = c.value ->> 'expires_at',
                       completed_at = CASE c.value ->> 'phase' WHEN 'complete' THEN c.value ->> 'at' END
                   FROM json_each(?1) AS c
                   WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                       AND uploads.phase = 'receiving'
                   RETURNING uploads.name"#
            }
            Self::Bury => {
                r"UPDATE uploads SET phase = c.value ->> 'phase', generation = uploads.generation + 1,
                      updated_at = c.value ->> 'at', expires_at = NULL
                  FROM json_each(?1) AS c
                  WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                      AND uploads.phase IN ('receiving', 'complete')
                  RETURNING uploads.name"
            }
        }
    }
}

#[derive(Debug)]
struct Change {
    kind: Statement,
    name: Name,
    row: Value,
    answer: oneshot::Sender<Result<Swap, Fault>>,
}

#[derive(Debug)]
struct Lookup {
    name: Name,
    answer: oneshot::Sender<Result<Option<Upload>, Fault>>,
}

/// See the module's page.
#[derive(Debug)]
pub struct SqliteLedger {
    lookups: mpsc::Sender<Lookup>,
    queue: Mutex<Option<mpsc::Sender<Change>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: SqlitePool,
}

impl SqliteLedger {
    /// Open or create the ledger at `url` (`sqlite:PATH`) and bring its schema up to date.
    ///
    /// # Errors
    /// When the folder cannot be created or the file is not a ledger of a version that this program knows.
    pub async fn open(url: &str, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|e| fault("reading ledger.url", e))?
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(10))
            .pragma("cache_size", "-16384")
            // RETURNING keeps its rows in a temporary table, which would be a file made and removed for each batch.
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        let file = options.get_filename().to_path_buf();
        if let Some(folder) = file.parent().filter(|p| *p != Path::new("")) {
            std::fs::create_dir_all(folder).map_err(|e| fault("creating the ledger's folder", e))?;
        }
        let mut writer = options
            .clone()
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            .connect()
            .await
            .map_err(|e| fault("opening the ledger for writing", e))?;
        MIGRATIONS.run(&mut writer).await.map_err(|e| fault("migrating the ledger", e))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await
            .map_err(|e| fault("opening the ledger for reading", e))?;
        let (queue, changes) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write_changes(writer, changes, metrics));
        let (lookups, asked) = mpsc::channel(QUEUE);
        tokio::spawn(answer_lookups(readers.clone(), asked));
        Ok(Self { lookups, queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)), readers })
    }

    /// Say what the ledger at `url` holds, without creating or changing it.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn inspect(url: &str) -> Result<String, Fault> {
        let options = SqliteConnectOptions::from_str(url).map_err(|e| fault("reading ledger.url", e))?;
        if !options.get_filename().exists() {
            return Ok("SQLite; will be created at the first start".to_owned());
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
        db.close().await.map_err(|e| fault("closing the ledger", e))?;
        Ok(format!("SQLite; {complete} complete and {receiving} incomplete uploads"))
    }

    async fn change(&self, kind: Statement, name: &Name, row: Value) -> Result<Swap, Fault> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (answer, answered) = oneshot::channel();
        let change = Change { kind, name: name.clone(), row, answer };
        let closed = || fault("changing the ledger", "it is closed");
        queue.ok_or_else(closed)?.send(change).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn fault(doing: &'static str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(Component::Ledger, doing, cause)
}

async fn write_changes(mut db: SqliteConnection, mut changes: mpsc::Receiver<Change>, metrics: Arc<Metrics>) {
    let mut queued = Vec::with_capacity(BATCH);
    while changes.recv_many(&mut queued, BATCH).await > 0 {
        let began = Instant::now();
        metrics.commit_batch(queued.len());
        match commit(&mut db, &queued).await {
            Ok(changed) => {
                metrics.commit(began.elapsed());
                for (change, swap) in queued.drain(..).zip(changed) {
                    // A caller that went away has no use for the answer; the change is committed all the same.
                    let _ = change.answer.send(Ok(swap));
                }
            }
            // One bad change must not fail its neighbours: each is tried again on its own.
            Err(cause) => {
                tracing::warn!(%cause, changes = queued.len(), "a batch failed; committing its changes one by one");
                for change in queued.drain(..) {
                    let result = commit(&mut db, std::slice::from_ref(&change)).await;
                    let swap = result
                        .map(|swaps| swaps.first().copied().unwrap_or(Swap::Fenced))
                        .map_err(|cause| fault("committing a change", cause));
                    let _ = change.answer.send(swap);
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
/// Changes of the same name are kept apart in rounds, since one statement may touch a row only once.
async fn commit(db: &mut SqliteConnection, queued: &[Change]) -> Result<Vec<Swap>, sqlx::Error> {
    let mut swaps = vec![Swap::Fenced; queued.len()];
    let mut transaction = db.begin().await?;
    let mut waiting: Vec<usize> = (0..queued.len()).collect();
    while !waiting.is_empty() {
        let mut names = HashSet::new();
        let (round, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|i| queued.get(*i).is_some_and(|change| names.insert(&change.name)));
        for kind in Statement::ALL {
            let rows: Vec<&Value> = round
                .iter()
                .filter_map(|i| queued.get(*i))
                .filter(|c| c.kind == kind)
                .map(|c| &c.row)
                .collect();
            if rows.is_empty() {
                continue;
            }
            let changed: HashSet<String> = sqlx::query_scalar(kind.sql())
                .bind(Value::from(rows.into_iter().cloned().collect::<Vec<_>>()).to_string())
                .fetch_all(&mut *transaction)
                .await?
                .into_iter()
                .collect();
            for i in &round {
                if let (Some(change), Some(swap)) = (queued.get(*i), swaps.get_mut(*i))
                    && change.kind == kind
                    && changed.contains(change.name.as_str())
                {
                    *swap = Swap::Done;
                }
            }
        }
        waiting = later;
    }
    transaction.commit().await?;
    Ok(swaps)
}

/// Ends when the ledger is dropped.
async fn answer_lookups(readers: SqlitePool, mut asked: mpsc::Receiver<Lookup>) {
    let running = Arc::new(Semaphore::new(LOOKUPS));
    while let Ok(place) = Arc::clone(&running).acquire_owned().await {
        let mut queued = Vec::new();
        if asked.recv_many(&mut queued, BATCH).await == 0 {
            return;
        }
        let readers = readers.clone();
        tokio::spawn(async move {
            let found = look_up(&readers, &queued).await;
            drop(place);
            for Lookup { name, answer } in queued {
                let row = found.as_ref().map(|rows| rows.get(name.as_str()).cloned());
                // A caller that went away has no use for the answer.
                let _ = answer.send(row.map_err(Clone::clone));
            }
        });
    }
}

async fn look_up(readers: &SqlitePool, queued: &[Lookup]) -> Result<HashMap<String, Upload>, Fault> {
    let names: Vec<&str> = queued.iter().map(|lookup| lookup.name.as_str()).collect();
    let rows = sqlx::query("SELECT * FROM uploads WHERE name IN (SELECT value FROM json_each(?1))")
        .bind(json!(names).to_string())
        .fetch_all(readers)
        .await
        .map_err(|e| fault("finding uploads", e))?;
    rows.iter().map(|row| upload(row).map(|found| (found.name.0.clone(), found))).collect()
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Receiving => "receiving",
        Phase::Complete => "complete",
        Phase::Gone(why) => why.word(),
    }
}

fn phase_of(word: &str) -> Result<Phase, String> {
    match word {
        "receiving" => Ok(Phase::Receiving),
        "complete" => Ok(Phase::Complete),
        "deleted" => Ok(Phase::Gone(Gone::Deleted)),
        "expired" => Ok(Phase::Gone(Gone::Expired)),
        "retention" => Ok(Phase::Gone(Gone::Retention)),
        other => Err(format!("unknown phase {other:?}")),
    }
}

fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Single => "single",
        Kind::Partial => "partial",
        Kind::Final(_) => "final",
    }
}

fn parts_text(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Single | Kind::Partial => None,
        Kind::Final(parts) => Some(json!(parts.iter().map(Name::as_str).collect::<Vec<_>>()).to_string()),
    }
}

fn kind_of(word: &str, parts: Option<&str>) -> Result<Kind, String> {
    match (word, parts) {
        ("single", _) => Ok(Kind::Single),
        ("partial", _) => Ok(Kind::Partial),
        ("final", Some(parts)) => {
            let names: Vec<String> = serde_json::from_str(parts).map_err(|e| e.to_string())?;
            Ok(Kind::Final(names.into_iter().map(Name).collect()))
        }
        (other, _) => Err(format!("unknown kind {other:?}")),
    }
}

fn unsigned(value: i64) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| format!("negative value {value}"))
}

fn upload(row: &SqliteRow) -> Result<Upload, Fault> {
    let parse = || -> Result<Upload, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Upload {
            name: Name(row.try_get("name")?),
            id: UploadId(row.try_get("id")?),
            phase: phase_of(row.try_get("phase")?)?,
            generation: Generation(unsigned(row.try_get("generation")?)?),
            offset: Offset(unsigned(row.try_get("offset")?)?),
            length: row.try_get::<Option<i64>, _>("length")?.map(unsigned).transpose()?,
            blob: BlobKey(row.try_get("blob")?),
            blob_state: BlobState(row.try_get("blob_state")?),
            about: About {
                filename: row.try_get("filename")?,
                content_type: row.try_get("content_type")?,
                owner: row.try_get("owner")?,
                retain_until: row.try_get::<Option<i64>, _>("retain_until")?.map(Timestamp),
                metadata: row.try_get("metadata")?,
                concat: row.try_get("concat")?,
            },
            kind: kind_of(row.try_get("kind")?, row.try_get("parts")?)?,
            created_at: Timestamp(row.try_get("created_at")?),
            updated_at: Timestamp(row.try_get("updated_at")?),
            completed_at: row.try_get::<Option<i64>, _>("completed_at")?.map(Timestamp),
            expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(Timestamp),
        })
    };
    parse().map_err(|cause| fault("reading a row", cause))
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

    async fn bury(&self, name: &Name, seen: Generation, why: Gone, at: Timestamp) -> Result<Swap, Fault> {
        let phase = phase_word(Phase::Gone(why));
        let row = json!({ "name": name.0, "generation": seen.0, "phase": phase, "at": at });
        self.change(Statement::Bury, name, row).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, Fault> {
        sqlx::query("SELECT * FROM uploads WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2")
            .bind(now.0)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| fault("listing due uploads", e))?
            .iter()
            .map(upload)
            .collect()
    }

    async fn receiving(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Upload>, Fault> {
        sqlx::query("SELECT * FROM uploads WHERE phase = 'receiving' AND name > ?1 ORDER BY name LIMIT ?2")
            .bind(after.map_or("", Name::as_str))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| fault("listing incomplete uploads", e))?
            .iter()
            .map(upload)
            .collect()
    }

    async fn pending_finals(&self, part: Option<&Name>) -> Result<Vec<Upload>, Fault> {
        sqlx::query(
            "SELECT * FROM uploads WHERE kind = 'final' AND phase = 'receiving'
                AND (?1 IS NULL OR EXISTS (SELECT 1 FROM json_each(parts) WHERE value = ?1))",
        )
        .bind(part.map(Name::as_str))
        .fetch_all(&self.readers)
        .await
        .map_err(|e| fault("listing concatenations", e))?
        .iter()
        .map(upload)
        .collect()
    }

    async fn find_all(&self, names: &[Name]) -> Result<Vec<Upload>, Fault> {
        let names = Value::from(names.iter().map(Name::as_str).collect::<Vec<_>>());
        sqlx::query("SELECT * FROM uploads WHERE name IN (SELECT value FROM json_each(?1))")
            .bind(names.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(|e| fault("finding uploads", e))?
            .iter()
            .map(upload)
            .collect()
    }

    async fn referenced(&self, blobs: &[BlobKey]) -> Result<Vec<BlobKey>, Fault> {
        let keys = Value::from(blobs.iter().map(|b| b.0.as_str()).collect::<Vec<_>>());
        let found: Vec<String> = sqlx::query_scalar(
            "SELECT blob FROM uploads WHERE blob IN (SELECT value FROM json_each(?1))
                AND phase IN ('receiving', 'complete')",
        )
        .bind(keys.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|e| fault("matching blobs", e))?;
        Ok(found.into_iter().map(BlobKey).collect())
    }

    async fn ping(&self) -> Result<(), Fault> {
        sqlx::query("SELECT 1 FROM uploads LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| fault("asking the ledger", e))?;
        Ok(())
    }

    async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.readers.close().await;
        if let Some(writer) = writer
            && let Err(cause) = writer.await
        {
            tracing::error!(%cause, "the ledger's writer ended badly");
        }
    }
}
