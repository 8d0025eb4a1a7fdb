use std::{fs, os::unix::ffi::OsStringExt as _};

use super::*;
use crate::config::{Durability, Size};

fn load_text(text: impl AsRef<[u8]>, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.toml");
    fs::write(&path, text).unwrap();
    load(Some(&path), env.iter().map(|(name, value)| (name.into(), value.into())))
}

/// The only problem of a file and an environment.
fn problem(text: impl AsRef<[u8]>, env: &[(&str, &str)]) -> Problem {
    let problems = load_text(text, env).unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(!problems[0].wrong.is_empty() && !problems[0].advice.is_empty(), "{problems:#?}");
    problems.into_iter().next().unwrap()
}

fn line(problem: &Problem) -> usize {
    match &problem.place {
        Place::File { line, .. } => *line,
        Place::Default | Place::Env(_) => panic!("{problem:?}"),
    }
}

#[test]
fn an_empty_file_is_the_default() {
    let loaded = load_text("", &[]).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    assert_eq!(loaded.origin("server", "listen"), &Place::Default);
}

#[test]
fn a_missing_file_and_a_directory_are_explained() {
    for path in ["/nowhere/plimsoll.toml", "/"] {
        let problems = load(Some(Path::new(path)), []).unwrap_err().problems;
        assert!(problems[0].wrong.contains("cannot be read") && problems[0].advice.contains("--config"));
    }
}

#[test]
fn the_environment_overrides_the_file_and_both_are_remembered() {
    let text = "[server]\nthreads = 2\n[store]\nmax_size = '2 GiB'\ndurability = 'relaxed'\n";
    let loaded = load_text(text, &[("PLIMSOLL_STORE__MAX_SIZE", "3 GiB"), ("HOME", "/")]).unwrap();
    assert_eq!(loaded.config.store.max_size, Size::gib(3));
    assert_eq!(loaded.config.store.durability, Durability::Relaxed);
    assert_eq!(loaded.config.server.threads, 2);
    assert_eq!(loaded.origin("store", "max_size"), &Place::Env("PLIMSOLL_STORE__MAX_SIZE".into()));
    assert!(matches!(loaded.origin("store", "durability"), Place::File { line: 5, .. }));
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    for known in env_names(&Config::default()) {
        let config = Config::default();
        let section = config.sections().into_iter().find(|s| s.name() == known.section).unwrap();
        let field = section.fields().iter().find(|f| f.key == known.key).unwrap();
        let shown = field.examples.first().map(|e| (*e).to_owned()).or(section.get(known.key)).unwrap();
        let value = shown.replace(['[', ']', '"'], "");
        let loaded = load(None, [(known.name.clone().into(), value.into())]).unwrap();
        assert_eq!(loaded.origin(known.section, known.key), &Place::Env(known.name));
    }
}

