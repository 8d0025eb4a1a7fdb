//! A ledger and a store belong together, and are served together or not at all: with another ledger every blob of a store
//! would be an orphan, and with another store every upload would be without its bytes.
//!
//! ```text
//!   ledger: identity.store = 3fa9...     store: blobs/store-id = 3fa9...     equal: served
//!                  none yet                            none yet              tied together, if what they hold fits
//!   anything else: the start is refused, and nothing is touched
//! ```

use std::{fmt::Write as _, sync::Arc, time::Duration};

use crate::{
    blobs::{
        Blobs,
        disk::DiskBlobs,
        identity::{self, StoreIdentity},
    },
    clock::Timestamp,
    config::Config,
    fault::{Component, Fault},
    id,
    ledger::{Ledger, sqlite::SqliteLedger},
    upload::BlobKey,
};

/// Blobs that are looked up at a time.
const CHUNK: usize = 500;
/// Blobs that are named in the log.
const NAMED: usize = 20;

/// Orphans are at least a day old: a copy of the ledger from within the last hour knows all that could be taken for one.
const COUNT_EVERY: Duration = Duration::from_secs(3600);
/// A stop is not held up for longer by this.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the two hold, where their ids do not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    /// The ledger has uploads with bytes.
    rows: bool,
    /// The store has blobs.
    blobs: bool,
    /// The ledger knows at least one of them.
    known: bool,
}

/// Why they are not served together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mismatch {
    /// Each holds something of its own.
    Strangers,
    /// A ledger that knows nothing, and a store with blobs.
    EmptyLedger,
    /// A ledger with uploads, and a store that has none of their bytes.
    EmptyStore,
}

/// [ENG-45] Whether a ledger and a store without a common id may be tied together.
fn judge(ids: (Option<&str>, Option<&str>), holdings: Holdings) -> Result<(), Mismatch> {
    match (ids, holdings) {
        ((Some(ledger), Some(store)), _) if ledger != store => Err(Mismatch::Strangers),
        (_, Holdings { known: true, .. } | Holdings { rows: false, blobs: false, .. }) => Ok(()),
        (_, Holdings { rows: true, blobs: true, .. }) => Err(Mismatch::Strangers),
        (_, Holdings { rows: false, blobs: true, .. }) => Err(Mismatch::EmptyLedger),
        (_, Holdings { rows: true, blobs: false, .. }) => Err(Mismatch::EmptyStore),
    }
}

/// A ledger and the store of its blobs.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    ledger: Arc<SqliteLedger>,
    blobs: Arc<DiskBlobs>,
}

impl Pair {
    pub(super) fn new(ledger: Arc<SqliteLedger>, blobs: Arc<DiskBlobs>) -> Self {
        Self { ledger, blobs }
    }

    /// [ENG-45] Make sure that they belong together; a pair that never had an id gets one.
    ///
    /// # Errors
    /// A refusal whose text says what to do, or a fault.
    pub(super) async fn check(&self, config: &Config, now: Timestamp) -> Result<(), Fault> {
        let (theirs, ours) = (self.ledger.identity().await?, self.blobs.identity());
        let ids = (theirs.store.as_deref(), ours.as_ref().map(|ours| ours.id.as_str()));
        let is_pair = matches!(ids, (Some(ledger), Some(store)) if ledger == store);
        if !is_pair {
            let holdings = holdings(&self.ledger, &self.blobs).await?;
            judge(ids, holdings).map_err(|mismatch| refusal(config, mismatch))?;
        }
        let is_older = ours.as_ref().is_some_and(|ours| theirs.probes < ours.ledger_probes);
        let mut identity = ours.unwrap_or_else(|| StoreIdentity {
            id: theirs.store.clone().unwrap_or_else(id::random_hex_128),
            ledger_probes: 0,
            keep_until: None,
        });
        if theirs.store.as_ref() != Some(&identity.id) {
            self.ledger.adopt(&identity.id).await?;
        }
        if is_older {
            identity.keep_until = Some(now);
            self.tell_what_is_newer().await?;
        }
        match self.ledger.count_on().await {
            Ok(probes) => identity.ledger_probes = probes,
            // [ENG-52] it is served as it is
            Err(fault) if fault.full => tracing::warn!(%fault, "the start is not recorded in the ledger"),
            Err(fault) => return Err(fault),
        }
        match self.blobs.set_identity(identity) {
            Err(fault) if fault.full && is_pair && !is_older => {
                tracing::warn!(%fault, "the start is not recorded in the store");
                Ok(())
            }
            written => written,
        }
    }

    /// [ENG-47] A ledger that is older than the store does not know the blobs since then, which makes no orphans of them.
    async fn tell_what_is_newer(&self) -> Result<(), Fault> {
        let unknown = unknown(&self.ledger, &self.blobs).await?;
        tracing::error!(
            blobs = unknown.count,
            names = unknown.names,
            "the ledger is older than the store, as after a restore from a backup: the blobs that it does not know are \
             kept, and never deleted as orphans; remove by hand what nobody misses"
        );
        Ok(())
    }

    /// Let the store know how far the ledger has come, so that every copy of the ledger from before can be told from it.
    /// The ledger counts first: the store never knows a higher number than its own ledger.
    pub(super) async fn count_on(&self) {
        let counted = async {
            let probes = self.ledger.count_on().await?;
            match self.blobs.identity() {
                Some(identity) => {
                    self.blobs.set_identity(StoreIdentity { ledger_probes: probes, ..identity })
                }
                None => Ok(()),
            }
        };
        match tokio::time::timeout(PATIENCE, counted).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "how far the ledger has come is not recorded in the store")
            }
            Err(_) => tracing::warn!("how far the ledger has come is not recorded in the store in time"),
        }
    }

    pub(super) async fn count_on_hourly(self) {
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            self.count_on().await;
        }
    }
}

