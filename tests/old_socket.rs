//! A phone changed networks: its old socket is still open on the server's side and knows nothing of it. A newer
//! request for the same upload takes over, and nothing that the old socket does afterwards reaches the file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test program: it fails by panicking and reports on standard output"
)]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{
    Random, eventually,
    http::Conn,
    server::{Server, Setup},
    slots::Slot,
    store,
};

const SIZE: usize = 10_000_000;
/// What the old socket sends before it falls silent.
const PART: usize = 3_000_000;

/// What an old socket can still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// Send the rest of what it announced.
    Bytes,
    Close,
    Reset,
    HalfClose,
}

const LATE: [Late; 4] = [Late::Bytes, Late::Close, Late::Reset, Late::HalfClose];

/// When it does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// While the newcomer is in mid-body.
    During,
    /// After the newcomer's 201.
    After,
}

fn slot(name: &str) -> Slot {
    Slot::new(name, SIZE as u64)
}

/// A plain PUT that has sent `PART` bytes of `data`, all of them in the server's hands, and holds its socket open.
fn half_open(server: &Server, slot: &Slot, data: &[u8]) -> Conn {
    let mut old = server.connect();
    old.put(slot).unwrap();
    old.send(&data[..PART]).unwrap();
    // Without a credential, so that asking does not end the writer.
    eventually("the old writer's bytes are committed", || {
        offset_by_head(server, &slot.path) == Some(PART as u64)
    });
    old
}

fn offset_by_head(server: &Server, target: &str) -> Option<u64> {
    let answer = server.connect().probe(target).unwrap();
    match answer.status {
        204 => answer.offset(),
        404 => None,
        _ => panic!("{answer:?}"),
    }
}

/// The file is served as `data`, the ledger has this one upload, and its blob is the only one.
fn assert_stored(server: &Server, slot: &Slot, data: &[u8]) {
    let answer = server.connect().get(&slot.path).unwrap().expect(200);
    assert!(answer.body == data, "{} is not what was sent", slot.path);
    let row = store::rows(&server.store()).remove(&slot.path).unwrap();
    assert_eq!((row.phase.as_str(), row.offset), ("complete", data.len() as u64));
    let on_disk = std::fs::read(store::blob_path(&server.store(), &row.blob)).unwrap();
    assert!(on_disk == data, "the blob holds other bytes, or more");
}

/// Do it, and return once the server is done with the old connection.
fn act(mut old: Conn, late: Late, junk: &[u8]) {
    match late {
        Late::Bytes => {
            // The server may have closed by now; that is its right.
            let _ = old.send(&junk[..SIZE - PART]);
            let _ = old.half_close();
            let _ = old.read_to_close();
        }
        Late::HalfClose => {
            let _ = old.half_close();
            let _ = old.read_to_close();
        }
        Late::Close => drop(old),
        Late::Reset => old.reset(),
    }
}

fn supersede(server: &Server, name: &str, ranged: bool, late: Late, when: When) {
    let mut random = Random::new(7);
    let (data, junk) = (random.bytes(SIZE), random.bytes(SIZE));
    let slot = slot(name);
    // A restart replaces what the old socket sent; a continuation builds on it.
    let prefix = if ranged { &data } else { &junk };
    let mut old = Some(half_open(server, &slot, prefix));
    let mut new = server.connect();
    let first = if ranged { PART } else { 0 };
    if ranged {
        assert_eq!(offset_by_head(server, &slot.target), Some(PART as u64));
        new.put_range(&slot, PART as u64, SIZE as u64).unwrap();
    } else {
        new.put(&slot).unwrap();
    }
    let middle = 6_000_000;
    new.send(&data[first..middle]).unwrap();
    if when == When::During {
        eventually("the newcomer's bytes are committed", || {
            offset_by_head(server, &slot.path) == Some(middle as u64)
        });
        act(old.take().unwrap(), late, &junk);
    }
    new.send(&data[middle..]).unwrap();
    new.answer().unwrap().expect(201);
    assert_stored(server, &slot, &data);
    if let Some(old) = old {
        act(old, late, &junk);
    }
    assert_stored(server, &slot, &data);
}

