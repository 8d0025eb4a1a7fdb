//! Connections that ask for nothing, take nothing or are too many: what ends them, and that the others go on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test program: it fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod client;
mod http2;

use std::{io::Read as _, net::TcpStream};

use common::{
    Random,
    http::Conn,
    server::{LONG, Server, Setup},
    slots::Slot,
};

/// The limit under test, and one that no test reaches.
const SHORT: &str = "1s";
const NEVER: &str = "10m";

fn unhurried() -> Setup {
    Setup::new()
        .with_metrics()
        .key("SERVER__HEADER_TIMEOUT", NEVER)
        .key("SERVER__KEEP_ALIVE_TIMEOUT", NEVER)
        .key("SERVER__WRITE_STALL_TIMEOUT", NEVER)
}

/// A complete upload that is read back by its path.
pub(crate) fn uploaded(server: &Server, name: &str, size: usize) -> Slot {
    let slot = Slot::new(name, size as u64);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(&Random::new(7).bytes(size)).unwrap();
    conn.answer().unwrap().expect(201);
    slot
}

pub(crate) fn socket(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

/// What comes until the server closes; panics when it does not.
pub(crate) fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close: {error}"),
    }
    bytes
}

pub(crate) fn closed(server: &Server, reason: &str) -> f64 {
    let page = server.metrics_page();
    let name = format!("plimsoll_connections_closed_total{{reason=\"{reason}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn a_kept_connection_without_a_further_request_is_closed() {
    let server = unhurried().key("SERVER__KEEP_ALIVE_TIMEOUT", SHORT).start();
    let mut conn = server.connect();
    conn.get("/healthz").unwrap().expect(200);
    assert_eq!(conn.read_to_close().unwrap(), b"");
    assert_eq!(closed(&server, "idle"), 1.0);
}

#[test]
fn a_client_that_says_nothing_or_half_a_preface_is_closed() {
    use std::io::Write as _;
    let server = unhurried().key("SERVER__HEADER_TIMEOUT", SHORT).start();
    let silent = socket(&server);
    let mut half = socket(&server);
    half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    assert_eq!(until_closed(silent), b"");
    let told = String::from_utf8(until_closed(half)).unwrap();
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
}

#[test]
fn a_reader_that_stops_loses_its_connection() {
    let server = unhurried().key("SERVER__WRITE_STALL_TIMEOUT", SHORT).start();
    let slot = uploaded(&server, "film.mkv", 32 << 20);
    let mut conn = server.connect();
    conn.head("GET", &slot.path, &[]).unwrap();
    common::eventually("the stalled reader is closed", || closed(&server, "write-stall") == 1.0);
    drop(conn);
}

/// [ENG-121]
#[test]
fn one_address_has_a_bounded_number_of_connections() {
    let server = Setup::new()
        .with_metrics()
        .key("SERVER__MAX_CONNECTIONS_PER_ADDRESS", "3")
        .key("ABUSE__ALLOW", "")
        .start();
    let mut held: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
    for conn in &mut held {
        conn.get("/healthz").unwrap().expect(200);
    }
    assert_eq!(until_closed(socket(&server)), b"", "the fourth is closed");
    drop(held);
    common::eventually("closed connections no longer count", || {
        let Ok(mut conn) = Conn::open(server.address) else { return false };
        conn.get("/healthz").is_ok_and(|answer| answer.status == 200)
    });
    let refused = server.metric("plimsoll_connections_refused_total{reason=\"address\"}");
    assert!(refused >= 1.0, "{refused}");
}

/// [ENG-125] The drain time is longer than the test waits.
#[test]
fn sigterm_closes_idle_connections_at_once() {
    let server = unhurried().key("SERVER__DRAIN_TIMEOUT", NEVER).start();
    let mut kept = server.connect();
    kept.get("/healthz").unwrap().expect(200);
    let silent = socket(&server);
    server.terminate();
    let (status, _) = server.ended();
    assert!(status.success());
    assert_eq!(kept.read_to_close().unwrap(), b"");
    assert_eq!(until_closed(silent), b"");
}

#[test]
fn sigterm_lets_a_running_upload_end() {
    let server = unhurried().key("SERVER__DRAIN_TIMEOUT", NEVER).start();
    let slot = Slot::new("late.bin", 2000);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(&[1; 1000]).unwrap();
    common::eventually("the first half has been read", || {
        server.metric("plimsoll_received_bytes_total") >= 1000.0
    });
    server.terminate();
    common::eventually("no further connections", || TcpStream::connect(server.address).is_err());
    conn.send(&[1; 1000]).unwrap();
    conn.answer().unwrap().expect(201);
    assert!(server.ended().0.success());
}

/// [ENG-126]
#[test]
fn without_http2_its_preface_is_answered_505() {
    use std::io::Write as _;
    let server = Setup::new().key("SERVER__HTTP2", "false").start();
    let mut socket = socket(&server);
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let told = String::from_utf8(until_closed(socket)).unwrap();
    assert!(told.starts_with("HTTP/1.1 505 "), "{told}");
    assert!(told.contains("access-control-allow-origin"), "{told}");
}

/// [ENG-120] With 128 descriptors 300 silent connections leave room for one that asks, once their time is over.
#[test]
fn connections_are_bounded_by_the_limit_of_open_files() {
    let server = Setup::new()
        .with_metrics()
        .key("SERVER__HEADER_TIMEOUT", "2s")
        .key("SERVER__MAX_CONNECTIONS_PER_ADDRESS", "0")
        .with_open_files(128)
        .start();
    let held: Vec<TcpStream> = (0..300).map(|_| socket(&server)).collect();
    let mut conn = server.connect();
    conn.read_timeout(LONG * 2);
    conn.get("/healthz").unwrap().expect(200);
    assert!(server.metric("plimsoll_connections") <= 32.0, "two descriptors each, of 64");
    assert_eq!(server.metrics_page().matches("reason=\"error\"").count(), 0, "accept never failed");
    drop(held);
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let server = Setup::new().with_metrics().with_soft_open_files(64).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert!(numbers.len() == 2 && numbers[0] == numbers[1], "{line}");
    assert!(numbers[0] != "64", "{line}");
}

#[test]
fn a_client_that_leaves_is_counted_out() {
    let server = unhurried().start();
    drop(server.connect());
    common::eventually("it is counted", || closed(&server, "client") >= 1.0);
    common::eventually("none is open", || server.metric("plimsoll_connections") == 0.0);
}
