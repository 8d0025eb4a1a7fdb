use super::*;
use crate::config::load;

/// A configuration file, a file with secrets, and the keys of the two realms, /upload and /files.
struct Site {
    dir: tempfile::TempDir,
    reloader: Reloader,
    keys: Vec<Keys>,
}

impl Site {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plimsoll.toml");
        fs::write(dir.path().join("secrets"), "first\n").unwrap();
        fs::write(&file, Self::text(&dir, more)).unwrap();
        let started = load(Some(&file), []).unwrap();
        let all = secrets(&started.config).unwrap();
        let keys = all.iter().map(|guarded| Keys::new(ring(guarded).unwrap())).collect();
        let config = started.config.clone();
        let stamps = stamps(&config.secret_files());
        Self { dir, reloader: Reloader { started, config, secrets: all, stamps }, keys }
    }

    fn text(dir: &tempfile::TempDir, more: &str) -> String {
        let path = dir.path().display();
        format!(
            "[store]\npath = '{path}/data'\n[slots]\nallow_weak_secrets = true\n{}\n",
            more.replace("DIR", &path.to_string())
        )
    }

    fn configure(&self, more: &str) {
        fs::write(self.dir.path().join("plimsoll.toml"), Self::text(&self.dir, more)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn reload(&mut self) {
        self.reloader.reload(&self.keys.iter().collect::<Vec<_>>());
    }

    fn look(&mut self) {
        if self.reloader.has_changed() {
            self.reloader.reread(&self.keys.iter().collect::<Vec<_>>(), Duration::ZERO);
        }
    }

    /// The secrets in effect, those of /upload.
    fn in_effect(&self) -> Vec<&str> {
        let (_, secrets) = &self.reloader.secrets[0];
        assert_eq!(
            format!("{:?}", self.keys[0].current()),
            format!("Keyring({} secrets, masked)", secrets.len())
        );
        secrets.iter().map(|secret| std::str::from_utf8(secret.expose()).unwrap()).collect()
    }
}

const FILE: &str = "secret_file = 'DIR/secrets'";

#[test]
fn a_hangup_takes_secrets_over_and_a_broken_file_does_not() {
    // [ENG-28]
    let mut site = Site::new("secret = 'one'");
    site.configure("secrets = ['two', 'one']");
    site.reload();
    assert_eq!(site.in_effect(), ["two", "one"]);
    for broken in
        ["secret = ''", "secret = ' x'", "secret = 'x'\nsekret = 'y'", "]", "secret_file = 'DIR/missing'"]
    {
        site.configure(broken);
        site.reload();
        assert_eq!(site.in_effect(), ["two", "one"], "{broken}");
    }
    site.write("empty", "\n\n");
    site.configure("secret_file = 'DIR/empty'");
    site.reload();
    assert_eq!(site.in_effect(), ["two", "one"]);
    fs::remove_file(site.dir.path().join("plimsoll.toml")).unwrap();
    site.reload();
    assert_eq!(site.in_effect(), ["two", "one"]);
    site.configure("secret = 'three'\nbase_path = '/elsewhere'");
    site.reload();
    assert_eq!(site.in_effect(), ["three"]);
    assert_eq!(site.reloader.config.slots.base_path.as_str(), "/upload");
}

#[test]
fn a_changed_secret_file_is_noticed_however_it_was_changed() {
    // [ENG-29]
    let mut site = Site::new(FILE);
    site.look();
    assert_eq!(site.in_effect(), ["first"]);
    site.write("secrets", "other\n");
    site.look();
    assert_eq!(site.in_effect(), ["other"], "of the same length");
    site.write("draft", "third\nother\n");
    fs::rename(site.dir.path().join("draft"), site.dir.path().join("secrets")).unwrap();
    site.look();
    assert_eq!(site.in_effect(), ["third", "other"], "by another file in its place");
    // [AUT-105]
    let unfit =
        [("", "emptied"), ("\n\n", "only line ends"), ("# fourth\n", "a comment"), ("fo urth\n", "a blank")];
    for (text, name) in unfit {
        site.write("secrets", text);
        site.look();
        assert_eq!(site.in_effect(), ["third", "other"], "{name}");
    }
    fs::remove_file(site.dir.path().join("secrets")).unwrap();
    site.look();
    assert_eq!(site.in_effect(), ["third", "other"], "removed");
    assert!(!site.reloader.has_changed(), "told once");
    site.write("secrets", "last\n");
    site.look();
    assert_eq!(site.in_effect(), ["last"]);
}

#[test]
fn a_file_that_the_new_configuration_names_is_watched_and_the_old_one_no_more() {
    let mut site = Site::new(FILE);
    site.write("others", "others\n");
    site.configure("secret_file = 'DIR/others'");
    site.reload();
    assert_eq!(site.in_effect(), ["others"]);
    site.write("secrets", "changed\n");
    assert!(!site.reloader.has_changed());
    site.write("others", "changed\n");
    site.look();
    assert_eq!(site.in_effect(), ["changed"]);
}

#[test]
fn the_generated_secret_is_watched_and_made_anew_only_when_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut site = Site::new("");
    let path = site.reloader.config.generated_secret_path();
    let generated = site.in_effect()[0].to_owned();
    fs::write(&path, "written-by-hand\n").unwrap();
    site.look();
    assert_eq!(site.in_effect(), ["written-by-hand"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "seen-by-others\n").unwrap();
    site.look();
    assert_eq!(site.in_effect(), ["written-by-hand"], "a file that others can read is not trusted");
    fs::remove_file(&path).unwrap();
    site.look();
    assert_eq!(site.in_effect(), ["written-by-hand"]);
    assert!(!path.exists());
    site.reload();
    assert!(path.exists() && site.in_effect() != ["written-by-hand"] && site.in_effect() != [generated]);
}

#[test]
fn grants_follow_their_own_secrets_or_those_of_slots() {
    let mut site = Site::new("secret = 'one'");
    let grants = |site: &Site| site.reloader.secrets[1].1.clone();
    site.configure("secret = 'two'");
    site.reload();
    assert_eq!(grants(&site), [Secret::new("two").unwrap()]);
    site.configure("secret = 'two'\n[tus]\nsecrets = ['a', 'b']");
    site.reload();
    assert_eq!(grants(&site).len(), 2);
    assert_eq!(site.in_effect(), ["two"]);
}
