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
    #[error("{place} {}\n    to do: {}", .why.what(), .why.way_out())]
    Unfit { place: String, why: Unfit },
}

/// Why a text is no secret, although it could be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It begins as comments do in other files.
    Comment,
    /// There is a blank in it: a remark beside a secret, or two of them in a line.
    Blank,
    /// There is a blank at one of its ends, which nobody sees.
    BlankEnd,
    /// It may be found by trying.
    Short,
}

impl Unfit {
    fn what(self) -> String {
        match self {
            Self::Comment => "begins like a comment, and would be a key".to_owned(),
            Self::Blank => "holds a blank, and would be a key as a whole".to_owned(),
            Self::BlankEnd => "begins or ends with a blank".to_owned(),
            Self::Short => format!("is shorter than {SHORTEST_SECRET} bytes, and may be guessed"),
        }
    }

    fn way_out(self) -> &'static str {
        match self {
            Self::Comment => {
                "remove the line: every line of this file is a secret; one that does begin with # or ; goes into the key \
                 secret or secrets"
            }
            Self::Blank => {
                "write one secret a line and nothing beside it; one that does hold a blank goes into the key secret or \
                 secrets"
            }
            Self::BlankEnd => "remove the blank, here and in the XMPP server",
            Self::Short => {
                "take a longer one, such as what `openssl rand -hex 32` prints, here and in the XMPP server; or set \
                 [slots] allow_weak_secrets = true"
            }
        }
    }
}

/// Below 128 bits a secret may be found by trying, with a token in hand and without asking us.
const SHORTEST_SECRET: usize = 16;

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
    /// A file that cannot be read or trusted, or a text that is no secret.
    pub fn inspect_secrets(&self) -> Result<Vec<(BasePath, Vec<Secret>)>, SecretsError> {
        let slots = &self.slots;
        let own = if self.secret_is_generated() {
            self.generated(&self.generated_secret_path())?.into_iter().collect()
        } else {
            self.gather("[slots]", slots.secret.as_ref(), &slots.secrets, slots.secret_file.as_deref())?
        };
        let mut bases = vec![(slots.base_path.clone(), own)];
        for also in &self.slots_also {
            // A table without a base path does not pass validation.
            let Some(base_path) = also.base_path.clone() else { continue };
            let file = also.secret_file.as_deref();
            let secrets = self.gather("[[slots.also]]", also.secret.as_ref(), &also.secrets, file)?;
            bases.push((base_path, secrets));
        }
        if self.tus.enabled {
            self.own_grant_secrets()?;
        }
        Ok(bases)
    }

    /// The secrets of grants: those of `[tus]`, or else those of `[slots]`; there is at least one.
    ///
    /// # Errors
    /// As [`Config::existing_secrets`].
    pub fn grant_secrets(&self) -> Result<Vec<Secret>, SecretsError> {
        let own = self.own_grant_secrets()?;
        if !own.is_empty() {
            return Ok(own);
        }
        let slots = self.existing_secrets()?.into_iter().next().map(|base| base.secrets);
        slots.ok_or_else(|| SecretsError::Empty { path: self.generated_secret_path() })
    }

    fn own_grant_secrets(&self) -> Result<Vec<Secret>, SecretsError> {
        let tus = &self.tus;
        self.gather("[tus]", tus.secret.as_ref(), &tus.secrets, tus.secret_file.as_deref())
    }

    /// The files with secrets that every user of this machine can read or write, with their modes.
    #[must_use]
    pub fn exposed_secret_files(&self) -> Vec<(PathBuf, u32)> {
        let mode = |path: &PathBuf| fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o7777);
        let files = self.secret_files().into_iter().filter_map(|path| mode(&path).map(|mode| (path, mode)));
        files.filter(|(_, mode)| mode & 0o006 != 0).collect()
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

impl Config {
    fn gather(
        &self,
        section: &str,
        one: Option<&Secret>,
        more: &[Secret],
        file: Option<&Path>,
    ) -> Result<Vec<Secret>, SecretsError> {
        let mut all = Vec::new();
        let keys = one.into_iter().map(|secret| ("secret", secret));
        for (key, secret) in keys.chain(more.iter().map(|secret| ("secrets", secret))) {
            // [ENG-28] told without the text
            self.fit(secret, false).map_err(|why| {
                let place = match key {
                    "secret" => format!("{section} secret"),
                    _ => format!("one of {section} secrets"),
                };
                SecretsError::Unfit { place, why }
            })?;
            all.push(secret.clone());
        }
        if let Some(path) = file {
            let read_error = |source| SecretsError::Read { path: path.to_owned(), source };
            let lines = read_limited(File::open(path).map_err(read_error)?).map_err(read_error)?;
            let lines = self.secrets_in(path, &lines)?;
            if lines.is_empty() {
                return Err(SecretsError::Empty { path: path.to_owned() });
            }
            all.extend(lines);
        }
        Ok(all)
    }

