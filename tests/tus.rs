//! tus against the built server, where a black box is not enough: the server is killed in the middle, configured
//! otherwise, or asked ten thousand times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program: it fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{
    Random, eventually,
    http::{Answer, Conn},
    server::{Server, Setup},
    slots::{SECRET, Slot},
};
use hmac::{Hmac, KeyInit as _, Mac as _};

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const BYTES: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

fn open_setup() -> Setup {
    Setup::new().key("TUS__CREATE", "open").key("TUS__CREATIONS_PER_MINUTE", "0")
}

/// One request with its whole body, and its answer.
fn ask(conn: &mut Conn, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let mut all = vec![TUS, ("Content-Length", length.as_str())];
    all.extend_from_slice(headers);
    conn.head(method, target, &all).unwrap();
    conn.send(body).unwrap();
    if method == "HEAD" { conn.any_answer(true).unwrap() } else { conn.answer().unwrap() }
}

fn create(conn: &mut Conn, headers: &[(&str, &str)], body: &[u8]) -> String {
    let answer = ask(conn, "POST", "/files", headers, body).expect(201);
    answer.header("location").expect("a Location").to_owned()
}

fn offset(conn: &mut Conn, target: &str) -> Option<u64> {
    ask(conn, "HEAD", target, &[], b"").expect(200).offset()
}

fn patch(conn: &mut Conn, target: &str, at: usize, body: &[u8]) -> Answer {
    ask(conn, "PATCH", target, &[BYTES, ("Upload-Offset", &at.to_string())], body)
}

fn download(server: &Server, path: &str) -> Vec<u8> {
    server.connect().get(path).unwrap().expect(200).body
}

