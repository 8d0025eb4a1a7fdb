//! What the server says and keeps while its ledger cannot be written, and afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use common::{
    disk::SmallDisk,
    eventually,
    server::{Server, Setup},
    slots::Slot,
    store,
};

const BODY: &[u8] = b"hello";

/// A server whose ledger lies on a small disk of its own.
fn setup(disk: &SmallDisk) -> Setup {
    Setup::new().with_metrics().key("LEDGER__URL", format!("sqlite:{}/ledger.db", disk.path().display()))
}

fn put(server: &Server, slot: &Slot) -> u16 {
    let mut conn = server.connect();
    conn.put(slot).unwrap();
    // A server that refuses at once may not read it.
    let _ = conn.send(BODY);
    conn.answer().unwrap().status
}

fn get(server: &Server, path: &str) -> u16 {
    let answer = server.connect().get(path).unwrap();
    assert!(answer.status != 200 || !path.starts_with("/upload") || answer.body == BODY, "{answer:?}");
    answer.status
}

fn slots(prefix: &str, count: usize) -> Vec<Slot> {
    (0..count).map(|n| Slot::new(&format!("{prefix}{n}/file.txt"), BODY.len() as u64)).collect()
}

/// Put them all; those that were acknowledged.
fn acknowledged(server: &Server, slots: Vec<Slot>) -> Vec<Slot> {
    slots.into_iter().filter(|slot| put(server, slot) == 201).collect()
}

fn all_are_there(server: &Server, slots: &[Slot]) {
    for slot in slots {
        assert_eq!(get(server, &slot.path), 200, "{} was acknowledged", slot.path);
    }
}

// [ENG-40] [ENG-42] The disk is too small for a ballast.
#[test]
fn what_was_acknowledged_around_a_full_disk_of_the_ledger_is_there_after_a_kill() {
    let disk = SmallDisk::new("24m");
    let server = setup(&disk).start();
    let mut kept = acknowledged(&server, slots("before", 3));
    assert_eq!(kept.len(), 3);
    assert_eq!(get(&server, "/readyz"), 200);

    disk.fill();
    let mut refused = 0;
    let mut filled = slots("full", 400).into_iter();
    while refused < 20 {
        let slot = filled.next().expect("a full disk refuses");
        match put(&server, &slot) {
            201 => {
                assert_eq!(refused, 0, "room came out of nothing");
                kept.push(slot);
                disk.fill();
            }
            // [ENG-43]
            507 => refused += 1,
            status => panic!("a full disk is answered {status}"),
        }
    }
    all_are_there(&server, &kept);
    // [ENG-18]
    let blobs = store::blobs(&server.store());
    assert_eq!(blobs.len(), kept.len(), "what was certainly not recorded takes no room");
    assert_eq!(get(&server, "/readyz"), 503, "a ledger that takes no change is not ready");
    assert!(server.metric("plimsoll_ledger_failed_transactions_total") > 0.0);

    disk.free();
    eventually("the server heals without a restart", || get(&server, "/readyz") == 200);
    let more = acknowledged(&server, slots("after", 20));
    assert_eq!(more.len(), 20);
    kept.extend(more);
    all_are_there(&server, &kept);

    let server = server.kill().start();
    all_are_there(&server, &kept);
    server.terminate();
    let server = server.ended().1.start();
    all_are_there(&server, &kept);
}

// [ENG-40]
#[test]
fn a_ledger_whose_file_was_taken_away_takes_no_change() {
    let disk = SmallDisk::new("24m");
    let server = setup(&disk).start();
    assert_eq!(acknowledged(&server, slots("before", 3)).len(), 3);
    // What fails first closes the connection; from then on the file is looked for by its name.
    disk.fill();
    let mut more = slots("full", 400).into_iter();
    while put(&server, &more.next().expect("a full disk refuses")) == 201 {
        disk.fill();
    }
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        std::fs::rename(disk.path().join(file), disk.path().join(format!("away-{file}"))).unwrap();
    }
    disk.free();
    // It believes for a moment that the disk is still full.
    let retried = Slot::new("retried/file.txt", BODY.len() as u64);
    eventually("the retry finds no file", || put(&server, &retried) == 503);
    assert_eq!(get(&server, "/readyz"), 503);
    for slot in slots("gone", 5) {
        assert_eq!(put(&server, &slot), 503);
    }
    assert!(
        !disk.path().join("ledger.db").exists(),
        "no empty ledger takes the place of the one that is away"
    );
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        std::fs::rename(disk.path().join(format!("away-{file}")), disk.path().join(file)).unwrap();
    }
    eventually("it is back", || get(&server, "/readyz") == 200);
    let back = acknowledged(&server, slots("back", 5));
    assert_eq!(back.len(), 5);
    all_are_there(&server, &back);
}