    /// [AUT-105] One secret a line; the end of a line (LF or CRLF) is no part of it.
    fn secrets_in(&self, path: &Path, bytes: &[u8]) -> Result<Vec<Secret>, SecretsError> {
        let mut secrets = Vec::new();
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let Some(secret) = Secret::new(line.strip_suffix(b"\r").unwrap_or(line)) else { continue };
            self.fit(&secret, true).map_err(|why| {
                let place = format!("line {} of the secret file {}", at + 1, path.display());
                SecretsError::Unfit { place, why }
            })?;
            secrets.push(secret);
        }
        Ok(secrets)
    }

    /// [AUT-105] Whether a text is a secret. In a file of lines nobody can say that a blank or a # is meant.
    fn fit(&self, secret: &Secret, is_line: bool) -> Result<(), Unfit> {
        let bytes = secret.expose();
        if is_line && matches!(bytes.trim_ascii_start().first(), Some(b'#' | b';')) {
            return Err(Unfit::Comment);
        }
        if is_line && bytes.iter().any(u8::is_ascii_whitespace) {
            return Err(Unfit::Blank);
        }
        if bytes.trim_ascii().len() != bytes.len() {
            return Err(Unfit::BlankEnd);
        }
        if bytes.len() < SHORTEST_SECRET && !self.slots.allow_weak_secrets {
            return Err(Unfit::Short);
        }
        Ok(())
    }

    /// The secret that was generated earlier; none if there is no such file yet.
    fn generated(&self, path: &Path) -> Result<Option<Secret>, SecretsError> {
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
        let found = self.secrets_in(path, &read_limited(file).map_err(read_error)?)?.into_iter().next();
        found.map(Some).ok_or_else(|| SecretsError::Empty { path: path.to_owned() })
    }
}

fn read_limited(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_SECRET_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_SECRET_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(bytes)
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

    /// Short secrets are taken, since most tests are not about them.
    fn config_in(dir: &Path) -> Config {
        let mut config = Config::default();
        config.slots.allow_weak_secrets = true;
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
        fs::write(&file, b"three\r\n\n\xff\x00raw\nlast").unwrap();
        let mut config = config_in(dir.path());
        config.slots.secrets = vec![Secret::new("two").unwrap()];
        config.slots.secret = Secret::new("one");
        config.slots.secret_file = Some(file);
        let bases = config.resolve_secrets().unwrap();
        assert_eq!(bytes_of(&bases[0]), [&b"one"[..], b"two", b"three", b"\xff\x00raw", b"last"]);
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

    fn refusal_of(config: &Config) -> String {
        config.resolve_secrets().unwrap_err().to_string()
    }

    #[test]
    fn a_line_that_is_a_comment_a_remark_or_too_short_is_no_secret() {
        // [AUT-105]
        let dir = tempfile::tempdir().unwrap();
        let mut config = config_in(dir.path());
        let file = dir.path().join("secrets");
        config.slots.secret_file = Some(file.clone());
        let good = "0123456789abcdef";
        for (bad, reason) in [
            ("# the XMPP server", "begins like a comment"),
            ("  #0123456789abcdef", "begins like a comment"),
            ("; the XMPP server", "begins like a comment"),
            (" ", "holds a blank"),
            ("\t", "holds a blank"),
            ("0123456789abcdef # old", "holds a blank"),
            ("0123456789abcdef ", "holds a blank"),
            ("0123456789\tabcdef", "holds a blank"),
            ("x", "shorter than 16 bytes"),
            ("0123456789abcde", "shorter than 16 bytes"),
        ] {
            fs::write(&file, format!("{good}\n\n{bad}\n")).unwrap();
            config.slots.allow_weak_secrets = false;
            let refusal = refusal_of(&config);
            assert!(refusal.contains(reason) && refusal.contains("line 3 of"), "{bad:?}: {refusal}");
            assert!(refusal.contains("to do: ") && !refusal.contains("0123456789"), "{refusal}");
            config.slots.allow_weak_secrets = true;
            let is_short = reason.contains("shorter");
            assert_eq!(config.resolve_secrets().is_ok(), is_short, "{bad:?} where weak ones are allowed");
        }
        fs::write(&file, format!("{good}\r\n\r\n{good}\n")).unwrap();
        config.slots.allow_weak_secrets = false;
        assert_eq!(bytes_of(&config.resolve_secrets().unwrap()[0]), [good.as_bytes(), good.as_bytes()]);
    }

    #[test]
    fn a_secret_in_a_key_is_long_and_has_no_blank_at_its_ends() {
        // [AUT-105]
        let dir = tempfile::tempdir().unwrap();
        let secret = |text: &str| Secret::new(text).unwrap();
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = config_in(dir.path());
            config.slots.secret = Some(secret("a passphrase with blanks in it"));
            config.slots.allow_weak_secrets = false;
            change(&mut config);
            config.resolve_secrets().and_then(|_| config.grant_secrets()).map_err(|why| why.to_string())
        };
        assert!(with(&|_| ()).is_ok());
        for (text, reason) in
            [("0123456789abcde", "shorter"), ("0123456789abcdef\n", "blank"), (" 0123456789abcdef", "blank")]
        {
            for (wrong, place) in [
                (with(&|c| c.slots.secret = Some(secret(text))), "[slots] secret"),
                (with(&|c| c.slots.secrets = vec![secret(text)]), "one of [slots] secrets"),
                (with(&|c| c.tus.secret = Some(secret(text))), "[tus] secret"),
            ] {
                let wrong = wrong.unwrap_err();
                assert!(wrong.contains(reason) && wrong.contains(place), "{text:?}: {wrong}");
                assert!(!wrong.contains("0123456789"), "{wrong}");
            }
        }
    }

    #[test]
    fn a_secret_file_that_everybody_can_read_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config_in(dir.path());
        let file = dir.path().join("secrets");
        fs::write(&file, "0123456789abcdef\n").unwrap();
        config.slots.secret_file = Some(file.clone());
        for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(!config.exposed_secret_files().is_empty(), is_exposed, "{mode:o}");
        }
    }
}