/// A grant as an application would mint it.
fn grant(subject: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as CODE};
    let head = CODE.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = format!(
        r#"{{"sub":"{subject}","scope":"upload","iat":1700000000,"exp":32503680000,"max_size":1000}}"#
    );
    let signed = format!("{head}.{}", CODE.encode(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("Bearer {signed}.{}", CODE.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_half_open_patch_is_taken_over_with_every_byte_that_was_read() {
    let server = open_setup().start();
    let data = Random::new(1).bytes(10_000_000);
    let mut took = Vec::new();
    for _ in 0..20 {
        let mut first = server.connect();
        let url = create(&mut first, &[("Upload-Length", "10000000")], b"");
        let mut stuck = server.connect();
        let headers = [TUS, BYTES, ("Upload-Offset", "0"), ("Content-Length", "10000000")];
        stuck.head("PATCH", &url, &headers).unwrap();
        stuck.send(&data[..3_000_000]).unwrap();
        // The bytes are on their way: the server has read them once it says so.
        eventually("3 MB arrive", || offset(&mut first, &url) == Some(3_000_000));
        let began = Instant::now();
        let mut second = server.connect();
        assert_eq!(offset(&mut second, &url), Some(3_000_000));
        patch(&mut second, &url, 3_000_000, &data[3_000_000..]).expect(204);
        took.push(began.elapsed());
        stuck.send(&data[3_000_000..3_100_000]).ok();
        assert_eq!(download(&server, &url), data);
    }
    took.sort();
    println!(
        "half-open PATCH: HEAD and 7 MB PATCH of the newcomer: median {:?}, most {:?}",
        took[10], took[19]
    );
}

#[test]
fn ten_thousand_patches_leave_one_file_whole() {
    const STEPS: usize = 10_000;
    const STEP: usize = 4096;
    let server = open_setup().start();
    let data = Random::new(2).bytes(STEPS * STEP);
    let mut conn = server.connect();
    let url = create(&mut conn, &[("Upload-Length", &data.len().to_string())], b"");
    let mut marks = vec![Instant::now()];
    for (i, piece) in data.chunks(STEP).enumerate() {
        let answer = patch(&mut conn, &url, i * STEP, piece).expect(204);
        assert_eq!(answer.offset(), Some(((i + 1) * STEP) as u64));
        if (i + 1) % 1000 == 0 {
            marks.push(Instant::now());
        }
    }
    let step = |from: usize| (marks[from + 1] - marks[from]) / 1000;
    println!("10,000 PATCHes of 4 KiB: {:?} each in the first thousand, {:?} in the last", step(0), step(9));
    assert_eq!(download(&server, &url), data);
}

#[test]
fn a_thousand_parts_become_one_file_in_their_order() {
    const PARTS: usize = 1000;
    let server = open_setup().start();
    let data = Random::new(3).bytes(PARTS * 1000);
    let mut conn = server.connect();
    let mut urls = Vec::new();
    let mut marks = vec![Instant::now()];
    for (i, piece) in data.chunks(1000).enumerate() {
        let headers = [BYTES, ("Upload-Concat", "partial"), ("Upload-Length", "1000")];
        urls.push(create(&mut conn, &headers, piece));
        if (i + 1) % 100 == 0 {
            marks.push(Instant::now());
        }
    }
    let concat = format!("final;{}", urls.join(" "));
    let began = Instant::now();
    let url = create(&mut conn, &[("Upload-Concat", &concat)], b"");
    let took = began.elapsed();
    let step = |from: usize| (marks[from + 1] - marks[from]) / 100;
    println!(
        "1,000 partials: {:?} each in the first hundred, {:?} in the last; concatenated in {took:?}",
        step(0),
        step(9)
    );
    let state = ask(&mut conn, "HEAD", &url, &[], b"").expect(200);
    assert_eq!(state.offset(), Some(data.len() as u64));
    assert_eq!(state.header("upload-concat"), Some(concat.as_str()));
    assert_eq!(download(&server, &url), data);
}

#[test]
fn a_concatenation_that_waits_survives_the_server() {
    let server = open_setup().start();
    let mut conn = server.connect();
    let whole = create(&mut conn, &[BYTES, ("Upload-Concat", "partial"), ("Upload-Length", "5")], b"hello");
    let late = create(&mut conn, &[("Upload-Concat", "partial"), ("Upload-Length", "6")], b"");
    let concat = format!("final;{whole} {late} {whole}");
    let url = create(&mut conn, &[("Upload-Concat", &concat)], b"");
    let waiting = ask(&mut conn, "HEAD", &url, &[], b"").expect(200);
    assert_eq!((waiting.offset(), waiting.header("upload-length")), (None, Some("16")));
    let server = server.kill().start();
    let mut conn = server.connect();
    assert_eq!(ask(&mut conn, "HEAD", &url, &[], b"").expect(200).offset(), None);
    conn.get(&url).unwrap().expect(404);
    patch(&mut conn, &late, 0, b" world").expect(204);
    eventually("the concatenation is done", || offset(&mut conn, &url) == Some(16));
    assert_eq!(download(&server, &url), b"hello worldhello");
}

#[test]
fn an_acknowledged_patch_survives_the_server() {
    let server = open_setup().start();
    let data = Random::new(4).bytes(1_000_000);
    let mut conn = server.connect();
    let url = create(&mut conn, &[("Upload-Length", "1000000"), ("Upload-Metadata", "k dg==,empty")], b"");
    patch(&mut conn, &url, 0, &data[..400_000]).expect(204);
    let server = server.kill().start();
    let mut conn = server.connect();
    let state = ask(&mut conn, "HEAD", &url, &[], b"").expect(200);
    assert_eq!((state.offset(), state.header("upload-metadata")), (Some(400_000), Some("k dg==,empty")));
    patch(&mut conn, &url, 400_000, &data[400_000..]).expect(204);
    assert_eq!(download(&server, &url), data);
}

#[test]
fn a_cut_plain_put_is_finished_by_a_stock_tus_client_at_the_slots_url() {
    let server = Setup::new().start();
    let data = Random::new(5).bytes(500_000);
    let slot = Slot::new("a/b.bin", data.len() as u64);
    let mut conn = server.connect();
    conn.put(&slot).unwrap();
    conn.send(&data[..200_000]).unwrap();
    conn.half_close().unwrap();
    let mut conn = server.connect();
    eventually("the prefix is kept", || {
        let state = ask(&mut conn, "HEAD", &slot.target, &[], b"");
        state.status == 200
            && state.offset() == Some(200_000)
            && state.header("upload-length") == Some("500000")
    });
    patch(&mut conn, &slot.target, 200_000, &data[200_000..]).expect(204);
    assert_eq!(download(&server, &slot.path), data);
    // Deleting what is complete is not for whoever holds a slot.
    ask(&mut conn, "DELETE", &slot.target, &[], b"").expect(403);
    assert_eq!(download(&server, &slot.path), data);
}

#[test]
fn open_creation_is_limited_by_address() {
    let server = Setup::new().key("TUS__CREATE", "open").key("TUS__CREATIONS_PER_MINUTE", "2").start();
    let mut conn = server.connect();
    for _ in 0..2 {
        create(&mut conn, &[("Upload-Length", "5")], b"");
    }
    let answer = ask(&mut conn, "POST", "/files", &[("Upload-Length", "5")], b"").expect(429);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    // A grant is not counted against the address.
    create(&mut conn, &[("Upload-Length", "5"), ("Authorization", &grant("romeo"))], b"");
}

#[test]
fn a_batch_of_small_files_waits_for_its_turn_and_loses_none() {
    // [TUS-127] ten more than may come at once, and a turn each half second
    let server = Setup::new().key("TUS__CREATE", "open").key("TUS__CREATIONS_PER_MINUTE", "120").start();
    let batch = |_| {
        let mut conn = server.connect();
        for _ in 0..13 {
            create(&mut conn, &[("Upload-Length", "0")], b"");
        }
    };
    std::thread::scope(|scope| (0..10).map(|n| scope.spawn(move || batch(n))).for_each(drop));
}

#[test]
fn an_override_of_another_method_than_post_is_refused() {
    // [TUS-126]
    let server = open_setup().start();
    let mut conn = server.connect();
    let upload = create(&mut conn, &[("Upload-Length", "5")], b"");
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        ask(&mut server.connect(), method, &upload, &[("X-HTTP-Method-Override", "HEAD")], b"").expect(400);
    }
    ask(&mut conn, "DELETE", &upload, &[("X-HTTP-Method-Override", "DELETE")], b"").expect(204);
}

#[test]
fn with_access_by_grant_every_verb_asks_for_the_owners() {
    let server = Setup::new().key("TUS__ACCESS", "grant").start();
    let mut conn = server.connect();
    let (romeo, tybalt) = (grant("romeo"), grant("tybalt"));
    ask(&mut conn, "POST", "/files", &[("Upload-Length", "5")], b"").expect(401);
    ask(&mut conn, "POST", "/files", &[("Upload-Length", "1001"), ("Authorization", &romeo)], b"")
        .expect(403);
    let url = create(&mut conn, &[("Upload-Length", "5"), ("Authorization", &romeo)], b"");
    let put = [BYTES, ("Upload-Offset", "0")];
    for (token, status) in [(None, 401), (Some(&tybalt), 403)] {
        let with = |headers: &[(&'static str, &'static str)]| {
            let mut all: Vec<(&str, &str)> = headers.to_vec();
            all.extend(token.map(|token| ("Authorization", token.as_str())));
            all
        };
        ask(&mut conn, "HEAD", &url, &with(&[]), b"").expect(status);
        ask(&mut conn, "PATCH", &url, &with(&put), b"hello").expect(status);
        ask(&mut conn, "PUT", &url, &with(&[]), b"hello").expect(status);
        ask(&mut conn, "PUT", &url, &with(&[("Content-Range", "bytes 0-4/5")]), b"hello").expect(status);
        ask(&mut conn, "DELETE", &url, &with(&[]), b"").expect(status);
    }
    let owner = ("Authorization", romeo.as_str());
    ask(&mut conn, "PATCH", &url, &[BYTES, ("Upload-Offset", "0"), owner], b"hello").expect(204);
    ask(&mut conn, "GET", &url, &[], b"").expect(401);
    ask(&mut conn, "GET", &url, &[("Authorization", &tybalt)], b"").expect(403);
    assert_eq!(ask(&mut conn, "GET", &url, &[owner], b"").expect(200).body, b"hello");
    ask(&mut conn, "DELETE", &url, &[owner], b"").expect(204);
    ask(&mut conn, "GET", &url, &[owner], b"").expect(410);
}

#[test]
// [TUS-62]
fn an_upload_that_expired_is_remembered_as_gone() {
    let server = open_setup()
        .key("LIMITS__INCOMPLETE_EXPIRES", "2s")
        .key("LIMITS__BODY_GAP", "1s")
        .key("LIMITS__SWEEP_INTERVAL", "100ms")
        .start();
    let mut conn = server.connect();
    let url = create(&mut conn, &[BYTES, ("Upload-Length", "10")], b"hello");
    eventually("it expires", || ask(&mut conn, "HEAD", &url, &[], b"").status == 410);
    patch(&mut conn, &url, 5, b"world").expect(410);
    std::thread::sleep(Duration::from_millis(50));
    assert!(common::store::blobs(&server.store()).is_empty(), "its bytes are freed");
}
