//! What a client with kilobytes and patience can do, all of it at once, against a server with default settings and
//! 1,024 descriptors: an innocent client at another address goes on.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;

use crate::{
    client::{request, try_connect},
    common::{
        self, Random, env_number,
        http::Conn,
        server::{Server, Setup},
        slots::Slot,
    },
    uploaded,
};

const ATTACKER: [u8; 4] = [127, 0, 0, 2];
/// What each kind of attack holds open, or tries to.
const CONNECTIONS: usize = 100;
const STREAMS: usize = 64;
/// Far above what is used (below 150 MiB), and far below what such an attack held before it was bounded (2.6 GiB).
const MOST_MEMORY_KIB: u64 = 700 * 1024;

fn attacker(address: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ATTACKER, 0)).into()).ok()?;
    socket.connect_timeout(&address.into(), Duration::from_millis(200)).ok()?;
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    Some(socket.into())
}

/// Keep `CONNECTIONS` open that each begin with `first` and send `more` now and then; replace those that are closed.
fn hold(address: SocketAddr, over: Arc<AtomicBool>, first: Vec<u8>, more: &'static [u8]) {
    let mut held: Vec<TcpStream> = Vec::new();
    while !over.load(Relaxed) {
        held.retain_mut(|socket| {
            let lives = socket.write_all(more).is_ok();
            // A stalled reader reads nothing; the others notice the end.
            lives && (more.is_empty() || !matches!(socket.read(&mut [0; 512]), Ok(0)))
        });
        if held.len() < CONNECTIONS
            && let Some(mut socket) = attacker(address)
            && socket.write_all(&first).is_ok()
        {
            held.push(socket);
            continue;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Connections of HTTP/2 whose windows take one byte of each answer.
async fn stall_streams(
    server: &Server,
    path: &str,
) -> Vec<(SendRequest<Bytes>, Vec<h2::client::ResponseFuture>)> {
    let mut held = Vec::new();
    for _ in 0..20 {
        let connecting = tokio::time::timeout(Duration::from_secs(2), try_connect(server, 1, ATTACKER));
        let Ok(Some(mut requests)) = connecting.await else { continue };
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            let get = request(server, "GET", path).body(()).unwrap();
            let Ok(Ok(ready)) = tokio::time::timeout(Duration::from_secs(2), requests.clone().ready()).await
            else {
                break;
            };
            requests = ready;
            answers.extend(requests.send_request(get, true).map(|(answer, _)| answer));
        }
        held.push((requests, answers));
    }
    held
}

fn status_kib(server: &Server, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One upload and HEADs on a connection of its own; how long each HEAD took.
fn innocent(address: SocketAddr, round: usize, data: &[u8], took: &mut Vec<Duration>) {
    let slot = Slot::new(&format!("innocent-{round}.jpg"), data.len() as u64);
    let mut conn = Conn::open(address).expect("the innocent client is let in");
    conn.put(&slot).unwrap();
    conn.send(data).unwrap();
    conn.answer().unwrap().expect(201);
    for _ in 0..5 {
        let began = Instant::now();
        conn.probe(&slot.path).unwrap().expect(200);
        took.push(began.elapsed());
    }
}

#[test]
fn an_innocent_client_goes_on_while_another_address_attacks() {
    let seconds = env_number("PLIMSOLL_ATTACK_SECONDS", 10);
    // Loopback is allowed everything by default; here it stands for the world.
    let server = Setup::new().with_metrics().key("ABUSE__ALLOW", "").with_open_files(1024).start();
    let film = uploaded(&server, "film.mkv", 16 << 20);
    let over = Arc::<AtomicBool>::default();
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}", "x".repeat(60_000));
    let metadata = ["a YQ=="; 20_000].join(",");
    let create = format!(
        "POST /files HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1\r\nUpload-Metadata: {metadata}\r\n\r\n"
    );
    let kinds: [(Vec<u8>, &'static [u8]); 6] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), b""),
        (b"PRI * HT".to_vec(), b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec(), b"x"),
        (format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", film.path).into_bytes(), b""),
        (large.into_bytes(), b"x"),
        (create.into_bytes(), b"x"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stalled = runtime.block_on(stall_streams(&server, &film.path));

    let attacks: Vec<_> = kinds
        .into_iter()
        .map(|(first, more)| {
            let (address, over) = (server.address, Arc::clone(&over));
            thread::spawn(move || hold(address, over, first, more))
        })
        .collect();
    let (data, mut took) = (Random::new(1).bytes(100_000), Vec::new());
    let (began, mut uploads) = (Instant::now(), 0);
    let (mut memory, mut files) = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) || uploads < 20 {
        innocent(server.address, uploads, &data, &mut took);
        uploads += 1;
        memory = memory.max(status_kib(&server, "VmRSS:"));
        files = files.max(fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count());
    }
    over.store(true, Relaxed);
    for attack in attacks {
        attack.join().unwrap();
    }
    took.sort_unstable();
    #[allow(clippy::print_stderr, reason = "the figures of the run, for whoever runs it by hand")]
    let () = eprintln!(
        "{uploads} uploads; HEAD p50 {:?}, p99 {:?}; at most {} MiB, {files} descriptors; {} streams were stalled",
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        memory / 1024,
        stalled.iter().map(|(_, answers)| answers.len()).sum::<usize>(),
    );
    assert!(memory < MOST_MEMORY_KIB, "{memory} KiB");
    assert!(files < 1000, "{files}");
    drop(stalled);
    common::eventually("the attack leaves nothing behind", || server.metric("plimsoll_connections") < 400.0);
}
