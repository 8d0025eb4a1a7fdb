//! Bodies that are cut by the server: it stops, its patience ends, or it refuses them before they are sent. What it
//! read is kept in every case, and the client learns why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program: it fails by panicking"
)]

mod common;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use common::{
    Random, eventually,
    http::{Answer, Conn},
    server::{Server, Setup},
    slots::Slot,
    store,
};

const SIZE: usize = 10_000_000;
const PART: usize = 3_000_000;

/// Nothing is committed while a body arrives, so that what is kept is the cut's doing.
fn without_checkpoints() -> Setup {
    Setup::new()
        .with_metrics()
        .key("STORE__CHECKPOINT_INTERVAL", "1h")
        .key("STORE__CHECKPOINT_BYTES", "1 GiB")
}

/// A plain PUT of which the server has read `PART` bytes and committed none.
fn in_mid_body(server: &Server, slot: &Slot, data: &[u8]) -> Conn {
    let mut conn = server.connect();
    conn.put(slot).unwrap();
    conn.send(&data[..PART]).unwrap();
    eventually("the server has read what was sent", || {
        server.metric("plimsoll_received_bytes_total") >= PART as f64
    });
    conn
}

/// The rest by ranged PUT, then the whole file by GET.
fn resume(server: &Server, slot: &Slot, data: &[u8]) {
    let mut conn = server.connect();
    let told = conn.probe(&slot.path).unwrap().expect(204);
    assert_eq!(told.offset(), Some(PART as u64));
    conn.put_range(slot, PART as u64, SIZE as u64).unwrap();
    conn.send(&data[PART..]).unwrap();
    conn.answer().unwrap().expect(201);
    assert!(conn.get(&slot.path).unwrap().expect(200).body == data);
}

#[test]
fn sigterm_in_mid_body_keeps_every_byte_that_was_read() {
    let server = without_checkpoints().key("SERVER__DRAIN_TIMEOUT", "200ms").start();
    let data = Random::new(1).bytes(SIZE);
    let slot = Slot::new("stop/file.bin", SIZE as u64);
    let mut conn = in_mid_body(&server, &slot, &data);
    server.terminate();
    let told = conn.answer().unwrap().expect(503);
    assert_eq!(told.offset(), Some(PART as u64));
    assert!(told.header("retry-after").is_some(), "{told:?}");
    let (status, setup) = server.ended();
    assert!(status.success(), "{status}");
    let row = store::rows_at_rest(&setup.store()).remove(&slot.path).unwrap();
    assert_eq!((row.phase.as_str(), row.offset), ("receiving", PART as u64));
    let blob = std::fs::read(store::blob_path(&setup.store(), &row.blob)).unwrap();
    assert!(blob[..PART] == data[..PART]);
    resume(&setup.start(), &slot, &data);
}

#[test]
fn an_upload_that_ends_within_the_drain_time_is_completed() {
    let server = without_checkpoints().key("SERVER__DRAIN_TIMEOUT", "25s").start();
    let data = Random::new(2).bytes(SIZE);
    let slot = Slot::new("drain/file.bin", SIZE as u64);
    let mut conn = in_mid_body(&server, &slot, &data);
    server.terminate();
    no_longer_listens(&server);
    conn.send(&data[PART..]).unwrap();
    conn.answer().unwrap().expect(201);
    let (status, setup) = server.ended();
    assert!(status.success(), "{status}");
    assert!(setup.start().connect().get(&slot.path).unwrap().expect(200).body == data);
}

#[test]
fn a_second_sigterm_ends_at_once_and_loses_no_committed_byte() {
    let mut server = Setup::new().key("SERVER__DRAIN_TIMEOUT", "1h").start();
    let data = Random::new(3).bytes(SIZE);
    let slot = Slot::new("twice/file.bin", SIZE as u64);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(&data[..PART]).unwrap();
    eventually("the bytes are committed", || {
        server.connect().probe(&slot.path).unwrap().offset() == Some(PART as u64)
    });
    server.terminate();
    no_longer_listens(&server);
    assert!(server.is_running(), "an upload in mid-body is waited for");
    server.terminate();
    let (status, setup) = server.ended();
    assert_eq!(status.code(), Some(1));
    resume(&setup.start(), &slot, &data);
}

/// The first signal has been taken: new connections are refused.
fn no_longer_listens(server: &Server) {
    eventually("the listener is closed", || Conn::open(server.address).is_err());
}

#[test]
fn a_stalled_body_is_cut_with_408_and_kept() {
    let server = without_checkpoints().key("LIMITS__BODY_GAP", "500ms").start();
    let data = Random::new(4).bytes(SIZE);
    let slot = Slot::new("stall/file.bin", SIZE as u64);
    let mut conn = in_mid_body(&server, &slot, &data);
    let told = conn.answer().unwrap().expect(408);
    assert_eq!(told.offset(), Some(PART as u64));
    resume(&server, &slot, &data);
}

