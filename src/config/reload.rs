//! Reading the configuration again while the server runs: the secrets are taken over, everything else waits for a restart.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigError, Loaded, SlotsAlso,
    load::{heading, load},
};

/// What a configuration was read from.
#[derive(Clone, Default)]
pub(super) struct Origin {
    pub(super) file: Option<PathBuf>,
    pub(super) env: Vec<(OsString, OsString)>,
}

impl fmt::Debug for Origin {
    /// Without the environment, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The keys of `[slots]`, `[[slots.also]]` and `[tus]` that are taken over.
const SECRETS: [&str; 4] = ["secret", "secrets", "secret_file", "allow_weak_secrets"];

impl Loaded {
    /// The same file and the same environment read again, the file as it is now.
    ///
    /// # Errors
    /// As [`load`].
    pub fn again(&self) -> Result<Self, ConfigError> {
        load(self.origin.file.as_deref(), self.origin.env.iter().cloned())
    }

    /// This configuration with the secrets of `new`. A `[[slots.also]]` that `new` lacks keeps those it has, and one
    /// that it adds is left out.
    #[must_use]
    pub fn with_secrets_of(&self, new: &Self) -> Config {
        let mut config = self.config.clone();
        let Config { slots, slots_also, tus, .. } = &new.config;
        config.slots.secret.clone_from(&slots.secret);
        config.slots.secrets.clone_from(&slots.secrets);
        config.slots.secret_file.clone_from(&slots.secret_file);
        config.slots.allow_weak_secrets = slots.allow_weak_secrets;
        config.tus.secret.clone_from(&tus.secret);
        config.tus.secrets.clone_from(&tus.secrets);
        config.tus.secret_file.clone_from(&tus.secret_file);
        for also in &mut config.slots_also {
            if let Some(same) = slots_also.iter().find(|new| new.base_path == also.base_path) {
                also.clone_from(same);
            }
        }
        config
    }

    /// The keys other than secrets that differ in `new`, as in `[server] listen`.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        for (old, new) in self.config.sections().into_iter().zip(new.config.sections()) {
            let is_guarded = matches!(old.name(), "slots" | "tus");
            for field in old.fields() {
                let key = field.key;
                if !(is_guarded && SECRETS.contains(&key)) && old.get(key) != new.get(key) {
                    changed.push(format!("{} {key}", heading(old.name())));
                }
            }
        }
        // Printed without its password, so that a new password would not show above.
        let redis = |loaded: &Self| loaded.config.redis.url.as_ref().map(|url| url.expose().to_owned());
        let name = "[redis] url".to_owned();
        if redis(self) != redis(new) && !changed.contains(&name) {
            changed.push(name);
        }
        let paths = |all: &[SlotsAlso]| -> Vec<_> { all.iter().map(|also| also.base_path.clone()).collect() };
        if paths(&self.config.slots_also) != paths(&new.config.slots_also) {
            changed.push("[[slots.also]] base_path".to_owned());
        }
        let aliases =
            |all: &[SlotsAlso]| -> Vec<_> { all.iter().map(|also| also.download_path.clone()).collect() };
        if aliases(&self.config.slots_also) != aliases(&new.config.slots_also) {
            changed.push("[[slots.also]] download_path".to_owned());
        }
        changed
    }
}

impl Config {
    /// The files that secrets are read from, the generated one included.
    #[must_use]
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let also = self.slots_also.iter().map(|also| also.secret_file.as_deref());
        let named =
            [self.slots.secret_file.as_deref(), self.tus.secret_file.as_deref()].into_iter().chain(also);
        let generated = self.secret_is_generated().then(|| self.generated_secret_path());
        named.flatten().map(Path::to_owned).chain(generated).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Secret;

    fn two(old: &str, new: &str, env: &[(&str, &str)]) -> (Loaded, Loaded) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plimsoll.toml");
        fs::write(&path, old).unwrap();
        let running = load(Some(&path), env.iter().map(|(name, value)| (name.into(), value.into()))).unwrap();
        fs::write(&path, new).unwrap();
        let again = running.again().unwrap();
        (running, again)
    }

    #[test]
    fn secrets_are_taken_over_and_nothing_else() {
        let (running, new) = two(
            "[slots]\nsecret = 'one'\nbase_path = '/a'\n[tus]\nsecret = 'x'\n",
            "[slots]\nsecrets = ['two', 'one']\nbase_path = '/b'\n[tus]\nsecret_file = '/y'\ncreate = 'open'\n",
            &[],
        );
        let config = running.with_secrets_of(&new);
        assert_eq!(config.slots.secret, None);
        assert_eq!(config.slots.secrets, [Secret::new("two").unwrap(), Secret::new("one").unwrap()]);
        assert_eq!((config.tus.secret.is_none(), config.tus.secret_file), (true, Some("/y".into())));
        assert_eq!((config.slots.base_path.as_str(), config.tus.create), ("/a", running.config.tus.create));
        assert_eq!(running.needs_restart(&new), ["[slots] base_path", "[tus] create"]);
    }

    #[test]
    fn further_base_paths_are_matched_by_path_and_neither_added_nor_removed() {
        let also =
            |path: &str, secret: &str| format!("[[slots.also]]\nbase_path = '{path}'\nsecret = '{secret}'\n");
        let (running, new) =
            two(&(also("/a", "one") + &also("/b", "two")), &(also("/c", "three") + &also("/a", "new")), &[]);
        let config = running.with_secrets_of(&new);
        let found: Vec<_> = config
            .slots_also
            .iter()
            .map(|also| (also.base_path.as_ref().unwrap().as_str(), also.secret.as_ref().unwrap().expose()))
            .collect();
        assert_eq!(found, [("/a", &b"new"[..]), ("/b", b"two")]);
        assert_eq!(running.needs_restart(&new), ["[[slots.also]] base_path"]);
    }

    #[test]
    fn the_environment_stays_in_effect_and_is_never_printed() {
        let env = [("PLIMSOLL_SLOTS__SECRET", "hunter2"), ("PLIMSOLL_STORE__MAX_SIZE", "3 GiB")];
        let (running, new) = two("", "[slots]\nsecret = 'file'\n[store]\nmax_size = 7\n", &env);
        assert_eq!(running.with_secrets_of(&new).slots.secret, Secret::new("hunter2"));
        assert!(running.needs_restart(&new).is_empty());
        assert!(!format!("{running:?}").contains("hunter2"));
    }

    #[test]
    fn the_same_configuration_needs_nothing_and_another_password_of_redis_a_restart() {
        let redis = |password: &str| format!("[redis]\nurl = 'redis://plimsoll:{password}@127.0.0.1/1'\n");
        let (running, new) = two(&redis("one"), &redis("one"), &[]);
        assert!(running.needs_restart(&new).is_empty());
        let (running, new) = two(&redis("one"), &redis("two"), &[]);
        assert_eq!(running.needs_restart(&new), ["[redis] url"]);
    }

    #[test]
    fn every_file_with_secrets_is_known() {
        let mut config = Config::default();
        assert_eq!(config.secret_files(), [config.generated_secret_path()]);
        config.slots.secret_file = Some("/a".into());
        config.tus.secret_file = Some("/b".into());
        config.slots_also = vec![SlotsAlso { secret_file: Some("/c".into()), ..SlotsAlso::default() }];
        assert_eq!(config.secret_files(), [Path::new("/a"), Path::new("/b"), Path::new("/c")]);
    }
}
