use std::{
    cell::RefCell,
    fs,
    net::TcpListener,
    os::unix::{ffi::OsStringExt as _, fs::PermissionsExt as _},
};

use super::*;
use crate::{
    auth::{Keyring, Presented, Rules, authorize},
    clock::{ManualClock, Timestamp},
    config::Place,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What a run answered.
struct Ran {
    status: u8,
    out: String,
    err: String,
    /// What was served, if anything.
    served: Option<Loaded>,
}

/// Runs a command line in an environment; `serve` and the ledger succeed.
fn run_in(env: &[(&str, &str)], args: &[&str]) -> Ran {
    run_os(env.iter().map(|(name, value)| (name.into(), value.into())).collect(), args, "SQLite, empty")
}

fn run_os(env: Vec<(OsString, OsString)>, args: &[&str], ledger: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let served = RefCell::new(None);
    let status = run_with(
        Invocation {
            args: std::iter::once("plimsoll").chain(args.iter().copied()).map(OsString::from).collect(),
            env,
            clock: &ManualClock::new(NOW),
            out: &mut out,
            err: &mut err,
        },
        &Hooks {
            serve: &|loaded| {
                *served.borrow_mut() = Some(loaded);
                Ok(())
            },
            check_ledger: &|_| match ledger.strip_prefix("broken: ") {
                Some(why) => Err(why.into()),
                None => Ok(ledger.to_owned()),
            },
            adopt: &|_| Ok("they belong together".to_owned()),
        },
    );
    Ran {
        status,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        served: served.into_inner(),
    }
}

/// A config file in a directory of its own, with a store and a listener that nothing else uses.
struct Site {
    dir: tempfile::TempDir,
    file: String,
}

impl Site {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plimsoll.toml");
        let store = dir.path().join("data");
        let text = format!(
            "{more}\n[store]\npath = {store:?}\nreserve = 0\n[server]\nlisten = '127.0.0.1:0'\n\
             public_url = 'https://up.example.org'\n[metrics]\nlisten = '127.0.0.1:0'\n"
        );
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self { dir, file }
    }

    /// What the first start of a server does.
    fn generate_secret(&self) -> PathBuf {
        let loaded = config::load(Some(Path::new(&self.file)), []).unwrap();
        loaded.config.resolve_secrets().unwrap();
        self.dir.path().join("data/slot-secret")
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_env(&[], args)
    }

    fn run_env(&self, env: &[(&str, &str)], args: &[&str]) -> Ran {
        run_in(env, &[&["--config", &self.file], args].concat())
    }
}

#[test]
fn no_subcommand_serves_with_the_configuration() {
    let site = Site::new("[limits]\nbody_gap = '7s'");
    for args in [&[][..], &["serve"]] {
        let ran = site.run(args);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        let loaded = ran.served.unwrap();
        assert_eq!(loaded.config.limits.body_gap.duration().as_secs(), 7);
        assert!(matches!(loaded.origin("limits", "body_gap"), Place::File { line: 2, .. }));
    }
}

#[test]
fn config_may_follow_the_subcommand_or_stand_in_the_environment() {
    let site = Site::new("");
    for (env, args) in [
        (vec![], vec!["serve", "--config", &site.file]),
        (vec![("PLIMSOLL_CONFIG", site.file.as_str())], vec!["serve"]),
    ] {
        let ran = run_in(&env, &args);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.served.unwrap().config.server.public_url.is_some());
    }
}

#[test]
fn the_command_line_beats_the_environment_and_both_beat_the_default_file() {
    let default = tempfile::NamedTempFile::new().unwrap();
    let env = [("PLIMSOLL_CONFIG".into(), "env".into())];
    let empty = [("PLIMSOLL_CONFIG".into(), "".into())];
    assert_eq!(config_file(Some("arg".into()), &env, default.path()), Some("arg".into()));
    assert_eq!(config_file(None, &env, default.path()), Some("env".into()));
    assert_eq!(config_file(None, &empty, default.path()), Some(default.path().to_owned()));
    assert_eq!(config_file(None, &[], Path::new("/nowhere.toml")), None);
}