#[test]
fn environment_lists_stand_between_commas_and_an_empty_value_unsets() {
    let env = [
        ("PLIMSOLL_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("PLIMSOLL_SLOTS__SECRETS", "a,b"),
        ("PLIMSOLL_SERVER__PUBLIC_URL", ""),
        ("PLIMSOLL_METRICS__ENABLED", "false"),
    ];
    let config = load_text("[server]\npublic_url = 'https://x.org'\n", &env).unwrap().config;
    assert_eq!(config.server.trusted_proxies.len(), 2);
    let secrets: Vec<_> = config.slots.secrets.iter().map(|s| s.expose()).collect();
    assert_eq!(secrets, [b"a", b"b"]);
    assert!(config.server.public_url.is_none() && !config.metrics.enabled);
    let none = load_text("[slots]\nsecrets = ['x']\n", &[("PLIMSOLL_SLOTS__SECRETS", "")]).unwrap();
    assert!(none.config.slots.secrets.is_empty());
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_key() {
    let found = problem("\n[server]\nlisen = 'x'\n", &[]);
    assert_eq!((line(&found), found.key.as_str()), (3, "[server] lisen"));
    assert!(found.advice.contains("\"listen\""), "{found}");
}

#[test]
fn a_key_of_another_section_is_sent_there() {
    assert!(problem("[server]\nmax_size = 1\n", &[]).advice.contains("[store]"));
    let outside = problem("durability = 'full'\n", &[]);
    assert!(outside.wrong.contains("outside") && outside.advice.contains("[store]"), "{outside}");
}

#[test]
fn an_unknown_section_names_the_nearest() {
    let found = problem("[sever]\nlisten = 'x'\n", &[]);
    assert!(line(&found) == 1 && found.advice.contains("[server]") && found.accepted.contains("slots"));
    assert!(problem("[qqqqqqqqq]\n", &[]).advice.contains("remove"));
    assert!(problem("[[server]]\nthreads = 1\n", &[]).wrong.contains("list"));
    assert!(problem("server = 3\n", &[]).wrong.contains("number"));
}

#[test]
fn an_unknown_environment_key_names_the_nearest() {
    for (name, meant) in [
        ("PLIMSOLL_SERVER__LISEN", "PLIMSOLL_SERVER__LISTEN"),
        ("PLIMSOLL_SEVER__LISTEN", "PLIMSOLL_SERVER__LISTEN"),
        ("PLIMSOLL_server__listen", "PLIMSOLL_SERVER__LISTEN"),
        ("PLIMSOLL_SERVER_LISTEN", "PLIMSOLL_SERVER__LISTEN"),
        ("PLIMSOLL_SLOTS_SECRET_FILE", "PLIMSOLL_SLOTS__SECRET_FILE"),
    ] {
        let found = problem("", &[(name, "x")]);
        assert!(found.advice.contains(&format!("did you mean {meant}?")), "{found}");
        assert_eq!(found.place, Place::Env(name.into()));
    }
    assert!(problem("", &[("PLIMSOLL_COLOUR__OF_THE_SEA", "x")]).advice.contains("plimsoll config"));
    assert!(problem("", &[("PLIMSOLL_SLOTS__ALSO", "x")]).wrong.contains("no key"));
}

#[test]
fn foreign_environment_variables_of_our_name_are_left_alone() {
    let env = [
        ("PLIMSOLL_CONFIG", "x"),
        ("PLIMSOLL_SERVICE_HOST", "10.0.0.1"),
        ("PLIMSOLL_PORT", "tcp://10.0.0.1:80"),
        ("PLIMSOLLX__Y", ""),
    ];
    assert!(load_text("", &env).is_ok());
}

#[test]
fn a_value_of_the_wrong_kind_says_what_is_accepted_and_how_to_write_it() {
    for (text, key, wrong) in [
        ("[server]\nlisten = 8080\n", "[server] listen", "number"),
        ("[server]\nlisten = ':8080'\n", "[server] listen", "IP address"),
        ("[server]\nlisten = '127.0.0.1'\n", "[server] listen", "no port"),
        ("[server]\nlisten = '127.0.0.1:99999'\n", "[server] listen", "65535"),
        ("[server]\nlisten = ''\n", "[server] listen", "empty"),
        ("[server]\nthreads = '2'\n", "[server] threads", "text"),
        ("[server]\nthreads = -1\n", "[server] threads", "out of range"),
        ("[server]\nthreads = 99999999999\n", "[server] threads", "out of range"),
        ("[server]\nthreads = 99999999999999999999999\n", "[server] threads", "64 bits"),
        ("[server]\nthreads = 1.5\n", "[server] threads", "fraction"),
        ("[server]\ntrusted_proxies = '10.0.0.0/8'\n", "[server] trusted_proxies", "list"),
        ("[server]\ntrusted_proxies = ['10.0.0.0/8', 'x']\n", "[server] trusted_proxies", "member 2"),
        ("[metrics]\nenabled = 'yes'\n", "[metrics] enabled", "text"),
        ("[store]\nmax_size = true\n", "[store] max_size", "boolean"),
        ("[store]\nmax_size = -5\n", "[store] max_size", "negative"),
        ("[store]\nmax_size = 1979-05-27\n", "[store] max_size", "date"),
        ("[store.max_size]\n", "[store] max_size", "table"),
        ("[store]\npath = ''\n", "[store] path", "empty"),
        ("[limits]\nbody_gap = 60\n", "[limits] body_gap", "60s"),
    ] {
        let found = problem(text, &[]);
        assert_eq!(found.key, key, "{text}");
        assert!(found.wrong.contains(wrong), "{text}: {found}");
        assert!(!found.accepted.is_empty() && found.advice.contains("write for example"), "{found}");
    }
}

#[test]
fn a_wrong_environment_value_names_its_variable() {
    let found = problem("", &[("PLIMSOLL_SERVER__THREADS", "many")]);
    assert_eq!(found.place, Place::Env("PLIMSOLL_SERVER__THREADS".into()));
    assert!(found.advice.contains("PLIMSOLL_SERVER__THREADS=0"), "{found}");
    assert!(problem("", &[("PLIMSOLL_METRICS__ENABLED", "1")]).accepted.contains("true or false"));
    assert!(problem("", &[("PLIMSOLL_SLOTS__BASE_PATH", "")]).wrong.contains("slash"));
}

#[test]
fn text_that_is_not_utf8_is_refused_in_file_and_environment() {
    let found = problem(b"[server]\n# \xff\n", &[]);
    assert!(line(&found) == 2 && found.wrong.contains("UTF-8"), "{found}");
    let value = OsString::from_vec(vec![0xff]);
    let error = load(None, [("PLIMSOLL_SLOTS__SECRET".into(), value)]).unwrap_err();
    assert!(error.to_string().contains("secret_file"), "{error}");
}

#[test]
fn broken_toml_names_its_line_and_shows_no_secret() {
    for text in [
        "[slots]\nsecret = \"hunter2\n",
        "[slots]\nsecret = hunter2\n",
        "[slots]\nsecret = 'hunter2' 'hunter2'\n",
    ] {
        let error = load_text(text, &[]).unwrap_err();
        assert!(error.problems.iter().all(|p| line(p) == 2), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_repeated_key_or_section_is_refused() {
    let found = problem("[slots]\nbase_path = '/a'\nbase_path = '/b'\n", &[]);
    assert!(line(&found) == 3 && found.wrong.contains("set twice, first in line 2"), "{found}");
    assert_eq!(line(&problem("[slots]\n[log]\n[slots]\n", &[])), 3);
}

#[test]
fn all_problems_are_told_at_once() {
    let error =
        load_text("[server]\nlisen = 1\nthreads = 'x'\n[lug]\n", &[("PLIMSOLL_X__Y", "")]).unwrap_err();
    assert_eq!(error.problems.len(), 4, "{error}");
    assert_eq!(error.to_string().matches("to do:").count(), 4);
    assert_eq!(error.problems[..3].iter().map(line).collect::<Vec<_>>(), [2, 3, 4], "in the file's order");
}

// [ENG-10]
#[test]
fn no_problem_shows_a_secret_or_a_password() {
    let text = "[slots]\nsecret = ''\nsecrets = ['hunter2', '']\nsecert = 'hunter2'\nsecret_file = 3\n\
                [ledger]\nurl = 'postgres://u:hunter2@h/d'\n";
    let error = load_text(text, &[]).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn further_base_paths_are_read_and_checked() {
    let text = "[slots]\nallow_weak_secrets = true\nsecret = 's'\n[[slots.also]]\nbase_path = '/two'\nsecret = 't'\n\
                [[slots.also]]\nbase_path = '/three'\nsecrets = ['u', 'v']\n";
    let config = load_text(text, &[]).unwrap().config;
    let bases = config.resolve_secrets().unwrap();
    let shape: Vec<_> = bases.iter().map(|b| (b.base_path.as_str(), b.secrets.len())).collect();
    assert_eq!(shape, [("/upload", 1), ("/two", 1), ("/three", 2)]);
}

#[test]
fn further_base_paths_that_are_incomplete_or_overlap_are_refused_at_their_line() {
    for (table, at, wrong) in [
        ("base_path = '/upload/x'\nsecret = 't'", 3, "overlaps"),
        ("base_path = '/two'", 3, "no secret"),
        ("secret = 't'", 3, "no base path"),
        ("base_path = '/two'\nsecret = 't'\nsecrt = 'u'", 5, "no such key"),
        ("base_path = 'two'\nsecret = 't'", 3, "slash"),
    ] {
        let error = load_text(format!("[slots]\n[[slots.also]]\n{table}\n"), &[]).unwrap_err();
        let found =
            error.problems.iter().find(|p| p.wrong.contains(wrong)).unwrap_or_else(|| panic!("{error}"));
        assert_eq!(line(found), at, "{found}");
        assert!(found.key.starts_with("[[slots.also]]"), "{found}");
    }
    assert!(problem("[slots.also]\nbase_path = '/x'\n", &[]).advice.contains("[[slots.also]]"));
    assert!(problem("[slots]\nalso = ['x']\n", &[]).advice.contains("[[slots.also]]"));
}
