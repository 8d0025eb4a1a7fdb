#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

use super::*;
use crate::ledger::sqlite::MIGRATIONS;

async fn committer(folder: &tempfile::TempDir) -> Committer {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("ledger.db"))
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_millis(50));
    let mut db = options.clone().create_if_missing(true).connect().await.unwrap();
    MIGRATIONS.run(&mut db).await.unwrap();
    let ballast = Ballast::new(folder.path().join("ledger.db-ballast"), 0);
    let lock = tempfile::tempfile().unwrap();
    Committer::new(options, Ok(db), None, ballast, lock, Metrics::new())
}

fn change(kind: Statement, row: Value) -> Change {
    Change::new(kind, row["name"].as_str().unwrap_or(Statement::IDENTITY), row.to_string()).0
}

fn record(name: &str) -> Change {
    let row = json!({
        "name": name, "id": name, "phase": "receiving", "generation": 1, "offset": 0, "length": 5, "blob": name,
        "blob_state": "", "created_at": 1, "updated_at": 1, "kind": "single",
    });
    change(Statement::Record, row)
}

fn fence(name: &str) -> Change {
    change(Statement::Fence, json!({ "name": name, "generation": 1, "offset": 0 }))
}

fn advance(name: &str, generation: u64, offset: u64, phase: &str) -> Change {
    let row = json!({
        "name": name, "generation": generation, "offset": offset, "length": 5, "phase": phase, "blob": name,
        "blob_state": "", "at": 2,
    });
    change(Statement::Advance, row)
}

fn remove(name: &str) -> Change {
    change(
        Statement::Tombstone,
        json!({ "name": name, "generation": 1, "seen": "receiving", "phase": "deleted", "at": 3 }),
    )
}

fn refs(batch: &[Change]) -> Vec<&Change> {
    batch.iter().collect()
}

fn answers(results: Vec<Result<bool, Failure>>) -> Vec<bool> {
    results.into_iter().map(Result::unwrap).collect()
}

// [ENG-41]
#[tokio::test]
async fn what_became_of_a_commit_whose_answer_was_lost_is_found_in_the_rows() {
    for batch in [
        vec![record("new")],
        vec![fence("old")],
        vec![remove("old")],
        vec![advance("old", 1, 5, "complete")],
        // The first one cannot tell, the second one can.
        vec![advance("older", 1, 3, "receiving"), fence("old")],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut committer = committer(&folder).await;
        assert_eq!(answers(committer.commit(&[record("old"), record("older")]).await), [true, true]);
        let would = vec![true; batch.len()];
        assert_eq!(committer.is_committed(&refs(&batch), &would).await.unwrap(), Some(false), "{batch:?}");
        assert_eq!(answers(committer.commit(&batch).await), would);
        assert_eq!(committer.is_committed(&refs(&batch), &would).await.unwrap(), Some(true), "{batch:?}");
    }
}

// [ENG-41]
#[tokio::test]
async fn a_change_whose_row_looks_alike_before_and_after_stays_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(&folder).await;
    assert_eq!(answers(committer.commit(&[record("old")]).await), [true]);
    let batch = [advance("old", 1, 3, "receiving")];
    assert_eq!(committer.is_committed(&refs(&batch), &[true]).await.unwrap(), None);
}

// [ENG-40]
#[tokio::test]
async fn a_commit_that_fails_leaves_no_transaction_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(&folder).await;
    // A deferred constraint is the failure of COMMIT itself that can be had without a broken disk.
    let mut db = committer.connection().await.unwrap();
    let schema = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER trap AFTER INSERT ON uploads WHEN NEW.name = 'bad' BEGIN INSERT INTO child VALUES (1); END";
    sqlx::raw_sql(schema).execute(&mut db).await.unwrap();
    committer.db = Some(db);

    assert!(committer.commit(&[record("bad")]).await[0].is_err());
    assert_eq!(answers(committer.commit(&[record("good")]).await), [true]);
    let results = committer.commit(&[record("one"), record("bad"), record("two")]).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);

    let options = SqliteConnectOptions::new().filename(folder.path().join("ledger.db")).read_only(true);
    let mut other = options.connect().await.unwrap();
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM uploads ORDER BY name").fetch_all(&mut other).await.unwrap();
    assert_eq!(names, ["good", "one", "two"]);
}

// [ENG-40]
#[tokio::test]
async fn a_lock_of_another_process_fails_the_batch_and_nothing_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(&folder).await;
    let options = SqliteConnectOptions::new().filename(folder.path().join("ledger.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert!(committer.commit(&[record("a")]).await[0].is_err());
    assert!(committer.commit(&[record("b")]).await[0].is_err());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    tokio::time::sleep(RETRY_EVERY).await;
    assert_eq!(answers(committer.commit(&[record("a"), record("b")]).await), [true, true]);
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM uploads").fetch_one(&mut other).await.unwrap();
    assert_eq!(found, 2);
}
