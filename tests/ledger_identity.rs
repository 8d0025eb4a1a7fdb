//! A ledger and a store that do not belong together are not served, and nothing of either is lost by trying.
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
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    eventually,
    server::{Server, Setup},
    slots::Slot,
    store,
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

const BODY: &[u8] = b"hello";

fn put(server: &Server, name: &str) -> Slot {
    let slot = Slot::new(&format!("{name}/file.txt"), BODY.len() as u64);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(BODY).unwrap();
    conn.answer().unwrap().expect(201);
    slot
}

fn is_there(server: &Server, slot: &Slot) {
    assert_eq!(server.connect().get(&slot.path).unwrap().expect(200).body, BODY);
}

fn stop(server: Server) -> Setup {
    server.terminate();
    server.ended().1
}

/// Run the program to its end, which has to be a refusal.
fn refusal(command: &mut Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it serves instead of refusing");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("\n    to do: "), "no way out: {told}");
    told
}

fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn sql(ledger: &Path, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(ledger);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    });
}

fn number(ledger: &Path, query: &'static str) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(ledger);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        let number = sqlx::query_scalar(query).fetch_one(&mut db).await.unwrap();
        db.close().await.unwrap();
        number
    })
}

/// As if every blob had lain there for three days.
fn age(store: &Path) {
    for blob in store::blobs(store) {
        let file = fs::File::options().write(true).open(store::blob_path(store, &blob)).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - Duration::from_hours(72);
        file.set_modified(then).unwrap();
    }
}

// [ENG-45]
#[test]
fn a_relative_ledger_in_another_working_directory_is_refused_and_no_file_is_touched() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = Setup::new().key("LEDGER__URL", format!("sqlite:{}/ledger.db", one.path().display()));
    let server = setup.start();
    let kept: Vec<Slot> = (0..20).map(|n| put(&server, &format!("f{n}"))).collect();
    let setup = stop(server);
    age(&setup.store());
    let blobs = store::blobs(&setup.store());

    let elsewhere = setup.clone().key("LEDGER__URL", "sqlite:ledger.db");
    let told = refusal(elsewhere.command().current_dir(two.path()));
    assert!(told.contains("knows none of the files") && told.contains("`plimsoll adopt`"), "{told}");
    assert!(told.contains(&two.path().display().to_string()), "where relative paths begin: {told}");
    assert_eq!(store::blobs(&setup.store()), blobs);
    assert!(fs::read_dir(two.path()).unwrap().next().is_none(), "a refused start makes no ledger");

    let server = setup.start();
    kept.iter().for_each(|slot| is_there(&server, slot));
}

// [ENG-45]
#[test]
fn the_ledger_of_another_store_is_refused_with_both_left_as_they_are() {
    let (one, two) = (Setup::new().start(), Setup::new().start());
    let (mine, other) = (put(&one, "mine"), put(&two, "other"));
    let (one, two) = (stop(one), stop(two));
    let crossed = one.clone().key("LEDGER__URL", format!("sqlite:{}/ledger.db", two.store().display()));
    assert!(refusal(&mut crossed.command()).contains("belongs to another store"));
    assert!(refusal(crossed.command().arg("check")).contains("belongs to another store"));
    is_there(&one.start(), &mine);
    is_there(&two.start(), &other);
}

// [ENG-45]
#[test]
fn a_store_whose_disk_is_not_mounted_is_refused() {
    let ledger = tempfile::tempdir().unwrap();
    let setup = Setup::new().key("LEDGER__URL", format!("sqlite:{}/ledger.db", ledger.path().display()));
    let server = setup.start();
    let kept = put(&server, "f");
    let setup = stop(server);
    let away = setup.store().with_file_name("away");
    fs::rename(setup.store(), &away).unwrap();
    assert!(refusal(&mut setup.command()).contains("is its disk mounted?"));
    fs::remove_dir_all(setup.store()).unwrap();
    fs::rename(&away, setup.store()).unwrap();
    is_there(&setup.start(), &kept);
}

