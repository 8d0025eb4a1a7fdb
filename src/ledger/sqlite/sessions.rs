//! Sessions in the ledger's file: one writer a file, so their changes go through the ledger's queue.

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row, SqlitePool};

use super::{statements::Statement, writer::Writer};
use crate::{
    clock::Timestamp,
    fault::{Component, Fault},
    session::{Fingerprint, Replaced, Session, SessionKey, Sessions},
    upload::Name,
};

/// Rows that `clean` removes at a time: some milliseconds of the writer, in which uploads wait.
const CHUNK: u32 = 100;
/// Rows that are chosen at a time when there are too many, since choosing looks at all of them.
const CHOSEN: u32 = 10_000;

/// See [`SqliteLedger::sessions`](super::SqliteLedger::sessions).
#[derive(Clone, Debug)]
pub struct SqliteSessions {
    writer: Writer,
    readers: SqlitePool,
}

/// A session as the statements read it.
#[derive(Serialize)]
struct SessionRow<'a> {
    key: &'a SessionKey,
    /// The version that must be stored, for a replacement.
    seen: Option<u64>,
    version: u64,
    /// Whom it is counted for.
    subject: String,
    expires_at: Timestamp,
    seen_at: Timestamp,
    is_open: bool,
    document: &'a Session,
}

impl SqliteSessions {
    pub(super) fn new(writer: Writer, readers: SqlitePool) -> Self {
        Self { writer, readers }
    }

    async fn store(&self, kind: Statement, session: &Session, seen: Option<u64>) -> Result<bool, Fault> {
        let row = SessionRow {
            key: &session.key,
            seen,
            version: session.version,
            subject: session.holder(),
            expires_at: session.expires_at,
            seen_at: session.seen_at,
            is_open: session.is_open,
            document: session,
        };
        let row = serde_json::to_string(&row).map_err(|e| fault("writing a session", e))?;
        self.writer.change(kind, &session.key.0, row).await
    }

    async fn bound(&self, token: &Fingerprint) -> Result<Option<Name>, Fault> {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM bindings WHERE token = ?1")
            .bind(&token.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| fault("reading a binding", e))?;
        Ok(name.map(Name))
    }

    /// Remove these rows, as many as have not changed since.
    async fn clean_rows(&self, kind: Statement, rows: Vec<(String, Value)>) -> Result<u64, Fault> {
        let changes = rows.iter().map(|(key, row)| self.writer.change(kind, key, row.to_string()));
        let mut removed = 0;
        for took_effect in join_all(changes).await {
            removed += u64::from(took_effect?);
        }
        Ok(removed)
    }

    /// Up to so many sessions of a query for their keys and versions.
    async fn chosen(
        &self,
        query: &'static str,
        bound: i64,
        limit: u32,
    ) -> Result<Vec<(String, Value)>, Fault> {
        let rows = sqlx::query(query).bind(bound).bind(limit).fetch_all(&self.readers).await;
        rows.map_err(|e| fault("choosing sessions to remove", e))?
            .iter()
            .map(|row| {
                let (key, version): (String, i64) = (row.try_get("key")?, row.try_get("version")?);
                let change = json!({ "key": key, "version": version });
                Ok((key, change))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|e| fault("choosing sessions to remove", e))
    }
}

fn fault(doing: &'static str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(Component::Sessions, doing, cause)
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn find(&self, key: &SessionKey) -> Result<Option<Session>, Fault> {
        let document: Option<String> = sqlx::query_scalar("SELECT document FROM sessions WHERE key = ?1")
            .bind(&key.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| fault("finding a session", e))?;
        document
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|e| fault("reading a session", e))
    }

    async fn record(&self, session: Session) -> Result<(), Fault> {
        self.store(Statement::RecordSession, &session, None).await.map(|_| ())
    }

    async fn replace(&self, session: Session, seen: u64) -> Result<Replaced, Fault> {
        let took_effect = self.store(Statement::ReplaceSession, &session, Some(seen)).await?;
        Ok(if took_effect { Replaced::Done } else { Replaced::Stale })
    }

    async fn remove(&self, key: &SessionKey) -> Result<bool, Fault> {
        self.writer.change(Statement::RemoveSession, &key.0, json!({ "key": key }).to_string()).await
    }

    async fn bind(&self, token: &Fingerprint, name: &Name, until: Timestamp) -> Result<Name, Fault> {
        if let Some(name) = self.bound(token).await? {
            return Ok(name);
        }
        let row = json!({ "token": token.0, "name": name.as_str(), "until": until });
        // Again only if `clean` removed, just now, the binding that was in the way.
        loop {
            if self.writer.change(Statement::Bind, &token.0, row.to_string()).await? {
                return Ok(name.clone());
            }
            if let Some(name) = self.bound(token).await? {
                return Ok(name);
            }
        }
    }

    async fn clean(&self, now: Timestamp, most: u64) -> Result<u64, Fault> {
        loop {
            let ended: Vec<String> =
                sqlx::query_scalar("SELECT token FROM bindings WHERE until <= ?1 ORDER BY until LIMIT ?2")
                    .bind(now.0)
                    .bind(CHUNK)
                    .fetch_all(&self.readers)
                    .await
                    .map_err(|e| fault("choosing bindings to remove", e))?;
            let rows = ended.into_iter().map(|token| (token.clone(), Value::from(token))).collect();
            if self.clean_rows(Statement::CleanBinding, rows).await? == 0 {
                break;
            }
        }
        let mut removed = 0;
        loop {
            let ended =
                "SELECT key, version FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
            let rows = self.chosen(ended, now.0, CHUNK).await?;
            match self.clean_rows(Statement::CleanSession, rows).await? {
                0 => break,
                n => removed += n,
            }
        }
        let mut beyond = self.count().await?.saturating_sub(most);
        while beyond > 0 {
            let limit = u32::try_from(beyond).unwrap_or(CHOSEN).min(CHOSEN);
            // [ENG-156] always one of the holder that holds most, its least
            let least = "SELECT key, version FROM (
                    SELECT key, version, is_open, seen_at, row_number() OVER (
                        PARTITION BY subject ORDER BY is_open DESC, seen_at DESC) AS nth
                    FROM sessions WHERE is_open <= ?1)
                ORDER BY nth DESC, is_open, seen_at LIMIT ?2";
            let rows = self.chosen(least, 1, limit).await?;
            let mut gone = 0;
            for chunk in rows.chunks(CHUNK as usize) {
                gone += self.clean_rows(Statement::CleanSession, chunk.to_vec()).await?;
            }
            removed += gone;
            beyond = if gone == 0 { 0 } else { beyond.saturating_sub(gone) };
        }
        Ok(removed)
    }

    async fn count(&self) -> Result<u64, Fault> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
            .fetch_one(&self.readers)
            .await
            .map_err(|e| fault("counting sessions", e))?;
        Ok(count.unsigned_abs())
    }
}
