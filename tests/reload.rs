//! Secrets rotate and logs are opened anew while the server runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::{fs, path::PathBuf};

use common::{
    eventually,
    server::{Server, Setup},
    slots::Slot,
};

const BODY: &[u8] = b"as good as any";

/// A server with a configuration file, which it is told of by the environment.
struct Site {
    server: Server,
    folder: tempfile::TempDir,
}

impl Site {
    /// `DIR` in the configuration becomes the site's folder.
    fn start(config: &str, set: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secrets"), "from-the-file\n").unwrap();
        let file = folder.path().join("plimsoll.toml");
        fs::write(&file, expand(config, &folder)).unwrap();
        let setup = Setup::new()
            .without("SLOTS__SECRET")
            .without("LOG__LEVEL")
            .key("SLOTS__ALLOW_WEAK_SECRETS", "true")
            .key("CONFIG", file.display())
            .key("LOG__FILE", folder.path().join("log").display());
        Self { server: set(setup).start(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), expand(text, &self.folder)).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// SIGHUP, and wait until `line` is in the log once more than before.
    fn hang_up(&self, line: &str) {
        let before = self.log().matches(line).count();
        self.server.hang_up();
        eventually(line, || self.log().matches(line).count() > before);
    }

    /// The status of an upload of its own with a token of `secret`.
    fn put(&self, secret: &str) -> u16 {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}/a.bin", NEXT.fetch_add(1, Ordering::Relaxed));
        let slot = Slot::signed(secret, &name, BODY.len() as u64);
        let mut conn = self.server.connect();
        conn.put(&slot).and_then(|()| conn.send(BODY)).expect("a request is sent");
        conn.answer().expect("an answer").status
    }
}

fn expand(text: &str, folder: &tempfile::TempDir) -> String {
    text.replace("DIR", &folder.path().display().to_string())
}

const RELOADED: &str = "secrets reloaded";
const KEPT: &str = "the old secrets stay in use";

#[test]
fn a_secret_is_replaced_with_a_time_in_which_both_are_accepted() {
    // [ENG-28]
    let site = Site::start("[slots]\nsecret = 'old'\n", |setup| setup);
    assert_eq!((site.put("old"), site.put("new")), (201, 403));
    site.write("plimsoll.toml", "[slots]\nsecrets = ['new', 'old']\n");
    assert_eq!(site.put("new"), 403, "not before the signal");
    site.hang_up(RELOADED);
    assert_eq!((site.put("old"), site.put("new")), (201, 201));
    site.write(
        "plimsoll.toml",
        "[slots]\nsecret = 'new'\n[store]\nmax_size = 1\n[limits]\nbody_gap = '9s'\n",
    );
    site.hang_up(RELOADED);
    assert_eq!((site.put("old"), site.put("new")), (403, 201), "and max_size is not taken over");
    let log = site.log();
    assert!(log.contains("needs a restart") && log.contains("[store] max_size, [limits] body_gap"), "{log}");
    assert!(log.contains("/upload: 2") && log.contains("/files: 1"), "{log}");
    assert!(!log.contains("'new'") && !log.contains("\"new\"") && !log.contains("old'"), "{log}");
}

#[test]
fn a_short_secret_is_refused_at_the_start_and_at_a_reload() {
    // [AUT-105]
    let long = "0123456789abcdef";
    let site = Site::start(&format!("[slots]\nsecret = '{long}'\n"), |setup| {
        setup.without("SLOTS__ALLOW_WEAK_SECRETS")
    });
    site.write("plimsoll.toml", "[slots]\nsecret = '0123456789abcde'\n");
    site.hang_up(KEPT);
    assert!(site.log().contains("[slots] secret is shorter than 16 bytes"), "{}", site.log());
    assert_eq!(site.put(long), 201);
    site.write("plimsoll.toml", "[slots]\nsecret = '0123456789abcde'\nallow_weak_secrets = true\n");
    site.hang_up(RELOADED);
    assert_eq!((site.put(long), site.put("0123456789abcde")), (403, 201));
    let refused = Setup::new().key("SLOTS__SECRET", "0123456789abcde").command().output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("allow_weak_secrets"), "{told}");
    assert!(!told.contains("0123456789"), "{told}");
}