#[test]
fn a_reset_in_mid_body_loses_no_byte_that_was_read() {
    let server = without_checkpoints().start();
    let data = Random::new(5).bytes(SIZE);
    let slot = Slot::new("reset/file.bin", SIZE as u64);
    in_mid_body(&server, &slot, &data).reset();
    eventually("the prefix is committed", || {
        let row = store::rows(&server.store()).remove(&slot.path);
        row.is_some_and(|row| row.offset == PART as u64)
    });
    resume(&server, &slot, &data);
}

/// The cancelled stream's handler is dropped in the middle of its work; what it had begun goes on without it.
#[test]
fn a_cancelled_http2_stream_loses_no_byte_that_was_read() {
    let server = without_checkpoints().start();
    let data = Random::new(7).bytes(SIZE);
    let slot = Slot::new("stream/file.bin", SIZE as u64);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    // The prefix, and then a silence that only the cancellation ends.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        data[..PART].chunks(10_000).map(|piece| Ok(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(stream::iter(pieces).chain(stream::pending()));
    let request = client
        .put(format!("http://{}{}", server.address, slot.target))
        .header("content-length", SIZE)
        .body(body)
        .send();
    let sending = runtime.spawn(request);
    eventually("the server has read what was sent", || {
        server.metric("plimsoll_received_bytes_total") >= PART as f64
    });
    sending.abort();
    eventually("the prefix is committed", || {
        let row = store::rows(&server.store()).remove(&slot.path);
        row.is_some_and(|row| row.offset == PART as u64)
    });
    resume(&server, &slot, &data);
}

#[test]
fn a_head_that_does_not_end_is_cut() {
    let server = Setup::new().key("SERVER__HEADER_TIMEOUT", "300ms").start();
    let mut conn = server.connect();
    conn.send(b"PUT /upload/slow/file.bin?v=0 HTTP/1.1\r\nHost: test\r\nContent-").unwrap();
    let answer = String::from_utf8(conn.read_to_close().unwrap()).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

const MEGABYTE: usize = 1_000_000;

/// Refusals that need no byte of the body, each as a slot to send it to: 403, 404, 409, 413.
fn refused(server: &Server) -> [(u16, Slot); 4] {
    let data = vec![7; 50 * MEGABYTE];
    let complete = Slot::new("early/complete.bin", data.len() as u64);
    let mut conn = server.connect();
    conn.put(&complete).unwrap();
    conn.send(&data).unwrap();
    conn.answer().unwrap().expect(201);
    let mut forged = Slot::new("early/forged.bin", data.len() as u64);
    forged.target = forged.target.replace("forged", "other");
    let large = Slot::new("early/large.bin", 51 * MEGABYTE as u64);
    let mut nowhere = large.clone();
    nowhere.target = "/nowhere/file.bin".into();
    [(403, forged), (404, nowhere), (409, complete), (413, large)]
}

fn picky() -> Server {
    Setup::new().with_metrics().key("STORE__MAX_SIZE", 50 * MEGABYTE).start()
}

#[test]
fn an_early_refusal_reaches_a_client_that_sends_everything_first() {
    let server = picky();
    for (status, slot) in refused(&server) {
        let mut conn = server.connect();
        conn.put(&slot).unwrap();
        let body = vec![8; usize::try_from(slot.size).unwrap()];
        conn.send(&body).unwrap_or_else(|e| panic!("{status}: the body could not be sent: {e}"));
        let answer = conn.answer().unwrap_or_else(|e| panic!("{status}: no answer: {e}")).expect(status);
        assert_problem(&answer);
    }
}

#[test]
fn an_early_refusal_asks_a_waiting_client_for_no_byte() {
    let server = picky();
    for (status, slot) in refused(&server) {
        let before = server.metric("plimsoll_received_bytes_total");
        let mut conn = server.connect();
        let length = slot.size.to_string();
        conn.head("PUT", &slot.target, &[("Content-Length", &length), ("Expect", "100-continue")]).unwrap();
        let first = conn.any_answer(false).unwrap().expect(status);
        assert_problem(&first);
        assert!(server.metric("plimsoll_received_bytes_total") <= before);
        // Nobody could tell the body that was not sent from a next request.
        if first.header("connection") != Some("close") {
            assert!(conn.is_quiet_for(Duration::from_millis(50)) || conn.read_to_close().unwrap().is_empty());
        }
    }
}

#[test]
fn a_waiting_client_is_told_to_go_on_when_its_upload_is_permitted() {
    let server = picky();
    let data = Random::new(6).bytes(MEGABYTE);
    let slot = Slot::new("early/good.bin", data.len() as u64);
    let mut conn = server.connect();
    let length = slot.size.to_string();
    conn.head("PUT", &slot.target, &[("Content-Length", &length), ("Expect", "100-continue")]).unwrap();
    assert_eq!(conn.any_answer(false).unwrap().status, 100);
    conn.send(&data).unwrap();
    conn.answer().unwrap().expect(201);
    assert!(conn.get(&slot.path).unwrap().expect(200).body == data);
}

fn assert_problem(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
}
