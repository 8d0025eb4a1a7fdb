//! The end of the disk: the reserve, the limit of the file size, and blobs that are missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::{fs, path::PathBuf};

use common::{
    disk::SmallDisk,
    eventually,
    http::{Answer, Conn},
    server::{Server, Setup},
    slots::Slot,
    store,
};

const MIB: u64 = 1024 * 1024;
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const BYTES: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

fn setup() -> Setup {
    Setup::new().with_metrics().key("TUS__CREATE", "open").key("TUS__CREATIONS_PER_MINUTE", "0")
}

/// A server whose bytes, but not its ledger, lie on a disk of their own, with a reserve in MiB.
fn on_disk(disk: &SmallDisk, reserve: u64) -> Setup {
    let setup = setup();
    let ledger = format!("sqlite:{}/ledger.db", setup.store().parent().unwrap().display());
    setup
        .key("STORE__PATH", disk.path().join("store").display())
        .key("LEDGER__URL", ledger)
        .key("STORE__RESERVE", format!("{reserve}MiB"))
}

fn free(disk: &SmallDisk) -> u64 {
    let found = rustix::fs::statvfs(disk.path()).unwrap();
    found.f_bavail * found.f_frsize
}

fn ask(conn: &mut Conn, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let mut all = vec![TUS, ("Content-Length", length.as_str())];
    all.extend_from_slice(headers);
    conn.head(method, target, &all).unwrap();
    // A server that refuses at once may not read it.
    let _ = conn.send(body);
    if method == "HEAD" { conn.any_answer(true).unwrap() } else { conn.answer().unwrap() }
}

fn create(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(&mut server.connect(), "POST", "/files", headers, body)
}

fn location(answer: &Answer) -> String {
    answer.header("location").expect("a Location").to_owned()
}

fn put(server: &Server, slot: &Slot, body: &[u8]) -> Answer {
    let mut conn = server.connect();
    conn.put(slot).unwrap();
    let _ = conn.send(body);
    conn.answer().unwrap()
}

