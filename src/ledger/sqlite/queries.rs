//! What the readers ask. [ENG-85] Each query is answered from an index that holds only what it asks for; the tests read
//! SQLite's plans.

/// Rows whose `expires_at` has come.
pub(super) const EXPIRED: &str = "SELECT * FROM uploads
    WHERE phase IN ('receiving', 'complete') AND expires_at <= ?1 ORDER BY expires_at LIMIT ?3 OFFSET ?2";

/// Rows whose retention has ended.
pub(super) const RETIRED: &str = "SELECT * FROM uploads
    WHERE phase = 'complete' AND completed_at <= ?1 ORDER BY completed_at LIMIT ?3 OFFSET ?2";

/// Tombstones whose time has come.
pub(super) const FORGETTABLE: &str = "SELECT name FROM uploads
    WHERE phase IN ('deleted', 'expired', 'retention') AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2";

/// How many uploads were completed in a time, and their bytes.
pub(super) const COMPLETED_BETWEEN: &str = r#"SELECT count(*), coalesce(sum("offset"), 0) FROM uploads
    WHERE phase = 'complete' AND completed_at > ?1 AND completed_at <= ?2"#;

/// Uploads in the order of their completion.
pub(super) const COMPLETED_SINCE: &str = "SELECT * FROM uploads
    WHERE phase = 'complete' AND completed_at >= ?1 ORDER BY completed_at LIMIT ?3 OFFSET ?2";

/// Incomplete uploads by their names.
pub(super) const RECEIVING: &str =
    "SELECT * FROM uploads WHERE phase = 'receiving' AND name > ?1 ORDER BY name LIMIT ?2";

/// [ENG-89] Concatenations that a part may have been the last one of.
pub(super) const PENDING_FINALS: &str = "SELECT uploads.* FROM final_parts JOIN uploads ON uploads.name = final_parts.final
    WHERE final_parts.part = ?1 AND uploads.phase = 'receiving'
        AND NOT EXISTS (SELECT 1 FROM final_parts AS open WHERE open.final = final_parts.final AND open.is_settled = 0)";

/// The rows of many names.
pub(super) const NAMED: &str = "SELECT * FROM uploads WHERE name IN (SELECT value FROM json_each(?1))";

/// Which of many blobs belong to a row.
pub(super) const REFERENCED: &str = "SELECT blob FROM uploads
    WHERE blob IN (SELECT value FROM json_each(?1)) AND phase IN ('receiving', 'complete')";

/// A note of an earlier run.
pub(super) const NOTE: &str = "SELECT value FROM notes WHERE key = ?1";

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Row, SqliteConnection};

    use super::*;
    use crate::ledger::sqlite::{MIGRATIONS, statements::Statement};

    /// The steps of SQLite's plan for a query, with NULL for each of its values.
    async fn plan(db: &mut SqliteConnection, query: &str) -> Vec<String> {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let mut asked = sqlx::query(sqlx::AssertSqlSafe(explain));
        for _ in 1..=3 {
            if query.contains("?1") {
                asked = asked.bind(None::<i64>);
            }
        }
        asked.fetch_all(db).await.unwrap().iter().map(|row| row.get("detail")).collect()
    }

    async fn database() -> SqliteConnection {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        MIGRATIONS.run(&mut db).await.unwrap();
        db
    }

    // [ENG-85]
    #[tokio::test]
    async fn no_query_walks_the_uploads() {
        let mut db = database().await;
        for (query, index) in [
            (EXPIRED, "USING INDEX uploads_due"),
            (RETIRED, "USING INDEX uploads_completed"),
            (FORGETTABLE, "USING INDEX uploads_forgettable"),
            (COMPLETED_BETWEEN, "USING INDEX uploads_completed"),
            (COMPLETED_SINCE, "USING INDEX uploads_completed"),
            (RECEIVING, "INDEX uploads_receiving"),
            (PENDING_FINALS, "final_parts USING PRIMARY KEY"),
            (PENDING_FINALS, "final_parts_open"),
            (NAMED, "uploads USING PRIMARY KEY"),
            (REFERENCED, "INDEX uploads_blob"),
            (NOTE, "notes USING PRIMARY KEY"),
        ] {
            let steps = plan(&mut db, query).await;
            let walks = |step: &String| step.starts_with("SCAN") && !step.contains("json_each");
            assert!(!steps.iter().any(walks), "{query}: {steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{query}: {steps:?}");
            assert!(steps.iter().any(|step| step.contains(index)), "{query}: {steps:?}");
        }
    }

    // [ENG-85]
    #[tokio::test]
    async fn no_change_walks_the_uploads() {
        let mut db = database().await;
        for kind in Statement::ALL {
            let steps = plan(&mut db, kind.sql()).await;
            let walks = |step: &String| {
                step.starts_with("SCAN")
                    && !["json_each", "c ", "identity"].iter().any(|of| step.contains(of))
            };
            assert!(!steps.iter().any(walks), "{kind:?}: {steps:?}");
        }
    }
}
