//! Concatenation on a local disk: file to file, in pieces, without a way through this process.
//!
//! `io::copy` between files is `copy_file_range` on Linux: the kernel shares the blocks where the file system can
//! (btrfs, xfs), and otherwise copies them itself.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    disk::{Durability, blocking, lost_or, start_writeback},
    space::{Booking, SpaceBook},
};
use crate::{
    fault::{Component, Fault},
    private::sync_folder,
};

/// Bytes between two looks at the room and at whether it shall go on.
const PIECE: u64 = 8 * 1024 * 1024;
const DOING: &str = "concatenating blobs";

/// A file to be made of others.
pub(super) struct Join {
    pub(super) path: PathBuf,
    pub(super) folder: PathBuf,
    /// Files and how many bytes of each.
    pub(super) parts: Vec<(PathBuf, u64)>,
    pub(super) durability: Durability,
    pub(super) space: Arc<SpaceBook>,
}

impl Join {
    /// Copy everything and make it durable. Whatever ends it early leaves no file.
    pub(super) async fn run(self, booking: Booking, stop: &CancellationToken) -> Result<(), Fault> {
        let copied = self.copy(booking, stop).await;
        if copied.is_err() {
            let path = self.path;
            let removed = blocking(DOING, move || match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            });
            if let Err(fault) = removed.await {
                tracing::warn!(%fault, "what a concatenation left behind stays until the next scan for orphans");
            }
        }
        copied
    }

    async fn copy(&self, booking: Booking, stop: &CancellationToken) -> Result<(), Fault> {
        let mut claim = booking.into_claim();
        let path = self.path.clone();
        // A former attempt may have left a file: it is begun again.
        let whole = Arc::new(
            blocking(DOING, move || {
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
            })
            .await?,
        );
        let mut at = 0;
        for (path, length) in &self.parts {
            let path = path.clone();
            let part = tokio::task::spawn_blocking(move || File::open(path));
            let part = part.await.map_err(|e| Fault::new(Component::Blobs, DOING, e))?;
            let part = Arc::new(part.map_err(|e| lost_or(DOING, &e))?);
            let mut left = *length;
            while left > 0 {
                if stop.is_cancelled() {
                    return Err(Fault::new(Component::Blobs, DOING, "it was told to stop"));
                }
                // [ENG-62] others may fill the disk meanwhile
                if self.space.is_overdrawn() {
                    return Err(Fault::no_room());
                }
                let size = left.min(PIECE);
                let (from, to) = (Arc::clone(&part), Arc::clone(&whole));
                let copied = blocking(DOING, move || {
                    let copied = io::copy(&mut (&*from).take(size), &mut &*to)?;
                    start_writeback(&to, at, copied);
                    Ok(copied)
                })
                .await?;
                if copied < size {
                    return Err(Fault::lost(DOING, "a part is shorter than its row says"));
                }
                if let Some(claim) = &mut claim {
                    claim.spend(size);
                }
                at += size;
                left -= size;
            }
        }
        if self.durability == Durability::Full {
            let folder = self.folder.clone();
            blocking(DOING, move || {
                whole.sync_data()?;
                sync_folder(&folder)
            })
            .await?;
        }
        Ok(())
    }
}