#[test]
fn a_wrong_command_line_is_status_2_and_help_is_not() {
    for args in [
        &["serv"][..],
        &["--confg", "x"],
        &["slot"],
        &["slot", "--size", "5"],
        &["slot", "--size", "-5", "photo.jpg"],
        &["slot", "--size", "big", "photo.jpg"],
        &["slot", "--size", "1", "--size", "2", "photo.jpg"],
        &["slot", "--size", "99999999999999999999999", "photo.jpg"],
        &["config", "more"],
    ] {
        let ran = run_in(&[], args);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}");
        assert!(ran.err.contains("error:") && ran.served.is_none(), "{args:?}: {}", ran.err);
    }
    let help = run_in(&[], &["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    assert!(help.out.contains("./plimsoll.toml when it exists"), "{}", help.out);
    assert_eq!(run_in(&[], &["--version"]).status, 0);
}

#[test]
fn a_name_that_is_not_utf8_is_a_wrong_command_line() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["plimsoll", "slot", "--size", "1"].map(OsString::from);
    let args = args.into_iter().chain([OsString::from_vec(vec![0xff])]).collect();
    let hooks =
        Hooks { serve: &|_| Ok(()), check_ledger: &|_| Ok(String::new()), adopt: &|_| Ok(String::new()) };
    let clock = ManualClock::new(NOW);
    let status =
        run_with(Invocation { args, env: vec![], clock: &clock, out: &mut out, err: &mut err }, &hooks);
    assert_eq!(status, 2);
    assert!(String::from_utf8(err).unwrap().contains("UTF-8"));
}

#[test]
fn a_wrong_configuration_is_status_1_and_tells_every_problem() {
    let site = Site::new("[limits]\nbody_gab = '7s'\n[lgo]\n");
    let ran = site.run(&["serve"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("\"body_gap\"") && ran.err.contains("[log]"), "{}", ran.err);
    assert!(ran.served.is_none());
    assert_eq!(run_in(&[], &["--config", "/nowhere.toml"]).status, 1);
}

#[test]
fn a_failure_to_serve_is_status_1_and_told() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let hooks = Hooks {
        serve: &|_| Err("the store is locked".into()),
        check_ledger: &|_| Ok(String::new()),
        adopt: &|_| Ok(String::new()),
    };
    let clock = ManualClock::new(NOW);
    let site = Site::new("");
    let args = ["plimsoll", "--config", &site.file].map(OsString::from).to_vec();
    let status =
        run_with(Invocation { args, env: vec![], clock: &clock, out: &mut out, err: &mut err }, &hooks);
    assert_eq!((status, err.as_slice()), (1, b"plimsoll: the store is locked\n".as_slice()));
}

#[test]
fn config_prints_the_annotated_file_even_when_the_configuration_is_broken() {
    let ran = run_in(&[("PLIMSOLL_X__Y", "")], &["config", "--config", "/nowhere.toml"]);
    assert_eq!((ran.status, ran.out), (0, config::annotated()));
}

#[test]
fn an_output_that_is_closed_is_a_failure_and_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let hooks =
        Hooks { serve: &|_| Ok(()), check_ledger: &|_| Ok(String::new()), adopt: &|_| Ok(String::new()) };
    let clock = ManualClock::new(NOW);
    for arg in ["config", "--help"] {
        let args = ["plimsoll", arg].map(OsString::from).to_vec();
        let invocation = Invocation { args, env: vec![], clock: &clock, out: &mut Closed, err: &mut Closed };
        assert_eq!(run_with(invocation, &hooks), 1, "{arg}");
    }
}

/// The PUT and the GET URL that `slot` printed.
fn urls(ran: &Ran) -> (&str, &str) {
    assert_eq!(ran.status, 0, "{}", ran.err);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    (lines[0].strip_prefix("PUT ").unwrap(), lines[1].strip_prefix("GET ").unwrap())
}

#[test]
fn a_slot_is_granted_for_its_path_and_size_until_it_expires() {
    let site = Site::new(
        "[slots]\nallow_weak_secrets = true\nsecret = 's3cret'\nbase_path = '/up'\ntoken_lifetime = '10m'",
    );
    let ran = site.run(&[
        "slot",
        "--size",
        "5 MiB",
        "--type",
        "image/jpeg",
        "--user",
        "romeo@montague.tld",
        "a b.jpg",
    ]);
    let (put, get) = urls(&ran);
    let (url, token) = put.split_once("?token=").unwrap();
    assert_eq!(url, get);
    let path = url.strip_prefix("https://up.example.org/up/").unwrap();
    let (slot, name) = path.split_once('/').unwrap();
    assert_eq!((slot.len(), name), (32, "a%20b.jpg"));

    let keys = Keyring::new(vec![b"s3cret".to_vec()]).unwrap();
    let query = format!("token={token}");
    let path = format!("{slot}/a b.jpg");
    let judge = |path: &str, length, at: i64| {
        let presented = Presented {
            path,
            query: Some(&query),
            length: Some(length),
            content_types: &["image/jpeg"],
            ..Presented::nothing()
        };
        authorize(&keys, &Rules::default(), &presented, NOW.0 + at)
    };
    let grant = judge(&path, 5 << 20, 0).unwrap();
    assert_eq!(grant.subject.as_deref(), Some("romeo@montague.tld"));
    assert_eq!(grant.content_type.as_deref(), Some("image/jpeg"));
    assert!(judge(&path, 5 << 20, 599_000).is_ok());
    assert!(judge(&path, 5 << 20, 600_000).is_err(), "expired");
    assert!(judge(&path, 5, 0).is_err(), "another size");
    assert!(judge(&format!("{slot}/b.jpg"), 5 << 20, 0).is_err(), "another path");
}

