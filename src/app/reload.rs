//! What a running server does anew: at SIGHUP it opens its logs again and reads its secrets again, and when a file with
//! secrets changes it reads them too. Everything else in the configuration waits for a restart.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

use super::ServeError;
use crate::{
    auth::{Keyring, Keys},
    config::{BasePath, Config, Loaded, Secret},
    telemetry::{Audit, LogHandle},
    wire::House,
};

/// How often the files with secrets are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that changed has to rest for so long before it is read: its writer may be in the middle of it.
const SETTLE: Duration = Duration::from_millis(200);

/// A base path and its secrets, newest first.
pub(super) type Guarded = (BasePath, Vec<Secret>);

/// The secrets of every base path that is served, in the order of the realms: slots, further slots, tus.
///
/// # Errors
/// A file with secrets cannot be read, made or trusted, or holds none.
pub(super) fn secrets(config: &Config) -> Result<Vec<Guarded>, ServeError> {
    let bases = config.resolve_secrets()?;
    let mut all: Vec<Guarded> = bases.into_iter().map(|base| (base.base_path, base.secrets)).collect();
    if config.tus.enabled {
        all.push((config.tus.base_path.clone(), config.grant_secrets()?));
    }
    for (path, mode) in config.exposed_secret_files() {
        tracing::warn!(
            path = %path.display(), mode = format!("{mode:04o}"),
            "every user of this machine can read or change this file with secrets; chmod 600 it, or 640 with the server's group"
        );
    }
    Ok(all)
}

/// The ring of one base path.
///
/// # Errors
/// There is no secret, or an empty one.
pub(super) fn ring((_, secrets): &Guarded) -> Result<Keyring, ServeError> {
    Ok(Keyring::new(secrets.iter().map(|secret| secret.expose().to_vec()).collect())?)
}

/// What tells that a file is another one, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// `None` where there is no file, or none that we may look at.
fn stamps(files: &[PathBuf]) -> BTreeMap<PathBuf, Option<Stamp>> {
    let stamp = |path: &Path| {
        fs::metadata(path).ok().map(|found| Stamp {
            inode: (found.dev(), found.ino()),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    };
    files.iter().map(|path| (path.clone(), stamp(path))).collect()
}

/// The secrets in effect, and what they were read from.
#[derive(Debug)]
struct Reloader {
    /// As the server was started.
    started: Loaded,
    /// The same with the secrets that count now.
    config: Config,
    secrets: Vec<Guarded>,
    /// Of the files when they were last read. Empty at the start: a change since the secrets were read is noticed.
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Reloader {
    /// [ENG-28] Reads the configuration again and takes its secrets over; when something is wrong, the old ones stay.
    fn reload(&mut self, keys: &[&Keys]) {
        let new = match self.started.again() {
            Ok(new) => new,
            Err(error) => {
                return tracing::error!(
                    "the old secrets stay in use: the configuration cannot be used\n{error}\n    to do: correct it \
                     (`plimsoll check` tells whether it is) and send SIGHUP again"
                );
            }
        };
        let waiting = self.started.needs_restart(&new);
        if !waiting.is_empty() {
            tracing::warn!(keys = waiting.join(", "), "changed in the configuration; needs a restart");
        }
        let config = self.started.with_secrets_of(&new);
        let stamps = stamps(&config.secret_files());
        match secrets(&config).and_then(|secrets| self.take(config, secrets, keys)) {
            Ok(()) => self.stamps = stamps,
            Err(error) => tracing::error!("the old secrets stay in use: {error}"),
        }
    }

    /// [ENG-29] Whether a file with secrets is not what it was when it was read.
    fn has_changed(&self) -> bool {
        stamps(&self.config.secret_files()) != self.stamps
    }

    /// Reads the files again, unless somebody is still writing.
    fn reread(&mut self, keys: &[&Keys], settle: Duration) {
        let files = self.config.secret_files();
        let before = stamps(&files);
        std::thread::sleep(settle);
        let is_missing = before.values().any(Option::is_none);
        let found = if is_missing {
            // A generated secret that was deleted is made anew at a start, or when it is asked for, and not by itself.
            Err("a file with secrets is gone\n    to do: write it again, or send SIGHUP".to_owned())
        } else {
            secrets(&self.config).map_err(|error| error.to_string())
        };
        if stamps(&files) != before {
            return;
        }
        self.stamps = before;
        let taken = found.and_then(|secrets| {
            if secrets == self.secrets {
                return Ok(());
            }
            self.take(self.config.clone(), secrets, keys).map_err(|error| error.to_string())
        });
        if let Err(error) = taken {
            tracing::error!("the old secrets stay in use: {error}");
        }
    }

    /// All of them or none.
    fn take(&mut self, config: Config, secrets: Vec<Guarded>, keys: &[&Keys]) -> Result<(), ServeError> {
        let rings = secrets.iter().map(ring).collect::<Result<Vec<_>, _>>()?;
        for (keys, ring) in keys.iter().zip(rings) {
            keys.replace(ring);
        }
        let counts = secrets.iter().map(|(path, secrets)| format!("{path}: {}", secrets.len()));
        tracing::info!(counts = counts.collect::<Vec<_>>().join(", "), "secrets reloaded");
        (self.config, self.secrets) = (config, secrets);
        Ok(())
    }
}

/// Does all of this from now on, until the task is aborted. `secrets` are those that the house's realms were made with.
///
/// # Errors
/// SIGHUP cannot be listened for.
pub(super) fn watch(
    started: &Loaded,
    secrets: Vec<Guarded>,
    house: Arc<House>,
    log: LogHandle,
    audit: Audit,
) -> io::Result<JoinHandle<()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    let config = started.config.clone();
    let mut reloader = Reloader { started: started.clone(), config, secrets, stamps: BTreeMap::new() };
    Ok(tokio::spawn(async move {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_hangup = tokio::select! {
                signal = hangups.recv() => match signal {
                    Some(()) => true,
                    None => return,
                },
                _ = looks.tick() => false,
            };
            if is_hangup {
                reopen(&log, &audit);
            }
            let house = Arc::clone(&house);
            // Files may lie on a disk that takes its time.
            let done = tokio::task::spawn_blocking(move || {
                let keys: Vec<&Keys> = house.realms.iter().map(|realm| &realm.keys).collect();
                if is_hangup {
                    reloader.reload(&keys);
                } else if reloader.has_changed() {
                    reloader.reread(&keys, SETTLE);
                }
                reloader
            });
            reloader = match done.await {
                Ok(reloader) => reloader,
                Err(error) => {
                    return tracing::error!(%error, "secrets are reloaded no more; restart the server to change them");
                }
            };
        }
    }))
}

/// [ENG-30] Both are tried, whatever becomes of the other.
fn reopen(log: &LogHandle, audit: &Audit) {
    match log.reopen() {
        Ok(()) => tracing::info!("log reopened"),
        Err(error) => tracing::error!(%error, "the log goes on in the old file"),
    }
    match audit.reopen() {
        Ok(()) => {}
        Err(error) => tracing::error!(%error, "the audit log goes on in the old file"),
    }
}

#[cfg(test)]
mod tests;