fn supersede_in_every_way(ranged: bool) {
    let setup = Setup::new();
    let server = setup.start();
    let mut names = Vec::new();
    for late in LATE {
        for when in [When::During, When::After] {
            let name = format!("{late:?}/{when:?}");
            supersede(&server, &name, ranged, late, when);
            names.push(name);
        }
    }
    eventually("no second blob is left of any upload", || store::blobs(&server.store()).len() == names.len());
    // What is left of the old sockets ends with the process; a start finds the same files.
    let data = Random::new(7).bytes(SIZE);
    let server = server.kill().start();
    for name in names {
        assert_stored(&server, &slot(&name), &data);
    }
}

#[test]
fn a_restart_from_byte_0_is_out_of_reach_of_the_old_socket() {
    supersede_in_every_way(false);
}

#[test]
fn a_continuation_is_out_of_reach_of_the_old_socket() {
    supersede_in_every_way(true);
}

#[test]
fn the_old_socket_is_told_that_it_was_superseded_and_what_was_kept() {
    let server = Setup::new().start();
    let data = Random::new(1).bytes(SIZE);
    let slot = slot("told/file.bin");
    let mut old = half_open(&server, &slot, &data);
    let mut new = server.connect();
    new.put_range(&slot, PART as u64, SIZE as u64).unwrap();
    let told = old.answer().unwrap().expect(409);
    assert_eq!(told.offset(), Some(PART as u64));
    assert!(told.text().contains("superseded"), "{}", told.text());
    new.send(&data[PART..]).unwrap();
    new.answer().unwrap().expect(201);
    assert_stored(&server, &slot, &data);
}

#[test]
fn a_newcomer_at_a_wrong_offset_is_told_the_right_one_and_leaves_the_prefix() {
    let server = Setup::new().start();
    let data = Random::new(2).bytes(SIZE);
    let slot = slot("wrong/file.bin");
    let _old = half_open(&server, &slot, &data);
    let mut wrong = server.connect();
    wrong.put_range(&slot, PART as u64 + 1, PART as u64 + 11).unwrap();
    wrong.send(&[0; 10]).unwrap();
    let answer = wrong.answer().unwrap().expect(416);
    let right = format!("bytes */{PART}");
    assert_eq!((answer.offset(), answer.header("content-range")), (Some(PART as u64), Some(right.as_str())));
    let mut new = server.connect();
    new.put_range(&slot, PART as u64, SIZE as u64).unwrap();
    new.send(&data[PART..]).unwrap();
    new.answer().unwrap().expect(201);
    assert_stored(&server, &slot, &data);
}

#[test]
fn of_many_newcomers_at_once_the_file_is_one_and_whole() {
    let server = Setup::new().start();
    let data = Random::new(3).bytes(SIZE);
    let slot = slot("crowd/file.bin");
    let _old = half_open(&server, &slot, &data);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let comers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut new = server.connect();
                    new.put(&slot).unwrap();
                    new.send(&data).unwrap();
                    new.answer().unwrap().status
                })
            })
            .collect();
        comers.into_iter().map(|comer| comer.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_stored(&server, &slot, &data);
    eventually("one blob is left", || store::blobs(&server.store()).len() == 1);
}

#[test]
fn polling_does_not_end_a_writer_that_still_receives() {
    let server = Setup::new().key("LIMITS__SILENT_WRITER", "20s").start();
    let data = Random::new(4).bytes(SIZE);
    let slot = slot("polled/file.bin");
    let mut writer = server.connect();
    let mut poller = server.connect();
    writer.put(&slot).unwrap();
    for (piece, end) in data.chunks(500_000).zip((500_000..).step_by(500_000)) {
        writer.send(piece).unwrap();
        if end == SIZE {
            break;
        }
        // Each answer is a checkpoint: what the server has read by then is committed.
        eventually("HEAD tells every byte that was sent", || {
            let told = poller.probe(&slot.target).unwrap();
            assert!(matches!(told.status, 204 | 404), "{told:?}");
            told.offset().is_some_and(|offset| offset == end as u64)
        });
    }
    writer.answer().unwrap().expect(201);
    assert_stored(&server, &slot, &data);
}

