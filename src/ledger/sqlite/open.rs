//! Opening the file: its lock, its mode, its schema; and what is done when its disk is full at that moment.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    MIGRATIONS,
    ballast::Ballast,
    commit::{Committer, discard, prove},
    failure::Failure,
    fault,
};
use crate::{fault::Fault, private, telemetry::Metrics};

/// The WAL is cut to this size when it begins anew; without it, one large burst would keep its room for ever.
const WAL_KEPT: u64 = 16 * 1024 * 1024;

/// What to do about a damaged file.
pub(super) const DAMAGED: &str = "\n    to do: put a backup in its place, without the -wal and -shm of the damaged one, or \
                                  save what is left with `sqlite3 ledger.db .recover`; no blob is deleted meanwhile";

/// A file that is open.
pub(super) struct Opened {
    pub(super) committer: Committer,
    pub(super) readers: SqlitePool,
}

/// How every connection is made.
fn options(url: &str) -> Result<SqliteConnectOptions, Fault> {
    Ok(SqliteConnectOptions::from_str(url)
        .map_err(|e| fault("reading ledger.url", e))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-16384")
        .pragma("journal_size_limit", WAL_KEPT.to_string())
        // RETURNING keeps its rows in a temporary table, which would be a file made and removed for each batch.
        .pragma("temp_store", "memory")
        .disable_statement_logging())
}

/// A file that belongs to the ledger's.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Open or create the ledger at `url`, with a ballast of so many bytes.
pub(super) async fn open(url: &str, ballast: u64, metrics: Arc<Metrics>) -> Result<Opened, Fault> {
    let options = options(url)?;
    let file = options.get_filename().to_path_buf();
    private::make_folder(&private::parent(&file)).map_err(|e| fault("creating the ledger's folder", e))?;
    let lock = lock(&file)?;
    if !file.exists() {
        // [ENG-49] SQLite gives the -wal and the -shm the mode of the file itself.
        private::open_file(&file).map_err(|e| fault("creating the ledger", e))?;
    }
    let mut ballast = Ballast::new(beside(&file, "-ballast"), ballast);
    let mut first = prepare(&options).await;
    let mut full = None;
    if let Err(failure) = &first
        && failure.is_full()
    {
        full = Some(failure.clone());
        if ballast.release_all() {
            first = prepare(&options).await;
        }
    }
    let db = match first {
        Ok(db) => Ok(db),
        // [ENG-52] what is there is served although nothing can be added
        Err(failure) if failure.is_full() && is_current(&options).await => Err(failure),
        Err(failure) => return Err(unopened(&failure)),
    };
    let readers = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options.clone().read_only(true))
        .await
        .map_err(|e| unopened(&e.into()))?;
    private::warn_of_exposed([
        file.as_path(),
        &beside(&file, "-wal"),
        &beside(&file, "-shm"),
        &beside(&file, "-ballast"),
    ]);
    let committer = Committer::new(options, db, full, ballast, lock, metrics);
    Ok(Opened { committer, readers })
}

/// [ENG-46] A lock beside the file, held as long as the value lives: SQLite's own lock lets in every process for a moment.
fn lock(file: &Path) -> Result<File, Fault> {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let lock =
        private::open_file(&beside(&path, "-lock")).map_err(|e| fault("opening the ledger's lock", e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(fault(
            "locking the ledger",
            "another server uses this ledger\n    to do: stop it first, or give this one a [ledger] url of its own",
        )),
        Err(TryLockError::Error(e)) => Err(fault("locking the ledger", e)),
    }
}

/// A connection to a file whose schema is up to date, and which takes writes.
async fn prepare(options: &SqliteConnectOptions) -> Result<SqliteConnection, Failure> {
    let mut db = options.connect().await?;
    if let Err(error) = MIGRATIONS.run(&mut db).await {
        discard(db).await;
        if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
            return Err(error.into());
        }
        return Err(Failure::broken(format!("its schema cannot be brought up to date: {error}")));
    }
    prove(db).await
}

/// Whether the file can be read as it is by this version.
async fn is_current(options: &SqliteConnectOptions) -> bool {
    let Ok(mut db) = options.clone().read_only(true).connect().await else { return false };
    let applied: Result<Vec<i64>, _> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(&mut db).await;
    discard(db).await;
    applied.is_ok_and(|applied| MIGRATIONS.iter().all(|known| applied.contains(&known.version)))
}

fn unopened(failure: &Failure) -> Fault {
    let advice = if failure.is_full() {
        "\n    to do: make room on the ledger's disk; not even what is there can be read without"
    } else if failure.is_damage() {
        DAMAGED
    } else {
        ""
    };
    fault("opening the ledger", format!("{failure}{advice}"))
}
