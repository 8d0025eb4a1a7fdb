//! The secrets of every base path, from the config, from files, or generated once and kept.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{BasePath, Config, Secret, validate::has_secret};
use crate::id;

/// A base path and the secrets that guard it. The first mints, all are accepted; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotBase {
    pub base_path: BasePath,
    pub secrets: Vec<Secret>,
}

/// Why the secrets cannot be had. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error(
        "the secret file {path} cannot be read: {source}\n    to do: correct secret_file, or let the server's user read it"
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("the secret file {path} holds no secret\n    to do: write one secret a line into it")]
    Empty { path: PathBuf },
    #[error(
        "the generated secret {path} cannot be made: {source}\n    to do: let the server's user write to the store, or set [slots] secret"
    )]
    Create { path: PathBuf, source: io::Error },
    #[error(
        "no secret is configured, and {path} does not exist: no server has started with this configuration here\n    to do: name the server's file with --config, or run this in the server's working directory; `plimsoll serve` generates the secret at its first start"
    )]
    NotGenerated { path: PathBuf },
    #[error(
        "the generated secret {path} can be read by others (mode {mode:04o})\n    to do: chmod 600 it if nobody saw it; otherwise delete it, and a new one is made at the next start"
    )]
    Exposed { path: PathBuf, mode: u32 },
}

/// Far above any list of secrets; a path that leads to a disk or an endless device ends here.
const LARGEST_SECRET_FILE: u64 = 1 << 20;

impl Config {
    /// The base paths with their secrets, those of `[slots]` first. Reads the secret files. When `[slots]`
    /// has no secret, reads the one generated earlier, or generates one (32 random bytes in hex) and keeps it
    /// in the store with mode 0600.
    ///
    /// # Errors
    /// A file that cannot be read, made or trusted.
    pub fn resolve_secrets(&self) -> Result<Vec<SlotBase>, SecretsError> {
        if self.secret_is_generated() && !self.generated_secret_path().exists() {
            let path = self.generated_secret_path();
            create(&path).map_err(|source| SecretsError::Create { path, source })?;
        }
        let found = self.inspect_secrets()?.into_iter().map(|(base_path, secrets)| {
            if secrets.is_empty() {
                return Err(SecretsError::Empty { path: self.generated_secret_path() });
            }
            Ok(SlotBase { base_path, secrets })
        });
        found.collect()
    }

    /// The same for a command that is not the server: nothing is generated, since a secret that the running server does
    /// not know would mint tokens that it refuses.
    ///
    /// # Errors
    /// As [`Config::resolve_secrets`], and when the secret is still to be generated.
    pub fn existing_secrets(&self) -> Result<Vec<SlotBase>, SecretsError> {
        let path = self.generated_secret_path();
        if self.secret_is_generated() && !path.exists() {
            return Err(SecretsError::NotGenerated { path });
        }
        self.resolve_secrets()
    }

    /// The same without making anything: a secret that is still to be generated is missing from the list.
    ///
    /// # Errors
    /// A file that cannot be read or trusted.
    pub fn inspect_secrets(&self) -> Result<Vec<(BasePath, Vec<Secret>)>, SecretsError> {
        let slots = &self.slots;
        let own = if self.secret_is_generated() {
            generated(&self.generated_secret_path())?.into_iter().collect()
        } else {
            gather(slots.secret.as_ref(), &slots.secrets, slots.secret_file.as_deref())?
        };
        let mut bases = vec![(slots.base_path.clone(), own)];
        for also in &self.slots_also {
            // A table without a base path does not pass validation.
            let Some(base_path) = also.base_path.clone() else { continue };
            bases
                .push((base_path, gather(also.secret.as_ref(), &also.secrets, also.secret_file.as_deref())?));
        }
        Ok(bases)
    }

    /// The secrets of grants: those of `[tus]`, or else those of `[slots]`; there is at least one.
    ///
    /// # Errors
    /// As [`Config::existing_secrets`].
    pub fn grant_secrets(&self) -> Result<Vec<Secret>, SecretsError> {
        let tus = &self.tus;
        if has_secret(tus.secret.as_ref(), &tus.secrets, tus.secret_file.as_ref()) {
            return gather(tus.secret.as_ref(), &tus.secrets, tus.secret_file.as_deref());
        }
        let slots = self.existing_secrets()?.into_iter().next().map(|base| base.secrets);
        slots.ok_or_else(|| SecretsError::Empty { path: self.generated_secret_path() })
    }

    /// True when no secret is configured, so that the server makes and keeps one.
    #[must_use]
    pub fn secret_is_generated(&self) -> bool {
        let slots = &self.slots;
        !has_secret(slots.secret.as_ref(), &slots.secrets, slots.secret_file.as_ref())
    }

    /// Where the generated secret is kept.
    #[must_use]
    pub fn generated_secret_path(&self) -> PathBuf {
        self.store.path.join("slot-secret")
    }
}