// [ENG-46]
#[test]
fn a_second_server_on_a_ledger_is_refused_while_a_check_is_not() {
    let first = Setup::new().start();
    let kept = put(&first, "f");
    let url = format!("sqlite:{}/ledger.db", first.store().display());
    let second = Setup::new().key("LEDGER__URL", url);
    assert!(refusal(&mut second.command()).contains("another server uses this ledger"));
    is_there(&first, &kept);
    put(&first, "g");
    let checked = run(second.clone().key("LEDGER__URL", "sqlite:nothing.db").command().arg("check"));
    assert!(checked.contains("will be created"), "{checked}");
    let setup = stop(first);
    let server = setup.start();
    is_there(&server, &kept);
    assert!(
        run(setup.clone().key("SERVER__LISTEN", "127.0.0.1:0").command().arg("check")).contains("2 complete")
    );
}

// [ENG-47]
#[test]
fn blobs_that_are_newer_than_a_restored_ledger_are_kept_and_named() {
    let setup = Setup::new();
    let backup = tempfile::tempdir().unwrap();
    let copy = backup.path().join("ledger.db");
    let server = setup.start();
    let old = put(&server, "old");
    let setup = stop(server);
    // [ENG-51] the file alone is the whole backup
    fs::copy(setup.store().join("ledger.db"), &copy).unwrap();

    let server = setup.start();
    put(&server, "new");
    // It ends as by a power cut: the backup is older than its start.
    let setup = server.kill();
    for file in ["ledger.db-wal", "ledger.db-shm"] {
        fs::remove_file(setup.store().join(file)).unwrap();
    }
    fs::copy(&copy, setup.store().join("ledger.db")).unwrap();
    age(&setup.store());
    let blobs = store::blobs(&setup.store());
    assert_eq!(blobs.len(), 2);
    // The second start must not have forgotten what the first one saw.
    for _ in 0..2 {
        let server = setup.start();
        is_there(&server, &old);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(store::blobs(&setup.store()), blobs);
        stop(server);
    }
    let log = setup.log_tail();
    let named = blobs.iter().filter(|blob| log.contains(*blob)).count();
    assert!(log.contains("the ledger is older than the store") && named == 1, "{log}");
}

// [ENG-45]
#[test]
fn a_store_of_an_earlier_version_is_taken_over_without_a_word() {
    let server = Setup::new().start();
    let kept = put(&server, "f");
    let setup = stop(server);
    let id = setup.store().join("blobs/store-id");
    fs::remove_file(&id).unwrap();
    sql(
        &setup.store().join("ledger.db"),
        "DROP TABLE identity; DELETE FROM _sqlx_migrations WHERE version = 4",
    );
    let server = setup.start();
    is_there(&server, &kept);
    assert!(id.exists());
    assert_eq!(server.connect().get("/readyz").unwrap().status, 200);
}

// [ENG-48]
#[test]
fn what_was_refused_is_served_after_it_was_adopted() {
    let server = Setup::new().start();
    put(&server, "f");
    let setup = stop(server);
    let blobs = store::blobs(&setup.store());
    for file in fs::read_dir(setup.store()).unwrap().map(|file| file.unwrap()) {
        if file.file_name().to_string_lossy().starts_with("ledger.db") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    age(&setup.store());
    assert!(refusal(&mut setup.command()).contains("knows none of the files"));
    assert!(refusal(setup.command().arg("check")).contains("knows none of the files"));
    let told = run(setup.command().arg("adopt"));
    assert!(told.contains("belong together") && told.contains(&blobs[0]), "{told}");
    let server = setup.start();
    put(&server, "g");
    std::thread::sleep(Duration::from_millis(500));
    assert!(store::blobs(&setup.store()).contains(&blobs[0]), "an adopted store loses nothing");
}

// [ENG-42]
#[test]
fn a_store_that_went_away_is_not_ready() {
    let server = Setup::new().start();
    assert_eq!(server.connect().get("/readyz").unwrap().status, 200);
    let blobs = server.store().join("blobs");
    let away = server.store().join("away");
    fs::rename(&blobs, &away).unwrap();
    assert_eq!(server.connect().get("/readyz").unwrap().status, 503);
    // Another, empty one in its place.
    fs::create_dir(&blobs).unwrap();
    assert_eq!(server.connect().get("/readyz").unwrap().status, 503);
    fs::remove_dir(&blobs).unwrap();
    fs::rename(&away, &blobs).unwrap();
    assert_eq!(server.connect().get("/readyz").unwrap().status, 200);
    fs::remove_dir(blobs.join("ab")).unwrap();
    assert_eq!(server.connect().get("/readyz").unwrap().status, 503);
}

/// Every file and folder below, with its mode.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let mode = fs::symlink_metadata(&entry).unwrap().permissions().mode() & 0o777;
        found.push((entry.display().to_string(), mode));
        if entry.is_dir() {
            found.extend(modes(&entry));
        }
    }
    found
}

