//! Which store this is: a file in it that its ledger knows the id of, so that a store is never served, or swept, with
//! the ledger of another one.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, private};

/// The content of `<store.path>/blobs/store-id`. It lies beside the blobs, wherever a disk is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    /// 128 random bits in hex; the ledger holds the same.
    pub id: String,
    /// How often the ledger had been written when this was last compared. Never more than the ledger's own count, unless
    /// that one comes from an older backup.
    #[serde(default)]
    pub ledger_probes: u64,
    /// Blobs last written up to this moment are never taken for orphans: the ledger was older than the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
}

/// Where it is.
pub(super) fn file_in(store: &Path) -> PathBuf {
    store.join("blobs").join("store-id")
}

/// The identity of the store in this folder; `None` when it has none yet.
///
/// # Errors
/// When it cannot be read.
pub fn read(store: &Path) -> io::Result<Option<StoreIdentity>> {
    let text = match std::fs::read_to_string(file_in(store)) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    toml::from_str(&text).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

/// Whether there is any blob in the store of this folder, which need not be open.
///
/// # Errors
/// When a folder of it cannot be read.
pub fn holds_blobs(store: &Path) -> io::Result<bool> {
    let shards = match std::fs::read_dir(store.join("blobs")) {
        Ok(shards) => shards,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    for shard in shards {
        let shard = shard?;
        if shard.file_type()?.is_dir() && std::fs::read_dir(shard.path())?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn write(store: &Path, identity: &StoreIdentity) -> io::Result<()> {
    let text = toml::to_string(identity).map_err(io::Error::other)?;
    let note = "# Ties this store to its ledger. Made by the server; `plimsoll adopt` makes it anew.\n";
    private::replace_file(&file_in(store), format!("{note}{text}").as_bytes())
}
