//! What the program says when it cannot start, and what it prints when it can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output, Stdio},
};

use common::server::Setup;

/// Run the program to its end, which has to be a refusal.
fn refusal(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(1), "{out}\n{err}");
    assert!(err.contains("plimsoll: ") && err.contains("\n    to do: "), "neither cause nor way out: {err}");
    assert_eq!(err.matches("to do: ").count(), 1, "two ways out for one cause: {err}");
    err.into_owned()
}

#[test]
fn a_second_server_on_a_store_is_told_that_the_first_one_runs() {
    let setup = Setup::new();
    let _first = setup.start();
    let told = refusal(&mut setup.command());
    assert!(
        told.contains("another server uses this store") && told.contains("[store] path of its own"),
        "{told}"
    );
    let checked = setup.command().arg("check").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("a server runs on this store"));
}

#[test]
fn an_address_that_is_taken_or_foreign_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let told = refusal(&mut Setup::new().key("SERVER__LISTEN", address).command());
    assert!(
        told.contains(&format!("[server] listen: {address} is in use")) && told.contains("ss -ltnp"),
        "{told}"
    );
    let told = refusal(&mut Setup::new().with_metrics().key("METRICS__LISTEN", address).command());
    assert!(told.contains(&format!("[metrics] listen: {address} is in use")), "{told}");
    let told = refusal(&mut Setup::new().key("SERVER__LISTEN", "192.0.2.1:8080").command());
    assert!(told.contains("is no address of this machine"), "{told}");
}

/// The user `nobody`, to whom the rights of root do not apply.
const NOBODY: u32 = 65_534;

#[test]
fn a_store_that_cannot_be_written_is_explained() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("plimsoll");
    fs::copy(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    let store = folder.path().join("store");
    let run = |secret: &str| {
        let mut command = Command::new(&program);
        command.env_clear().current_dir("/").uid(NOBODY).gid(NOBODY);
        command.env("PLIMSOLL_STORE__PATH", &store).env("PLIMSOLL_SLOTS__SECRET", secret);
        command.env("PLIMSOLL_SERVER__LISTEN", "127.0.0.1:0").env("PLIMSOLL_METRICS__ENABLED", "false");
        refusal(&mut command)
    };
    let told = run("");
    assert!(told.contains("slot-secret cannot be made: Permission denied"), "{told}");
    let told = run("a secret of more than sixteen bytes");
    assert!(told.contains("Permission denied") && told.contains("[store] path"), "{told}");
    fs::create_dir(&store).unwrap();
    let told = run("a secret of more than sixteen bytes");
    assert!(told.contains("Permission denied") && told.contains("[store] path"), "{told}");
}

#[test]
fn the_token_of_the_example_is_not_printed_where_nobody_types() {
    let setup = Setup::new().key("LOG__LEVEL", "info");
    let mut child = setup.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("listening on http://"), "{first}");
    // The whole banner is written at once, before the first request can be served.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let errors = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(errors).unwrap());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let (rest, log) = (rest.join().unwrap(), log.join().unwrap());
    assert!(rest.contains("plimsoll slot FILE"), "{rest}");
    assert!(!rest.contains("token=") && !log.contains("token="), "{rest}\n{log}");
}

const README: &str = include_str!("../README.md");

/// The indented blocks of README.
fn blocks() -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in README.lines() {
        match line.strip_prefix("    ") {
            Some(code) => *blocks.last_mut().unwrap() += &format!("{code}\n"),
            None if line.is_empty() && !blocks.last().unwrap().is_empty() => {
                *blocks.last_mut().unwrap() += "\n"
            }
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}

#[test]
fn every_command_of_the_readme_works_beside_a_server_on_defaults() {
    let setup = Setup::new().key("SERVER__PUBLIC_URL", "http://127.0.0.1:8080").without("SLOTS__SECRET");
    let server = setup.start();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("photo.jpg"), "a photo").unwrap();
    let mut ran = 0;
    for line in blocks().iter().flat_map(|block| block.lines()).filter(|line| line.starts_with("plimsoll ")) {
        let (arguments, _) = line.split_once('#').unwrap_or((line, ""));
        let arguments = arguments.strip_prefix("plimsoll").unwrap();
        let mut shell = Command::new("bash");
        shell.env_clear().current_dir(folder.path());
        shell.envs(setup.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        let program = env!("CARGO_BIN_EXE_plimsoll");
        let Output { status, stdout, stderr } =
            shell.args(["-euc", &format!("'{program}'{arguments}")]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{line}\n{out}\n{err}");
        ran += 1;
    }
    assert!(ran >= 6, "only {ran} commands were found");
    let written = fs::read_to_string(folder.path().join("plimsoll.toml")).unwrap();
    assert!(written.contains("[server]"), "`plimsoll config > plimsoll.toml` wrote {written}");
    drop(server);
}

#[test]
fn every_configuration_of_the_readme_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::write(&secrets, "a-secret-of-more-than-sixteen-bytes\n").unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    let ours = |block: &&String| block.contains("[server]\n") || block.contains("[session]\n");
    let pages: Vec<String> = blocks().iter().filter(ours).cloned().collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
    for page in pages {
        let file = folder.path().join("plimsoll.toml");
        fs::write(&file, page.replace("/etc/plimsoll/slot-secrets", &secrets.display().to_string())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.env_clear().args(["check", "--config-only", "--config"]).arg(&file);
        let checked = command.output().unwrap();
        assert!(checked.status.success(), "{page}\n{}", String::from_utf8_lossy(&checked.stderr));
    }
}