#[test]
fn a_slot_prints_commands_to_paste_that_keep_odd_names_in_one_word() {
    let site = Site::new("[slots]\nallow_weak_secrets = true\nsecret = 's3cret'");
    let ran = site.run(&["slot", "--size", "1", "--", "-it's [1].jpg"]);
    let (put, get) = urls(&ran);
    assert!(get.ends_with("/-it%27s%20%5B1%5D.jpg"), "{get}");
    assert!(ran.err.contains(&format!(r"curl -g -T './-it'\''s [1].jpg' '{put}'")), "{}", ran.err);
    assert!(ran.err.contains(&format!(r"curl -g -o './-it'\''s [1].jpg.downloaded' '{get}'")), "{}", ran.err);
    let typed = site.run(&["slot", "--size", "1", "--type", "image/png", "/tmp/x.png"]);
    assert!(
        typed.err.contains("curl -T '/tmp/x.png' -H 'Content-Type: image/png' 'https://"),
        "{}",
        typed.err
    );
    assert!(urls(&typed).1.ends_with("/x.png"));
}

#[test]
fn names_with_umlauts_and_emoji_are_percent_encoded() {
    let site = Site::new("[slots]\nallow_weak_secrets = true\nsecret = 's3cret'");
    let ran = site.run(&["slot", "--size", "0", "très 🚢.jpg"]);
    assert!(urls(&ran).1.ends_with("/tr%C3%A8s%20%F0%9F%9A%A2.jpg"), "{}", ran.out);
}

#[test]
fn a_slot_that_could_not_be_used_is_refused() {
    let site = Site::new("[slots]\nallow_weak_secrets = true\nsecret = 's3cret'");
    for (args, reason) in [
        (["slot", "--size", "1", ""], "names no file"),
        (["slot", "--size", "1", "a/"], "names no file"),
        (["slot", "--size", "1", ".."], "names no file"),
        (["slot", "--size", "1", "a\nb"], "control character"),
        (["slot", "--size", "2 GiB", "a"], "max_size"),
    ] {
        let ran = site.run(&args);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{args:?}");
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
    }
    let ran = site.run_env(&[("PLIMSOLL_SERVER__PUBLIC_URL", "")], &["slot", "--size", "1", "a"]);
    assert!(ran.status == 1 && ran.err.contains("public_url"), "{}", ran.err);
}

#[test]
fn a_slot_without_a_configured_secret_uses_the_one_that_is_kept() {
    let site = Site::new("");
    let file = site.generate_secret();
    let kept = fs::read_to_string(&file).unwrap();
    urls(&site.run(&["slot", "--size", "1", "a"]));
    assert_eq!(fs::read_to_string(&file).unwrap(), kept);
}

#[test]
fn no_token_is_minted_where_no_server_has_been() {
    let site = Site::new("");
    for args in [&["slot", "--size", "1", "a"][..], &["grant", "--user", "romeo"]] {
        let ran = site.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{args:?}");
        for part in ["slot-secret does not exist", "--config", "working directory", "plimsoll serve"] {
            assert!(ran.err.contains(part), "{part}: {}", ran.err);
        }
        assert!(!site.dir.path().join("data").exists(), "a store was made by {args:?}");
    }
}

#[test]
fn a_slot_takes_size_and_type_from_the_file() {
    let site = Site::new("[slots]\nallow_weak_secrets = true\nsecret = 's3cret'");
    let file = site.dir.path().join("holiday photo.jpg");
    fs::write(&file, [7; 1234]).unwrap();
    let file = file.to_str().unwrap();
    let (ran, typed) = (site.run(&["slot", file]), site.run(&["slot", "--type", "image/x-own", file]));
    for (ran, media_type) in [(&ran, "image/jpeg"), (&typed, "image/x-own")] {
        let (put, get) = urls(ran);
        assert!(get.ends_with("/holiday%20photo.jpg"), "{get}");
        let token = put.split_once("?token=").unwrap().1;
        let claims = token.split('.').nth(1).unwrap();
        let claims =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (claims["filesize"].as_u64(), claims["filetype"].as_str()),
            (Some(1234), Some(media_type))
        );
        assert!(ran.err.contains(&format!("Content-Type: {media_type}")), "{}", ran.err);
    }
    for (name, wrong) in
        [("nowhere.jpg", "cannot be read"), (site.dir.path().to_str().unwrap(), "not a regular file")]
    {
        let ran = site.run(&["slot", name]);
        assert!(ran.status == 1 && ran.err.contains(wrong) && ran.err.contains("--size"), "{}", ran.err);
    }
}

