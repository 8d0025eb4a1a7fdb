//! Look-ups of uploads by name: all that is asked for while others run makes one query.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use sqlx::SqlitePool;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{BATCH, fault, rows::upload};
use crate::{
    fault::Fault,
    upload::{Name, Upload},
};

/// Look-ups that run at the same time; what is asked for meanwhile makes the next batch.
const LOOKUPS: usize = 2;

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) name: Name,
    pub(super) answer: oneshot::Sender<Result<Option<Upload>, Fault>>,
}

/// Ends when the ledger is dropped.
pub(super) async fn answer_lookups(readers: SqlitePool, mut asked: mpsc::Receiver<Lookup>) {
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
