//! Whether the file is whole: looked over once after the start, in the background, since it reads all of it.

use sqlx::SqlitePool;
use tokio::sync::watch;

use super::{failure::Failure, fault, open::DAMAGED};
use crate::fault::Fault;

/// What the look has found; nothing while it goes on.
#[derive(Clone, Debug)]
pub(super) struct Health {
    found: watch::Receiver<Option<Result<(), Fault>>>,
}

impl Health {
    /// Begin to look.
    pub(super) fn look(readers: SqlitePool) -> Self {
        let (tell, found) = watch::channel(None);
        tokio::spawn(async move {
            let _ = tell.send(Some(look_over(&readers).await));
        });
        Self { found }
    }

    /// The fault, when damage has been found already.
    pub(super) fn so_far(&self) -> Result<(), Fault> {
        self.found.borrow().clone().unwrap_or(Ok(()))
    }

    /// The same, after the whole file was looked at.
    pub(super) async fn known(&self) -> Result<(), Fault> {
        let mut found = self.found.clone();
        match found.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or(Ok(())),
            Err(_) => Err(fault("looking over the ledger", "it is closed")),
        }
    }
}

/// [ENG-53] An error that is not damage says nothing against the file.
async fn look_over(readers: &SqlitePool) -> Result<(), Fault> {
    let found: Result<String, _> = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(readers).await;
    let text = match found.map_err(Failure::from) {
        Ok(text) if text == "ok" => return Ok(()),
        Ok(text) => text,
        Err(failure) if failure.is_damage() => failure.to_string(),
        Err(failure) => {
            tracing::warn!(cause = %failure, "the ledger could not be looked over");
            return Ok(());
        }
    };
    tracing::error!("the ledger's file is damaged: {text}{DAMAGED}");
    Err(fault("looking over the ledger", format!("it is damaged: {text}")))
}