#[test]
fn check_works_beside_the_server_that_holds_the_store() {
    let site = Site::new("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let env = [("PLIMSOLL_SERVER__LISTEN", address.as_str())];
    let store = site.dir.path().join("data");
    fs::create_dir(&store).unwrap();
    let lock = fs::File::create(store.join("lock")).unwrap();
    assert_eq!(site.run_env(&env, &["check"]).status, 1, "somebody else's listener is a problem");
    lock.try_lock().unwrap();
    let ran = site.run_env(&env, &["check"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("# note: a server runs on this store"), "{}", ran.out);
}

#[test]
fn check_of_the_configuration_alone_looks_at_nothing_of_the_machine() {
    let site = Site::new("[log]\nfile = '/nowhere/at/all/log'");
    let env = [("PLIMSOLL_STORE__PATH", "/nowhere/at/all"), ("PLIMSOLL_SERVER__LISTEN", "192.0.2.1:80")];
    let ran = site.run_env(&env, &["check", "--config-only"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("body_gap = ") && !ran.out.contains("the ledger:"), "{}", ran.out);
    let wrong = site.run_env(&[("PLIMSOLL_SLOTS__SECRET_FILE", "/nowhere")], &["check", "--config-only"]);
    assert!(wrong.status == 1 && wrong.err.contains("/nowhere cannot be read"), "{}", wrong.err);
}

#[test]
fn a_variable_that_sets_no_key_is_noted() {
    let site = Site::new("");
    let ran = site.run_env(&[("PLIMSOLL_FOO", "1"), ("PLIMSOLL_SERVICE_HOST", "10.0.0.1")], &["check"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("# note: the environment variable PLIMSOLL_FOO"), "{}", ran.out);
    assert!(!ran.out.contains("SERVICE_HOST"), "{}", ran.out);
    let ran = site.run_env(&[("PLIMSOLL_MAX_SIZE", "1 GiB")], &["check"]);
    assert!(ran.status == 1 && ran.err.contains("did you mean PLIMSOLL_STORE__MAX_SIZE"), "{}", ran.err);
}

#[test]
fn a_path_that_only_a_shell_would_expand_is_refused() {
    for (key, value) in [
        ("PLIMSOLL_STORE__PATH", "~/data"),
        ("PLIMSOLL_STORE__PATH", "$HOME/data"),
        ("PLIMSOLL_LEDGER__URL", "sqlite:~/ledger.db"),
        ("PLIMSOLL_LEDGER__URL", "sqlite:///$HOME/ledger.db"),
        ("PLIMSOLL_LOG__FILE", "~log/x"),
        ("PLIMSOLL_SLOTS__SECRET_FILE", "~/secret"),
    ] {
        let ran = Site::new("").run_env(&[(key, value)], &["check"]);
        assert!(ran.status == 1 && ran.err.contains("write the whole path"), "{key}={value}: {}", ran.err);
    }
}

#[test]
fn check_prints_the_effective_configuration_and_makes_nothing() {
    let site = Site::new("[slots]\nallow_weak_secrets = true\nsecrets = ['hunter2']");
    let ran = site.run_env(&[("PLIMSOLL_LIMITS__BODY_GAP", "7s")], &["check"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("body_gap = \"7s\"  # PLIMSOLL_LIMITS__BODY_GAP"), "{}", ran.out);
    assert!(ran.out.contains("# good: the ledger: SQLite, empty"), "{}", ran.out);
    assert!(ran.out.contains("/upload is shorter than 16 bytes"), "{}", ran.out);
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    assert_eq!(fs::read_dir(site.dir.path()).unwrap().count(), 1, "only the config file is there");
    toml::from_str::<toml::Table>(&ran.out).unwrap();
}

#[test]
fn check_leaves_an_existing_store_as_it_was() {
    let site = Site::new("");
    fs::create_dir(site.dir.path().join("data")).unwrap();
    let ran = site.run(&["check"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("can be written to") && ran.out.contains("to be generated"), "{}", ran.out);
    assert_eq!(fs::read_dir(site.dir.path().join("data")).unwrap().count(), 0);
}

#[test]
fn check_names_addresses_that_are_in_use() {
    let site = Site::new("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = site.run_env(&[("PLIMSOLL_SERVER__LISTEN", &address)], &["check"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains(&format!("[server] listen: {address} is in use")), "{}", ran.err);
    assert!(ran.err.contains("the check found 1 problem\n"), "{}", ran.err);
    let elsewhere = site.run_env(&[("PLIMSOLL_METRICS__LISTEN", "192.0.2.1:9090")], &["check"]);
    assert!(
        elsewhere.status == 1 && elsewhere.err.contains("no address of this machine"),
        "{}",
        elsewhere.err
    );
}

#[test]
fn check_finds_a_full_disk_and_a_broken_ledger() {
    let site = Site::new("");
    let env = vec![("PLIMSOLL_STORE__RESERVE".into(), "4000 PiB".into())];
    let ran = run_os(env, &["check", "--config", &site.file], "broken: it is of a newer version");
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("answered 507"), "{}", ran.err);
    assert!(ran.err.contains("[ledger] url: it is of a newer version"), "{}", ran.err);
    assert!(ran.err.contains("the check found 2 problems\n"), "{}", ran.err);
}

#[test]
fn check_finds_a_store_and_a_log_that_cannot_be() {
    let site = Site::new("[log]\nfile = '/nowhere/at/all/log'");
    fs::write(site.dir.path().join("data"), "a file").unwrap();
    let ran = site.run(&["check"]);
    assert!(ran.status == 1 && ran.err.contains("is no directory"), "{}", ran.err);
    assert!(ran.err.contains("[log] file: /nowhere/at/all/log cannot be written to"), "{}", ran.err);
}

#[test]
fn check_finds_an_exposed_secret_and_a_missing_secret_file() {
    let site = Site::new("");
    let kept = site.generate_secret();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = site.run(&["check"]);
    assert!(ran.status == 1 && ran.err.contains("chmod 600"), "{}", ran.err);
    let ran = site.run_env(&[("PLIMSOLL_SLOTS__SECRET_FILE", "/nowhere")], &["check"]);
    assert!(ran.status == 1 && ran.err.contains("secret file /nowhere cannot be read"), "{}", ran.err);
}

#[test]
fn check_notes_what_is_valid_but_surprising() {
    let site = Site::new("");
    let env = [
        ("PLIMSOLL_STORE__DURABILITY", "relaxed"),
        ("PLIMSOLL_SERVER__PUBLIC_URL", ""),
        ("PLIMSOLL_SERVER__LISTEN", "0.0.0.0:0"),
        ("PLIMSOLL_METRICS__LISTEN", "0.0.0.0:0"),
        ("PLIMSOLL_STORE__MAX_SIZE", "4000 PiB"),
    ];
    let ran = site.run_env(&env, &["check"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(ran.out.matches("# note: ").count(), 4, "{}", ran.out);
}

#[test]
fn check_notes_that_behind_an_untold_proxy_all_clients_are_one() {
    let site = Site::new("");
    let notes = |env: &[(&str, &str)]| {
        let ran = site.run_env(env, &["check"]);
        ran.out.lines().filter(|line| line.starts_with("# note: [server] trusted_proxies is empty")).count()
    };
    assert_eq!(notes(&[]), 1);
    assert_eq!(notes(&[("PLIMSOLL_SERVER__TRUSTED_PROXIES", "127.0.0.1/32")]), 0);
    assert_eq!(notes(&[("PLIMSOLL_SERVER__LISTEN", "0.0.0.0:0")]), 0);
    assert_eq!(notes(&[("PLIMSOLL_ABUSE__MAX_FAILURES", "0")]), 0);
    let rated = [("PLIMSOLL_ABUSE__MAX_FAILURES", "0"), ("PLIMSOLL_ABUSE__REQUESTS_PER_MINUTE", "5")];
    assert_eq!(notes(&rated), 1);
}

#[test]
fn check_tells_whether_the_audit_log_can_be_written() {
    let site = Site::new("");
    let check = |path: &str| site.run_env(&[("PLIMSOLL_AUDIT__FILE", path)], &["check"]);
    let good = site.dir.path().join("audit.jsonl");
    let ran = check(good.to_str().unwrap());
    assert!(ran.out.contains("# good: [audit] file: ") && !good.exists(), "{}", ran.out);
    let ran = check("/nowhere/at/all");
    assert!(ran.status == 1 && ran.err.contains("bad: [audit] file: /nowhere/at/all cannot"), "{}", ran.err);
}