// [ENG-60]
#[test]
fn bodies_of_unannounced_size_at_full_speed_leave_the_reserve() {
    let disk = SmallDisk::new("128m");
    let server = on_disk(&disk, 64).start();
    let piece = [b"100000\r\n".as_slice(), &[7; MIB as usize], b"\r\n"].concat();
    let urls: Vec<String> = std::thread::scope(|scope| {
        let send = || {
            let url = location(&create(&server, &[("Upload-Defer-Length", "1")], b"").expect(201));
            let mut conn = server.connect();
            let headers = [TUS, BYTES, ("Upload-Offset", "0"), ("Transfer-Encoding", "chunked")];
            conn.head("PATCH", &url, &headers).unwrap();
            for _ in 0..128 {
                if conn.send(&piece).is_err() {
                    break;
                }
            }
            // It may have been sent before the connection was reset.
            if let Ok(answer) = conn.answer() {
                assert_eq!(answer.status, 507, "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            url
        };
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(free(&disk) >= 63 * MIB, "{} are free", free(&disk));
    // [ENG-6] and what there was room for is kept
    let held = |url: &String| ask(&mut server.connect(), "HEAD", url, &[], b"").expect(200).offset().unwrap();
    let all: u64 = urls.iter().map(held).sum();
    assert!((62 * MIB..=64 * MIB).contains(&all), "{all}");
}

// [ENG-64]
#[test]
fn every_dialect_says_that_the_disk_is_full_and_when_to_come_again() {
    let disk = SmallDisk::new("32m");
    let server = on_disk(&disk, 0).start();
    let old = Slot::new("old/file.bin", 5);
    put(&server, &old, b"hello").expect(201);
    let url = location(&create(&server, &[("Upload-Length", "10")], b"").expect(201));
    disk.fill();
    let full = |answer: Answer| {
        assert_eq!(answer.status, 507, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(answer.text().contains("storage-full") && !answer.text().contains("safe"), "{answer:?}");
    };
    full(put(&server, &Slot::new("new/file.bin", 5), b"hello"));
    let ranged = Slot::new("ranged/file.bin", 5);
    let mut conn = server.connect();
    conn.put_range(&ranged, 0, 5).unwrap();
    let _ = conn.send(b"hello");
    full(conn.answer().unwrap());
    full(ask(&mut server.connect(), "PATCH", &url, &[BYTES, ("Upload-Offset", "0")], b"hello"));
    full(create(&server, &[BYTES, ("Upload-Length", "5")], b"hello"));
    assert_eq!(server.connect().get(&old.path).unwrap().expect(200).body, b"hello");
    ask(&mut server.connect(), "DELETE", &url, &[], b"").expect(204);
    disk.free();
    put(&server, &Slot::new("late/file.bin", 5), b"hello").expect(201);
}

// [ENG-62]
#[test]
fn concatenations_of_one_part_named_many_times_leave_the_reserve() {
    let disk = SmallDisk::new("128m");
    let setup = on_disk(&disk, 64);
    let server = setup.start();
    let part = vec![7; 2 * MIB as usize];
    let headers = [BYTES, ("Upload-Length", "2097152"), ("Upload-Concat", "partial")];
    let part = location(&create(&server, &headers, &part).expect(201));
    let many = format!("final;{}", vec![part; 10].join(" "));
    let finals: Vec<Answer> = std::thread::scope(|scope| {
        let post = || create(&server, &[("Upload-Concat", &many)], b"");
        let posts: Vec<_> = (0..6).map(|_| scope.spawn(post)).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = finals.into_iter().partition(|answer| answer.status == 201);
    assert!(refused.iter().all(|answer| answer.status == 507), "{refused:?}");
    assert_eq!(made.len(), 3, "there is room for three");
    for answer in &made {
        let url = location(answer);
        eventually("it is complete", || {
            ask(&mut server.connect(), "HEAD", &url, &[], b"").expect(200).offset() == Some(20 * MIB)
        });
    }
    assert!(free(&disk) >= 63 * MIB, "{} are free", free(&disk));
    let setup = server.kill();
    let server = setup.start();
    assert!(free(&disk) >= 63 * MIB, "a restart makes none of them again");
    drop(server);
}

// [ENG-69]
#[test]
fn a_concatenation_of_too_many_parts_is_refused() {
    let server = setup().key("TUS__MAX_PARTS", 3).start();
    let headers = [BYTES, ("Upload-Length", "5"), ("Upload-Concat", "partial")];
    let part = location(&create(&server, &headers, b"hello").expect(201));
    let of = |count: usize| format!("final;{}", vec![part.as_str(); count].join(" "));
    create(&server, &[("Upload-Concat", &of(3))], b"").expect(201);
    let refused = create(&server, &[("Upload-Concat", &of(4))], b"").expect(400);
    assert!(refused.text().contains("at most 3 parts"), "{refused:?}");
}

// [ENG-65]
#[test]
fn a_limit_of_the_file_size_is_a_full_disk_and_ends_nothing() {
    let mut server = setup().with_file_size(8 * MIB).start();
    let large = Slot::new("large/file.bin", 12 * MIB);
    let answer = put(&server, &large, &vec![7; 12 * MIB as usize]);
    assert_eq!(answer.status, 507, "{answer:?}");
    assert!(server.is_running());
    let held = server.connect().query(&large).unwrap().offset().unwrap();
    assert!((7 * MIB..=8 * MIB).contains(&held), "{held}");
    put(&server, &Slot::new("small/file.bin", 5), b"hello").expect(201);
}

fn blob_of(server: &Server, name: &str) -> PathBuf {
    store::blob_path(&server.store(), &store::rows(&server.store())[name].blob)
}

fn is_lost(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    let text = answer.text();
    assert!(text.contains("urn:plimsoll:problem:lost") && !text.contains("safe"), "{text}");
}

// [ENG-66]
#[test]
fn a_blob_that_is_missing_or_short_is_told_and_logged_once() {
    let setup = setup();
    let server = setup.start();
    let (missing, short) = (Slot::new("missing/file.bin", 5), Slot::new("short/file.bin", 5));
    for slot in [&missing, &short] {
        put(&server, slot, b"hello").expect(201);
    }
    fs::remove_file(blob_of(&server, &missing.path)).unwrap();
    fs::File::options().write(true).open(blob_of(&server, &short.path)).unwrap().set_len(3).unwrap();
    for _ in 0..3 {
        for slot in [&missing, &short] {
            is_lost(&server.connect().get(&slot.path).unwrap());
        }
    }
    assert!((server.metric("plimsoll_blobs_lost_total") - 2.0).abs() < 0.5);
    let log = setup.log_tail();
    assert_eq!(log.matches("are missing in the store").count(), 2, "{log}");
    assert_eq!(log.matches(" ERROR ").count(), 2, "{log}");
    // One that is incomplete cannot go on either.
    let url = location(&create(&server, &[BYTES, ("Upload-Length", "10")], b"hello").expect(201));
    fs::remove_file(blob_of(&server, &url[url.find("/files").unwrap()..])).unwrap();
    is_lost(&ask(&mut server.connect(), "PATCH", &url, &[BYTES, ("Upload-Offset", "5")], b"world"));
}
