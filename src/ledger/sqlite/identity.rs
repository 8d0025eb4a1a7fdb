//! Which store the ledger belongs to, and how to find out whether a store is that one.

use serde_json::Value;

use super::{SqliteLedger, fault, statements::Statement};
use crate::{fault::Fault, upload::BlobKey};

/// What the ledger says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerIdentity {
    /// The id of the store that its rows name blobs of; `None` when it was never tied to one.
    pub store: Option<String>,
    /// Grows with every start, and more often. An older backup of the file has a smaller one.
    pub probes: u64,
}

impl SqliteLedger {
    /// What the ledger says of itself.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn identity(&self) -> Result<LedgerIdentity, Fault> {
        let (store, probes): (Option<String>, i64) = sqlx::query_as("SELECT store, probes FROM identity")
            .fetch_one(&self.readers)
            .await
            .map_err(|e| fault("reading the ledger's identity", e))?;
        Ok(LedgerIdentity { store, probes: probes.unsigned_abs() })
    }

    /// Belong to this store from now on.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn adopt(&self, store: &str) -> Result<(), Fault> {
        let row = Value::from(store).to_string();
        self.writer.change(Statement::Adopt, Statement::IDENTITY, row).await.map(|_| ())
    }

    /// Count once more, durably, so that every older copy of the file can be told from it.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn count_on(&self) -> Result<u64, Fault> {
        let row = Statement::IDENTITY.to_owned();
        self.writer.change(Statement::Probe, Statement::IDENTITY, row).await?;
        Ok(self.identity().await?.probes)
    }

    /// Whether any upload that is not gone has bytes in a store.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn has_bytes(&self) -> Result<bool, Fault> {
        sqlx::query_scalar(
            r#"SELECT EXISTS (SELECT 1 FROM uploads WHERE phase IN ('receiving', 'complete') AND "offset" > 0)"#,
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|e| fault("looking for uploads with bytes", e))
    }

    /// Whether any row, of an upload that is gone too, names one of these blobs.
    ///
    /// # Errors
    /// A fault of the ledger.
    pub async fn knows_any(&self, blobs: &[BlobKey]) -> Result<bool, Fault> {
        let keys = Value::from(blobs.iter().map(|blob| blob.0.as_str()).collect::<Vec<_>>());
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM uploads WHERE blob IN (SELECT value FROM json_each(?1)))",
        )
        .bind(keys.to_string())
        .fetch_one(&self.readers)
        .await
        .map_err(|e| fault("matching blobs", e))
    }
}