/// [ENG-48] Tie a ledger and a store together that no server would serve together, whatever they hold; what it says of them.
///
/// # Errors
/// A fault.
pub(super) async fn adopt(ledger: &SqliteLedger, blobs: &DiskBlobs, now: Timestamp) -> Result<String, Fault> {
    let id = id::random_hex_128();
    ledger.adopt(&id).await?;
    let ledger_probes = ledger.count_on().await?;
    blobs.set_identity(StoreIdentity { id, ledger_probes, keep_until: Some(now) })?;
    let unknown = unknown(ledger, blobs).await?;
    let mut text = "the ledger and the store belong together from now on".to_owned();
    if unknown.count > 0 {
        let _ = write!(
            text,
            "\n{} blobs that no upload refers to are kept, and never deleted as orphans: {}",
            unknown.count, unknown.names
        );
    }
    Ok(text)
}

async fn holdings(ledger: &SqliteLedger, blobs: &DiskBlobs) -> Result<Holdings, Fault> {
    let mut found = Holdings { rows: ledger.has_bytes().await?, blobs: false, known: false };
    for page in 0..blobs.pages() {
        let keys = blobs.all_keys(page).await?;
        found.blobs |= !keys.is_empty();
        for some in keys.chunks(CHUNK) {
            if ledger.knows_any(some).await? {
                return Ok(Holdings { known: true, ..found });
            }
        }
    }
    Ok(found)
}

/// Blobs that no upload refers to.
#[derive(Debug, Default)]
struct Unknown {
    count: u64,
    /// The first of them.
    names: String,
}

async fn unknown(ledger: &SqliteLedger, blobs: &DiskBlobs) -> Result<Unknown, Fault> {
    let mut unknown = Unknown::default();
    let mut names: Vec<String> = Vec::new();
    for page in 0..blobs.pages() {
        let keys = blobs.all_keys(page).await?;
        for some in keys.chunks(CHUNK) {
            let referenced = ledger.referenced(some).await?;
            let strangers: Vec<&BlobKey> = some.iter().filter(|key| !referenced.contains(key)).collect();
            unknown.count += strangers.len() as u64;
            let left = NAMED.saturating_sub(names.len());
            names.extend(strangers.into_iter().take(left).map(|key| key.0.clone()));
        }
    }
    if unknown.count > names.len() as u64 {
        names.push("...".to_owned());
    }
    unknown.names = names.join(" ");
    Ok(unknown)
}

fn refusal(config: &Config, mismatch: Mismatch) -> Fault {
    let (url, path) = (config.ledger_url(), config.store.path.display());
    let what = match mismatch {
        Mismatch::Strangers => "the ledger belongs to another store, and the store to another ledger",
        Mismatch::EmptyLedger => "the ledger knows none of the files that the store holds",
        Mismatch::EmptyStore => {
            "the store holds none of the files that the ledger knows; is its disk mounted?"
        }
    };
    let here = std::env::current_dir().unwrap_or_default();
    let is_relative =
        !url.as_str().trim_start_matches("sqlite:").starts_with('/') || config.store.path.is_relative();
    let relative =
        if is_relative { format!(" (relative paths begin at {})", here.display()) } else { String::new() };
    let text = format!(
        "{what}: [ledger] url is {url}, [store] path is {path}{relative}. Nothing was changed.\n    \
         to do: correct the one that is wrong. If they do belong together, as after a restore from a backup, run \
         `plimsoll adopt` once",
        url = url.as_str()
    );
    Fault::new(Component::Ledger, "comparing the ledger with the store", text)
}

/// What can be said before the ledger is opened, which would make one where there is none: `store` is the id that it
/// holds, if it is there and holds one.
///
/// # Errors
/// The refusal that a start ends with.
pub(super) fn compare(config: &Config, store: Option<&str>) -> Result<(), Fault> {
    let doing = |e: std::io::Error| Fault::io("looking at the store", &e);
    let found = identity::read(&config.store.path).map_err(doing)?;
    if let (Some(store), Some(found)) = (store, &found)
        && found.id != store
    {
        return Err(refusal(config, Mismatch::Strangers));
    }
    if !SqliteLedger::is_there(config.ledger_url().as_str())
        && identity::holds_blobs(&config.store.path).map_err(doing)?
    {
        return Err(refusal(config, Mismatch::EmptyLedger));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn holdings(rows: bool, blobs: bool, known: bool) -> Holdings {
        Holdings { rows, blobs, known }
    }

    // [ENG-45]
    #[test]
    fn only_what_fits_is_tied_together() {
        let nothing = holdings(false, false, false);
        let fits = holdings(true, true, true);
        for ids in [(None, None), (Some("a"), None), (None, Some("a"))] {
            assert_eq!(judge(ids, nothing), Ok(()));
            assert_eq!(judge(ids, fits), Ok(()));
            assert_eq!(judge(ids, holdings(false, true, false)), Err(Mismatch::EmptyLedger));
            assert_eq!(judge(ids, holdings(true, false, false)), Err(Mismatch::EmptyStore));
            assert_eq!(judge(ids, holdings(true, true, false)), Err(Mismatch::Strangers));
            // Tombstones know it.
            assert_eq!(judge(ids, holdings(false, true, true)), Ok(()));
        }
        assert_eq!(judge((Some("a"), Some("b")), fits), Err(Mismatch::Strangers));
    }
}
