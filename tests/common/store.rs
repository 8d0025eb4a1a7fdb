//! A look behind the server's back: the ledger's rows and the blobs on disk.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) phase: String,
    pub(crate) generation: i64,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
    pub(crate) blob: String,
}

/// The ledger of a server that does not run, read from a copy: opening the files themselves would let SQLite mend
/// what the server is to mend.
pub(crate) fn rows_at_rest(store: &Path) -> HashMap<String, Row> {
    let copy = tempfile::tempdir().expect("a folder");
    for file in ["ledger.db", "ledger.db-wal"] {
        match std::fs::copy(store.join(file), copy.path().join(file)) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => panic!("copying {file}: {e}"),
        }
    }
    if !copy.path().join("ledger.db").exists() {
        return HashMap::new();
    }
    read(SqliteConnectOptions::new().filename(copy.path().join("ledger.db")))
}

/// The ledger of a running server.
pub(crate) fn rows(store: &Path) -> HashMap<String, Row> {
    read(SqliteConnectOptions::new().filename(store.join("ledger.db")).read_only(true))
}

fn read(options: SqliteConnectOptions) -> HashMap<String, Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rows = runtime.block_on(async {
        let mut db = SqliteConnection::connect_with(&options).await.expect("the ledger opens");
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'uploads'")
            .fetch_one(&mut db)
            .await
            .expect("the ledger is a database");
        let rows = if tables == 0 {
            Vec::new()
        } else {
            sqlx::query(r#"SELECT name, phase, generation, "offset", length, blob FROM uploads"#)
                .fetch_all(&mut db)
                .await
                .expect("the ledger has its rows")
        };
        db.close().await.expect("the ledger closes");
        rows
    });
    let unsigned = |value: i64| u64::try_from(value).expect("sizes are not negative");
    rows.into_iter()
        .map(|row| {
            let found = Row {
                phase: row.get("phase"),
                generation: row.get("generation"),
                offset: unsigned(row.get("offset")),
                length: row.get::<Option<i64>, _>("length").map(unsigned),
                blob: row.get("blob"),
            };
            (row.get("name"), found)
        })
        .collect()
}

pub(crate) fn blob_path(store: &Path, blob: &str) -> PathBuf {
    store.join("blobs").join(&blob[..2]).join(blob)
}

/// The names of all blobs on disk.
pub(crate) fn blobs(store: &Path) -> Vec<String> {
    let Ok(shards) = std::fs::read_dir(store.join("blobs")) else { return Vec::new() };
    let mut found = Vec::new();
    for shard in shards.map(|shard| shard.expect("a shard").path()).filter(|shard| shard.is_dir()) {
        for blob in std::fs::read_dir(shard).expect("a shard is a folder") {
            found.push(blob.expect("a blob").file_name().into_string().expect("a name of ours"));
        }
    }
    found.sort();
    found
}

/// Let every blob look as if it had been written to so long ago.
pub(crate) fn age_blobs(store: &Path, age: std::time::Duration) {
    for blob in blobs(store) {
        let path = store.join("blobs").join(&blob[..2]).join(&blob);
        let file = std::fs::File::options().write(true).open(path).expect("a blob");
        let modified = file.metadata().and_then(|found| found.modified()).expect("a time");
        file.set_modified(modified - age).expect("its owner may");
    }
}