fn gather(one: Option<&Secret>, more: &[Secret], file: Option<&Path>) -> Result<Vec<Secret>, SecretsError> {
    let mut all: Vec<Secret> = one.into_iter().chain(more).cloned().collect();
    if let Some(path) = file {
        let read_error = |source| SecretsError::Read { path: path.to_owned(), source };
        let lines = secrets_in(&read_limited(File::open(path).map_err(read_error)?).map_err(read_error)?);
        if lines.is_empty() {
            return Err(SecretsError::Empty { path: path.to_owned() });
        }
        all.extend(lines);
    }
    Ok(all)
}

/// One secret a line; the end of a line (LF or CRLF) is no part of it.
fn secrets_in(bytes: &[u8]) -> Vec<Secret> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Secret::new(line.strip_suffix(b"\r").unwrap_or(line)))
        .collect()
}

fn read_limited(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_SECRET_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_SECRET_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(bytes)
}

/// The secret that was generated earlier; none if there is no such file yet.
fn generated(path: &Path) -> Result<Option<Secret>, SecretsError> {
    let read_error = |source| SecretsError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(read_error(why)),
    };
    let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::Exposed { path: path.to_owned(), mode });
    }
    let found = secrets_in(&read_limited(file).map_err(read_error)?).into_iter().next();
    found.map(Some).ok_or_else(|| SecretsError::Empty { path: path.to_owned() })
}

/// Makes the file whole and durable under another name and then links it to its own, so that two processes
/// that start together agree on one secret and neither reads half of it.
fn create(path: &Path) -> io::Result<()> {
    let store = path.parent().unwrap_or(Path::new("."));
    // Uploads are nobody's business but the server's.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(store)?;
    let draft = path.with_extension(id::random_hex_128());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(format!("{}\n", id::hex(&id::random_bytes::<32>())).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&draft, path) {
            // Another process was first: its secret counts.
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&draft)?;
    written?;
    File::open(store)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_in(dir: &Path) -> Config {
        let mut config = Config::default();
        config.store.path = dir.join("data");
        config
    }

    fn bytes_of(base: &SlotBase) -> Vec<&[u8]> {
        base.secrets.iter().map(Secret::expose).collect()
    }

    #[test]
    fn a_generated_secret_is_kept_private_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        let first = config.resolve_secrets().unwrap();
        let key = first[0].secrets[0].expose();
        assert!(key.len() == 64 && key.iter().all(u8::is_ascii_hexdigit));
        let mode = fs::metadata(config.generated_secret_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&config.store.path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(config.resolve_secrets().unwrap(), first);
        assert_eq!(fs::read_dir(&config.store.path).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_generated_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        config.resolve_secrets().unwrap();
        for mode in [0o640, 0o604, 0o660, 0o610] {
            fs::set_permissions(config.generated_secret_path(), fs::Permissions::from_mode(mode)).unwrap();
            let refusal = config.resolve_secrets().unwrap_err().to_string();
            assert!(refusal.contains("chmod 600") && refusal.contains(&format!("{mode:04o}")), "{refusal}");
        }
    }

    #[test]
    fn processes_that_start_together_agree_on_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        let all: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..16).map(|_| scope.spawn(|| config.resolve_secrets().unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| *one == all[0]));
    }

    #[test]
    fn an_emptied_generated_secret_is_refused_instead_of_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        config.resolve_secrets().unwrap();
        fs::write(config.generated_secret_path(), "").unwrap();
        assert!(matches!(config.resolve_secrets(), Err(SecretsError::Empty { .. })));
    }

    #[test]
    fn inspecting_makes_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        assert_eq!(config.inspect_secrets().unwrap()[0].1, []);
        assert!(!config.store.path.exists());
    }

    #[test]
    fn a_link_to_nowhere_in_place_of_the_generated_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_in(dir.path());
        fs::create_dir(&config.store.path).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", config.generated_secret_path()).unwrap();
        assert!(matches!(config.resolve_secrets(), Err(SecretsError::Empty { .. })));
    }

    #[test]
    fn a_store_that_cannot_be_made_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data"), "a file stands here").unwrap();
        let refusal = config_in(dir.path()).resolve_secrets().unwrap_err().to_string();
        assert!(refusal.contains("slot-secret") && refusal.contains("to do"), "{refusal}");
    }

    #[test]
    fn secrets_come_in_order_of_secret_secrets_and_file_with_raw_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets");
        fs::write(&file, b" spaced \r\n\n\xff\x00raw\nlast").unwrap();
        let mut config = config_in(dir.path());
        config.slots.secrets = vec![Secret::new("two").unwrap()];
        config.slots.secret = Secret::new("one");
        config.slots.secret_file = Some(file);
        let bases = config.resolve_secrets().unwrap();
        assert_eq!(bytes_of(&bases[0]), [&b"one"[..], b"two", b" spaced ", b"\xff\x00raw", b"last"]);
        assert!(!config.store.path.exists(), "nothing is generated beside a configured secret");
    }

    #[test]
    fn a_secret_file_that_is_missing_empty_or_endless_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config_in(dir.path());
        let empty = dir.path().join("empty");
        fs::write(&empty, "\n\r\n").unwrap();
        for (path, reason) in [
            (dir.path().join("missing"), "cannot be read"),
            (empty, "no secret"),
            ("/dev/zero".into(), "1 MiB"),
        ] {
            config.slots.secret_file = Some(path);
            let refusal = config.resolve_secrets().unwrap_err().to_string();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