// [ENG-49]
#[test]
fn whatever_the_umask_nobody_else_may_look_into_store_and_ledger() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let ledger = root.path().join("deep/er/ledger.db");
    let setup = Setup::new()
        .key("STORE__PATH", root.path().join("a/store").display())
        .key("LEDGER__URL", format!("sqlite:{}", ledger.display()));
    let server = setup.start();
    put(&server, "f");
    let found = modes(root.path());
    assert!(found.len() > 262, "{found:?}");
    for (path, mode) in found {
        let wanted = if Path::new(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{path} has mode {mode:o}");
    }
    let setup = stop(server);
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o644)).unwrap();
    let _server = setup.start();
    eventually("the wider mode is told", || setup.log_tail().contains("to do: chmod 600"));
    assert!(run(setup.command().arg("check")).contains("to do: chmod 600"));
}

// [ENG-51]
#[test]
fn after_an_orderly_stop_the_ledgers_file_alone_holds_everything() {
    let server = Setup::new().start();
    let kept: Vec<Slot> = (0..5).map(|n| put(&server, &format!("f{n}"))).collect();
    // Somebody else has it open, as a backup tool would: SQLite alone would leave the WAL then.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new().filename(server.store().join("ledger.db"));
    let mut other = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM uploads");
    assert_eq!(runtime.block_on(count.fetch_one(&mut other)).unwrap(), 5);
    let setup = stop(server);
    let copy = tempfile::tempdir().unwrap();
    fs::copy(setup.store().join("ledger.db"), copy.path().join("ledger.db")).unwrap();
    let rows = store::rows_at_rest(copy.path());
    assert!(kept.iter().all(|slot| rows.contains_key(&slot.path)), "{rows:?}");
    runtime.block_on(other.close()).unwrap();
    let setup = stop(setup.start());
    assert!(!setup.store().join("ledger.db-wal").exists(), "nothing is left beside it");
}

// [ENG-53]
#[test]
fn a_damaged_ledger_is_told_and_costs_no_blob() {
    let server = Setup::new().start();
    for n in 0..30 {
        put(&server, &format!("f{n}"));
    }
    let setup = stop(server);
    age(&setup.store());
    let blobs = store::blobs(&setup.store());
    let ledger = setup.store().join("ledger.db");
    let root = number(&ledger, "SELECT rootpage FROM sqlite_schema WHERE name = 'uploads_blob'");
    let mut bytes = fs::read(&ledger).unwrap();
    let page = usize::try_from(root - 1).unwrap() * 4096;
    bytes[page..page + 4096].fill(0x5a);
    fs::write(&ledger, bytes).unwrap();
    let server = setup.start();
    eventually("it is told", || setup.log_tail().contains("the ledger's file is damaged"));
    assert_eq!(server.connect().get("/readyz").unwrap().status, 503);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(store::blobs(&setup.store()), blobs);
    let setup = stop(server);

    fs::write(&ledger, [0x5a; 8192]).unwrap();
    assert!(refusal(&mut setup.command()).contains("put a backup in its place"));
    assert_eq!(store::blobs(&setup.store()), blobs);
}