#[test]
fn a_head_without_a_credential_leaves_even_a_silent_writer_alone() {
    let server = Setup::new().key("LIMITS__SILENT_WRITER", "1ms").start();
    let data = Random::new(5).bytes(SIZE);
    let slot = slot("silent/file.bin");
    let mut writer = half_open(&server, &slot, &data);
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(20));
        assert_eq!(offset_by_head(&server, &slot.path), Some(PART as u64));
    }
    writer.send(&data[PART..]).unwrap();
    writer.answer().unwrap().expect(201);
    assert_stored(&server, &slot, &data);
}

#[test]
fn a_head_with_the_credential_ends_a_silent_writer_and_keeps_what_it_sent() {
    // Checkpoints and polls by others are no sign of life of the writer's client.
    let server = Setup::new().key("STORE__CHECKPOINT_INTERVAL", "20ms").start();
    let data = Random::new(6).bytes(SIZE);
    let slot = slot("ended/file.bin");
    let mut writer = half_open(&server, &slot, &data);
    let fallen_silent = Instant::now();
    eventually("a HEAD ends the silent writer", || {
        thread::sleep(Duration::from_millis(20));
        assert_eq!(offset_by_head(&server, &slot.path), Some(PART as u64));
        assert_eq!(offset_by_head(&server, &slot.target), Some(PART as u64));
        !writer.is_quiet_for(Duration::from_millis(1))
    });
    println!("a writer that fell silent was ended by a HEAD after {:?}", fallen_silent.elapsed());
    let told = writer.answer().unwrap().expect(409);
    assert_eq!(told.offset(), Some(PART as u64));
    let _ = writer.send(&data[PART..]);
    let mut new = server.connect();
    new.put_range(&slot, PART as u64, SIZE as u64).unwrap();
    new.send(&data[PART..]).unwrap();
    new.answer().unwrap().expect(201);
    assert_stored(&server, &slot, &data);
}

/// How long a newcomer waits until its body is asked for, which is when the old writer has committed and let go.
#[test]
fn takeovers_are_measured() {
    const RUNS: usize = 50;
    const SENT: u64 = 1 << 20;
    const WHOLE: u64 = 2 << 20;
    let server = Setup::new().start();
    let data = Random::new(8).bytes(WHOLE as usize);
    let (prefix, rest) = data.split_at(SENT as usize);
    let (mut heads, mut ranged, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let slot = Slot::new(&format!("measured/{run}"), WHOLE);
        let mut old = server.connect();
        old.put(&slot).unwrap();
        old.send(prefix).unwrap();
        eventually("the old writer's bytes are committed", || {
            offset_by_head(&server, &slot.path) == Some(SENT)
        });
        let mut conn = server.connect();
        let began = Instant::now();
        assert_eq!(conn.probe(&slot.target).unwrap().expect(204).offset(), Some(SENT));
        heads.push(began.elapsed());
        let range = format!("bytes {SENT}-{}/{WHOLE}", WHOLE - 1);
        let length = (WHOLE - SENT).to_string();
        let (mut middle, waited) = continued(&server, &slot, &length, &[("Content-Range", &range)]);
        ranged.push(waited);
        middle.send(&rest[..rest.len() / 2]).unwrap();
        let (mut last, waited) = continued(&server, &slot, &WHOLE.to_string(), &[]);
        whole.push(waited);
        last.send(&data).unwrap();
        last.answer().unwrap().expect(201);
        assert_stored(&server, &slot, &data);
    }
    let report = |what: &str, mut times: Vec<Duration>| {
        times.sort();
        let [median, max] = [times[RUNS / 2], times[RUNS - 1]].map(|time| time.as_secs_f64() * 1000.0);
        println!("{what}: median {median:.2} ms, max {max:.2} ms over {RUNS} runs");
    };
    report("takeover, HEAD with the credential to its answer", heads);
    report("takeover by ranged PUT, request to 100 Continue", ranged);
    report("takeover by plain PUT, request to 100 Continue", whole);
}

/// A PUT that waits for `100 Continue`, and for how long it did.
fn continued(server: &Server, slot: &Slot, length: &str, more: &[(&str, &str)]) -> (Conn, Duration) {
    let mut conn = server.connect();
    let headers = [&[("Content-Length", length), ("Expect", "100-continue")], more].concat();
    let began = Instant::now();
    conn.head("PUT", &slot.target, &headers).unwrap();
    assert_eq!(conn.any_answer(false).unwrap().status, 100);
    (conn, began.elapsed())
}