#[test]
fn a_secret_file_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::start("[slots]\nsecret_file = 'DIR/secrets'\n", |setup| setup);
    let warned = "every user of this machine can read";
    fs::set_permissions(site.path("secrets"), fs::Permissions::from_mode(0o640)).unwrap();
    site.hang_up(RELOADED);
    let before = site.log().matches(warned).count();
    fs::set_permissions(site.path("secrets"), fs::Permissions::from_mode(0o644)).unwrap();
    site.hang_up(RELOADED);
    assert!(site.log().matches(warned).count() > before, "{}", site.log());
}

#[test]
fn what_the_environment_sets_stays_in_effect() {
    let site = Site::start("", |setup| setup.key("SLOTS__SECRET", "of the environment"));
    site.write("plimsoll.toml", "[slots]\nsecret = 'of the file'\n");
    site.hang_up(RELOADED);
    assert_eq!((site.put("of the environment"), site.put("of the file")), (201, 403));
}

#[test]
fn a_secret_file_is_read_again_without_a_signal() {
    // [ENG-29]
    let site = Site::start("[slots]\nsecret_file = 'DIR/secrets'\n", |setup| setup);
    assert_eq!(site.put("from-the-file"), 201);
    site.write("secrets", "the-next-one\nfrom-the-file\n");
    eventually("the next secret counts", || site.put("the-next-one") == 201);
    assert_eq!(site.put("from-the-file"), 201);
    // As careful programs write: another file, moved into its place.
    site.write("draft", "the-next-one\n");
    fs::rename(site.path("draft"), site.path("secrets")).unwrap();
    eventually("the old secret counts no more", || site.put("from-the-file") == 403);
    assert_eq!(site.put("the-next-one"), 201);
    // [AUT-105]
    for (n, unfit) in
        ["\n", "# a remark\nthe-next-one\n", "the-next-one # a remark\n"].into_iter().enumerate()
    {
        site.write("secrets", unfit);
        eventually("what is no secret is told", || site.log().matches(KEPT).count() > n);
    }
    assert_eq!(site.put("the-next-one"), 201);
}

#[test]
fn the_generated_secret_is_read_again_too() {
    // [ENG-29]
    let site = Site::start("", |setup| setup);
    let path = site.server.store().join("slot-secret");
    let generated = fs::read_to_string(&path).unwrap();
    assert_eq!(site.put(generated.trim()), 201);
    fs::write(&path, "chosen-by-hand\n").unwrap();
    eventually("the new secret counts", || site.put("chosen-by-hand") == 201);
    assert_eq!(site.put(generated.trim()), 403);
}

#[test]
fn a_broken_configuration_leaves_the_server_serving_with_the_old_secrets() {
    // [ENG-28]
    let site = Site::start("[slots]\nsecret = 'old'\n", |setup| setup);
    for broken in
        ["[slots]\nsecret = 'hunter2", "[slots]\nsecret_file = 'DIR/nowhere'\n", "[slots]\nsecret = ''\n"]
    {
        site.write("plimsoll.toml", broken);
        site.hang_up(KEPT);
        assert_eq!(site.put("old"), 201, "{broken}");
    }
    assert!(site.log().contains("to do:") && !site.log().contains("hunter2"), "{}", site.log());
    site.write("plimsoll.toml", "[slots]\nsecret = 'corrected'\n");
    site.hang_up(RELOADED);
    assert_eq!((site.put("old"), site.put("corrected")), (403, 201));
}

#[test]
fn log_and_audit_log_go_on_in_new_files() {
    // [ENG-30]
    let site = Site::start("[slots]\nsecret = 'old'\n", |setup| setup);
    let server = Site::start("[slots]\nsecret = 'old'\n[audit]\nfile = 'DIR/audit'\n", |setup| setup);
    for name in ["log", "audit"] {
        fs::rename(server.path(name), server.path(&format!("{name}.1"))).unwrap();
    }
    server.hang_up("log reopened");
    eventually("the audit log is there again", || server.path("audit").exists());
    assert!(!fs::read_to_string(server.path("log.1")).unwrap().contains("log reopened"));
    // Without an audit log there is none to be made.
    site.hang_up("log reopened");
    assert!(!site.path("audit").exists());
    // A log that cannot be opened goes on in the old one, and the server goes on with it.
    let hidden = server.path("log");
    fs::rename(&hidden, server.path("log.2")).unwrap();
    fs::create_dir(&hidden).unwrap();
    server.server.hang_up();
    eventually("the failure is told in the old log", || {
        fs::read_to_string(server.path("log.2")).unwrap().contains("the log goes on in the old file")
    });
    assert_eq!(server.put("old"), 201);
}
