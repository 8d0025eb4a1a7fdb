//! `kill -9` at random moments under concurrent uploads, again and again on one store; then every upload is resumed
//! until it is complete.
//!
//! ```text
//!   start ──> 16 senders (plain PUT, ranged PUT in chunks, restarts) + 16 HEAD pollers ──> kill -9 ──> look ──┐
//!     ^                                                                                                       │
//!     └── every offset asked for over HTTP, every finished file downloaded <── start <── (killed in starting) ┘
//! ```
//!
//! Looked at after each kill, before the server can mend anything: what the ledger's rows and the blobs on disk say,
//! against what each client sent and was told. SIGKILL leaves the page cache alone, so this is about the order of
//! steps in the server; what a power cut does to unsynced bytes is the model test's part.
//!
//! `PLIMSOLL_CRASH_ROUNDS` (25) sets the rounds and `PLIMSOLL_CRASH_SEED` repeats the choices of an earlier run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test program: it fails by panicking and reports on standard output"
)]

#[path = "../common/mod.rs"]
mod common;
mod inspect;
mod senders;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use common::{
    Random, env_number, eventually,
    server::{Server, Setup},
    store,
};
use senders::{Lane, Round};

const LANES: u64 = 16;

/// What happened, for the line at the end.
#[derive(Debug, Default)]
struct Figures {
    kills: AtomicU64,
    kills_in_mid_body: AtomicU64,
    kills_in_starting: AtomicU64,
    resumes: AtomicU64,
    restarts: AtomicU64,
    chunks: AtomicU64,
    polls: AtomicU64,
    superseded: AtomicU64,
    sent: AtomicU64,
    offsets_checked: AtomicU64,
    bytes_compared: AtomicU64,
    downloads: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A file whose 201 a client has seen.
#[derive(Clone, Debug)]
struct Finished {
    path: String,
    size: u64,
    digest: String,
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_random_moments() {
    let rounds = env_number("PLIMSOLL_CRASH_ROUNDS", 25);
    #[allow(clippy::disallowed_methods, reason = "a fresh seed for every run; it is printed and can be set")]
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env_number("PLIMSOLL_CRASH_SEED", clock % 1_000_000_007);
    println!("crash: {rounds} rounds, PLIMSOLL_CRASH_SEED={seed}");
    let began = Instant::now();
    let mut random = Random::new(seed);
    let mut setup =
        Setup::new().key("STORE__CHECKPOINT_INTERVAL", "20ms").key("STORE__CHECKPOINT_BYTES", "256 KiB");
    let figures = Figures::default();
    let finished = Mutex::new(Vec::new());
    let mut lanes: Vec<Lane> = (0..LANES).map(|number| Lane::new(number, random.next())).collect();

    for round in 0..rounds {
        let durability = if round % 2 == 0 { "full" } else { "relaxed" };
        setup = setup.key("STORE__DURABILITY", durability);
        let server = recover(&setup, &mut lanes, &finished, &mut random, &figures);
        let mean = Duration::from_millis(random.within(5..500));
        run(&server, &mut lanes, &finished, &figures, Some(mean));
        setup = server.kill();
        inspect::at_rest(&setup.store(), &lanes, &finished.lock().unwrap(), &figures);
    }

    // The last run is not disturbed; then one more kill, when everything has been acknowledged.
    let server = recover(&setup, &mut lanes, &finished, &mut random, &figures);
    run(&server, &mut lanes, &finished, &figures, None);
    setup = server.kill();
    let finished = finished.into_inner().unwrap();
    assert!(lanes.iter().all(Lane::is_complete));
    inspect::at_rest(&setup.store(), &lanes, &finished, &figures);
    // The scan that follows a start takes nothing younger than a day for an orphan.
    store::age_blobs(&setup.store(), Duration::from_secs(48 * 3600));
    let server = setup.start();
    for file in &finished {
        inspect::download(&server, file, &figures);
    }
    nothing_else_is_stored(&server, &finished);

    let total: u64 = finished.iter().map(|file| file.size).sum();
    let figure = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "crash: {rounds} rounds in {:.1} s: {} kills while serving, {} while starting; {} uploads cut in mid-body, {} \
         resumed by ranged PUT, {} restarted from byte 0, {} ended by a HEAD; {} files of {} bytes complete, all \
         byte-identical; {} bytes sent in {} requests, {} HEAD polls, {} offsets checked, {} bytes on disk compared, \
         {} downloads compared; nothing lost",
        began.elapsed().as_secs_f64(),
        figure(&figures.kills),
        figure(&figures.kills_in_starting),
        figure(&figures.kills_in_mid_body),
        figure(&figures.resumes),
        figure(&figures.restarts),
        figure(&figures.superseded),
        finished.len(),
        total,
        figure(&figures.sent),
        figure(&figures.chunks),
        figure(&figures.polls),
        figure(&figures.offsets_checked),
        figure(&figures.bytes_compared),
        figure(&figures.downloads),
    );
    assert!(
        rounds == 0 || figure(&figures.kills_in_mid_body) > 0,
        "no kill hit an upload: this run proved nothing"
    );
}

/// Start on what the last kill left, now and then killing the start too, and compare what the server tells.
fn recover(
    setup: &Setup,
    lanes: &mut [Lane],
    finished: &Mutex<Vec<Finished>>,
    random: &mut Random,
    figures: &Figures,
) -> Server {
    while random.once_in(6) {
        let starting = setup.spawn();
        thread::sleep(Duration::from_millis(random.within(0..60)));
        starting.kill();
        add(&figures.kills_in_starting, 1);
        inspect::at_rest(&setup.store(), lanes, &finished.lock().unwrap(), figures);
    }
    let rows = store::rows_at_rest(&setup.store());
    let server = setup.start();
    inspect::over_http(&server, &rows, lanes, finished, random, figures);
    server
}

/// Let all lanes send. With `limit`, kill the server after it; without, until every lane's upload is complete.
fn run(
    server: &Server,
    lanes: &mut [Lane],
    finished: &Mutex<Vec<Finished>>,
    figures: &Figures,
    limit: Option<Duration>,
) {
    let round = Round {
        address: server.address,
        dying: AtomicBool::new(false),
        done: AtomicBool::new(false),
        in_mid_body: AtomicU64::new(0),
        begins_new_ones: limit.is_some(),
        finished,
        figures,
    };
    thread::scope(|scope| {
        let round = &round;
        let mut senders = Vec::new();
        for lane in lanes {
            let (current, poller) = (lane.current(), lane.poller());
            scope.spawn(move || senders::poll(round, &current, poller));
            senders.push(scope.spawn(move || lane.send(round)));
        }
        match limit {
            Some(limit) => {
                thread::sleep(limit);
                round.dying.store(true, Ordering::SeqCst);
                add(&figures.kills_in_mid_body, round.in_mid_body.load(Ordering::SeqCst));
                add(&figures.kills, 1);
                server.kill_now();
            }
            None => {
                for sender in senders {
                    sender.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
                }
            }
        }
        round.done.store(true, Ordering::SeqCst);
    });
}

/// [ENG-9] What crashes left behind goes with the scan that follows a start.
fn nothing_else_is_stored(server: &Server, finished: &[Finished]) {
    let rows = store::rows(&server.store());
    assert_eq!(rows.len(), finished.len());
    let mut owned: Vec<String> = rows.into_values().map(|row| row.blob).collect();
    owned.sort();
    eventually("only the blobs of finished files are stored", || store::blobs(&server.store()) == owned);
}
