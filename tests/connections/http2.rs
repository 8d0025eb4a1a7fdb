//! The same over HTTP/2, where one connection carries many requests and windows stop the flow.

use std::io::Write as _;

use bytes::Bytes;
use h2::Reason;

use crate::{
    client::{connect, request},
    closed,
    common::{
        self,
        server::{LONG, Setup},
        slots::Slot,
    },
    socket, unhurried, until_closed, uploaded,
};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0plimsoll";

/// [ENG-124]
#[test]
fn a_preface_without_a_request_is_closed() {
    let server = unhurried().key("SERVER__HEADER_TIMEOUT", "1s").start();
    let (mut preface, mut settings) = (socket(&server), socket(&server));
    preface.write_all(&PREFACE_AND_SETTINGS[..24]).unwrap();
    settings.write_all(PREFACE_AND_SETTINGS).unwrap();
    until_closed(preface);
    until_closed(settings);
    common::eventually("both are counted", || closed(&server, "idle") == 2.0);
}

/// [ENG-124] PING alone keeps no connection.
#[test]
fn a_client_that_only_pings_is_closed() {
    let server = unhurried().key("SERVER__HEADER_TIMEOUT", "2s").start();
    let mut socket = socket(&server);
    socket.write_all(PREFACE_AND_SETTINGS).unwrap();
    let deadline = std::time::Instant::now() + LONG;
    while socket.write_all(PING).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the server does not close");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    common::eventually("it is counted", || closed(&server, "idle") == 1.0);
}

/// [ENG-123] A window of zero is no pending write at the socket; the stream ends, and its connection goes on.
#[tokio::test]
async fn a_stream_that_takes_nothing_is_reset_and_the_others_go_on() {
    let server = unhurried().key("SERVER__WRITE_STALL_TIMEOUT", "1s").start();
    let slot = uploaded(&server, "film.mkv", 4 << 20);
    let mut requests = connect(&server, 1000, LOOPBACK).await;
    let get = request(&server, "GET", &slot.path).body(()).unwrap();
    let (answer, _) = requests.send_request(get, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    // Taken and never given back: the window is used up.
    let mut error = None;
    while let Some(data) = tokio::time::timeout(LONG, body.data()).await.expect("the stream ends") {
        if let Err(found) = data {
            error = found.reason();
            break;
        }
    }
    assert_eq!(error, Some(Reason::CANCEL));
    assert_eq!(closed(&server, "stream-stall"), 1.0);
    let head = request(&server, "HEAD", &slot.path).body(()).unwrap();
    let (answer, _) = requests.ready().await.unwrap().send_request(head, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// A file as long as the window is sent with its end, which needs no window.
#[tokio::test]
async fn an_answer_as_long_as_the_window_ends() {
    let server = unhurried().start();
    let slot = uploaded(&server, "photo.jpg", 1000);
    let mut requests = connect(&server, 1000, LOOPBACK).await;
    let get = request(&server, "GET", &slot.path).body(()).unwrap();
    let mut body = requests.send_request(get, true).unwrap().0.await.unwrap().into_body();
    let mut size = 0;
    while let Some(data) = tokio::time::timeout(LONG, body.data()).await.expect("the end comes") {
        size += data.unwrap().len();
    }
    assert_eq!(size, 1000);
}

/// [ENG-129]
#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_when_its_body_is_wanted() {
    let server = unhurried().start();
    let slot = Slot::new("photo.jpg", 5000);
    let mut requests = connect(&server, 65_535, LOOPBACK).await;
    let put = |target: &str| {
        let put = request(&server, "PUT", target).header("expect", "100-continue");
        put.header("content-length", 5000).body(()).unwrap()
    };
    let (mut answer, mut body) = requests.send_request(put(&slot.target), false).unwrap();
    let told = std::future::poll_fn(|cx| answer.poll_informational(cx));
    let told = tokio::time::timeout(LONG, told).await.expect("100 Continue").unwrap().unwrap();
    assert_eq!(told.status(), 100);
    body.send_data(Bytes::from(vec![1; 5000]), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201);

    let (mut answer, _body) = requests.ready().await.unwrap().send_request(put(&slot.path), false).unwrap();
    let told = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    assert!(told.is_none(), "a refusal is told at once: {told:?}");
    assert!(answer.await.unwrap().status().is_client_error());
}

/// [XEP-100] The same bound and the same answer as on HTTP/1.
#[tokio::test]
async fn a_large_head_is_answered_431_with_a_document() {
    let server = unhurried().start();
    let mut requests = connect(&server, 65_535, LOOPBACK).await;
    let with = |size: usize| {
        let get = request(&server, "GET", "/upload/nothing");
        get.header("x-large", "x".repeat(size)).body(()).unwrap()
    };
    let (answer, _) = requests.send_request(with(100_000), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 431);
    assert!(answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let (answer, _) = requests.ready().await.unwrap().send_request(with(30_000), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 404);
}

/// [ENG-125] A running upload ends, and the client is told to open no further stream.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_goaway_and_lets_a_running_upload_end() {
    let server = unhurried().key("SERVER__DRAIN_TIMEOUT", "10m").start();
    let slot = Slot::new("late.bin", 2000);
    let mut requests = connect(&server, 65_535, LOOPBACK).await;
    let idle = connect(&server, 65_535, LOOPBACK).await;
    let put = request(&server, "PUT", &slot.target).header("content-length", 2000).body(()).unwrap();
    let (answer, mut body) = requests.send_request(put, false).unwrap();
    body.send_data(Bytes::from(vec![1; 1000]), false).unwrap();
    common::eventually("the first half has been read", || {
        server.metric("plimsoll_received_bytes_total") >= 1000.0
    });
    server.terminate();
    assert!(tokio::time::timeout(LONG, idle.ready()).await.is_ok());
    body.send_data(Bytes::from(vec![1; 1000]), true).unwrap();
    assert_eq!(tokio::time::timeout(LONG, answer).await.unwrap().unwrap().status(), 201);
    drop((requests, body));
    let ended = tokio::task::spawn_blocking(move || server.ended().0.success());
    assert!(ended.await.unwrap());
}

/// [ENG-127] Bodies that the server does not read fill their windows and nothing else.
#[tokio::test]
async fn many_streams_upload_through_growing_windows() {
    let server = Setup::new().with_metrics().key("STORE__BUFFER_MEMORY", "2 MiB").start();
    let mut requests = connect(&server, 65_535, LOOPBACK).await;
    let mut running = Vec::new();
    for at in 0..4 {
        let slot = Slot::new(&format!("file-{at}.bin"), 8 << 20);
        let put = request(&server, "PUT", &slot.target).header("content-length", slot.size).body(()).unwrap();
        requests = requests.ready().await.unwrap();
        let (answer, mut body) = requests.send_request(put, false).unwrap();
        running.push(tokio::spawn(async move {
            let mut left = 8_usize << 20;
            while left > 0 {
                body.reserve_capacity(left.min(1 << 16));
                let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                let size = room.min(left);
                left -= size;
                body.send_data(Bytes::from(vec![3; size]), left == 0).unwrap();
            }
            answer.await.unwrap().status()
        }));
    }
    for upload in running {
        assert_eq!(tokio::time::timeout(LONG * 2, upload).await.unwrap().unwrap(), 201);
    }
}