fn delete(server: &Server, slot: &Slot) -> u16 {
    let mut conn = server.connect();
    conn.head("DELETE", &slot.target, &[]).unwrap();
    conn.answer().unwrap().status
}

/// Requests on a disk that holds store and ledger, filled to the last byte until a PUT is refused.
fn filled(disk: &SmallDisk, server: &Server) {
    disk.fill();
    let mut more = slots("full", 400).into_iter();
    while put(server, &more.next().expect("a full disk refuses")) != 507 {
        disk.fill();
    }
    // What was set free at that moment is somebody else's now.
    assert_eq!(get(server, "/readyz"), 503);
}

// [ENG-52]
#[test]
fn on_a_full_disk_uploads_can_be_deleted_and_that_heals_it() {
    let disk = SmallDisk::new("48m");
    let setup = Setup::new()
        .with_metrics()
        .key("STORE__PATH", disk.path().join("store").display())
        .key("LEDGER__BALLAST", "4 MiB")
        .key("SLOTS__DELETE_COMPLETE", "true");
    let server = setup.start();
    let large = vec![b'x'; 16 << 20];
    let slot = Slot::new("large/file.bin", large.len() as u64);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(&large).unwrap();
    conn.answer().unwrap().expect(201);
    let small = acknowledged(&server, slots("small", 200));
    filled(&disk, &server);
    for slot in &small {
        assert_eq!(delete(&server, slot), 204);
    }
    assert_eq!(delete(&server, &small[0]), 410);
    assert!(server.metric("plimsoll_ledger_writable") < 1.0);
    assert_eq!(delete(&server, &slot), 204);
    eventually("room heals it", || get(&server, "/readyz") == 200);
    assert!(disk.path().join("store/ledger.db-ballast").exists());
    let more = acknowledged(&server, slots("more", 5));
    assert_eq!(more.len(), 5);
    let server = server.kill().start();
    all_are_there(&server, &more);
    assert_eq!(get(&server, &small[0].path), 410);
}

// [ENG-52]
#[test]
fn a_server_starts_on_a_full_disk_and_serves_what_is_there() {
    let disk = SmallDisk::new("48m");
    let setup = setup(&disk).key("LEDGER__BALLAST", "4 MiB");
    let server = setup.start();
    let kept = acknowledged(&server, slots("before", 5));
    assert_eq!(kept.len(), 5);
    server.terminate();
    let setup = server.ended().1;
    disk.fill();
    // Twice: the first start may live on the ballast of the last stop.
    for _ in 0..2 {
        let server = setup.start();
        all_are_there(&server, &kept);
        disk.fill();
        filled(&disk, &server);
        all_are_there(&server, &kept);
        server.terminate();
        let _ = server.ended();
        disk.fill();
    }
    let server = setup.start();
    all_are_there(&server, &kept);
    disk.free();
    eventually("room heals it", || get(&server, "/readyz") == 200);
    let more = acknowledged(&server, slots("after", 5));
    assert_eq!(more.len(), 5);
    all_are_there(&server, &more);
}

// [ENG-52]
#[test]
fn the_sweeper_frees_a_full_disk() {
    let disk = SmallDisk::new("48m");
    let setup = Setup::new()
        .key("STORE__PATH", disk.path().join("store").display())
        .key("LEDGER__BALLAST", "4 MiB")
        .key("TUS__CREATE", "open")
        .key("LIMITS__BODY_GAP", "5s")
        .key("LIMITS__INCOMPLETE_EXPIRES", "15s")
        .key("LIMITS__SWEEP_INTERVAL", "1s")
        .with_metrics();
    let server = setup.start();
    let half = vec![b'x'; 16 << 20];
    let headers = [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Length", "33554432"),
        ("Content-Type", "application/offset+octet-stream"),
        ("Content-Length", "16777216"),
    ];
    let mut conn = server.connect();
    conn.head("POST", "/files", &headers).unwrap();
    conn.send(&half).unwrap();
    let created = conn.answer().unwrap().expect(201);
    assert_eq!(created.offset(), Some(half.len() as u64));
    filled(&disk, &server);
    eventually("the expired upload makes room", || get(&server, "/readyz") == 200);
    assert_eq!(acknowledged(&server, slots("after", 5)).len(), 5);
}
