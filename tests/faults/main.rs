//! A disk that fails, and power that goes, under sixteen clients of every dialect.
//!
//! ```text
//!   faults   clients ──> a rule holds for a while ──> it goes ──> heals? ──> all over HTTP ──> power cut ──> look ──┐
//!     ^                                                                                                             │
//!     └─────────────── all over HTTP, incomplete uploads go on to their end <── start <─────────────────────────────┘
//!   cuts     clients ──> power cut ──> look at ledger and blobs ──> start ──> all over HTTP, go on to their end ──> ...
//! ```
//!
//! The store lies on a file system of our own (`mount.rs`) that keeps over a cut only what POSIX promises (`image.rs`)
//! and fails by rule (`rules.rs`). Whatever a client was ever told (an offset, 201, 204) has to be there, byte by byte.
//!
//! `PLIMSOLL_FAULT_ROUNDS` and `PLIMSOLL_CUT_ROUNDS` set the rounds, `PLIMSOLL_FAULT_SEED` repeats the choices of an
//! earlier run (the interleaving of threads is the machine's), `PLIMSOLL_BIN` names another build of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_arguments,
    clippy::print_stdout,
    reason = "a test program: it fails by panicking and reports on standard output"
)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod image;
mod inspect;
mod mount;
mod rules;
mod uploads;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use clients::Client;
use common::{
    Random, env_number, eventually,
    http::Conn,
    server::{Server, Setup},
    slots::Slot,
};
use mount::Disk;
use rules::{Class, Effect, Operation, Rule};
use uploads::{Figures, Run, Upload, add};

const CLIENTS: u64 = 16;
/// Rounds on one store before the next begins with an empty one.
const ROUNDS_A_STORE: u64 = 4;
const CAPACITY: u64 = 4 << 30;

/// What is wrong with the disk for a while.
#[derive(Clone, Debug)]
enum Fault {
    Rules(Vec<Rule>),
    /// Another program leaves so many bytes.
    Full(u64),
}

/// A store with its disk, and all that was ever told of it.
struct Site {
    disk: Disk,
    setup: Setup,
    uploads: Mutex<Vec<Arc<Upload>>>,
    random: Random,
}

impl Site {
    fn new(seed: u64) -> Self {
        let disk = Disk::new(seed, Some(CAPACITY));
        let setup = Setup::new()
            .on(disk.path())
            .key("STORE__CHECKPOINT_INTERVAL", "50ms")
            .key("STORE__CHECKPOINT_BYTES", "256 KiB")
            .key("TUS__CREATE", "open")
            .key("TUS__CREATIONS_PER_MINUTE", 10_000_000);
        Self { disk, setup, uploads: Mutex::default(), random: Random::new(seed) }
    }

    /// All that was told of so far.
    fn told(&self) -> Vec<Arc<Upload>> {
        self.uploads.lock().unwrap().clone()
    }

    fn run<'a>(&'a self, server: &Server, figures: &'a Figures) -> Run<'a> {
        Run {
            address: server.address,
            stops: AtomicBool::new(false),
            is_off: AtomicBool::new(false),
            uploads: &self.uploads,
            figures,
            complaints: Mutex::default(),
        }
    }
}

/// Let the clients work while `meanwhile` happens.
fn under_load(run: &Run<'_>, random: &mut Random, meanwhile: impl FnOnce()) {
    /// Ends the clients when a check in between fails, too.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let client = Client { run, random: Random::new(random.next()) };
            scope.spawn(move || client.work());
        }
        let _stop = Stop(&run.stops);
        meanwhile();
    });
}

fn pause(random: &mut Random, milliseconds: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(random.within(milliseconds)));
}

/// After the power went: the disk comes back with what survived, and everything is looked at.
fn come_back(site: &mut Site, server: Server, percent: u64, figures: &Figures, what: &str) -> Server {
    site.disk.power_off();
    let setup = server.kill();
    add(&figures.injected, site.disk.injected());
    let survival = site.disk.power_on(site.random.next(), percent);
    add(&figures.pieces_lost, survival.lost);
    add(&figures.pieces_kept, survival.kept);
    let uploads = site.told();
    let mut random = site.random.clone();
    let nobody = Run {
        address: ([127, 0, 0, 1], 0).into(),
        stops: AtomicBool::new(false),
        is_off: AtomicBool::new(false),
        uploads: &site.uploads,
        figures,
        complaints: Mutex::default(),
    };
    inspect::at_rest(&nobody, &setup.store(), &uploads);
    verdict(&nobody, &setup, what);
    let server = setup.start();
    let run = site.run(&server, figures);
    inspect::over_http(&run, &server, &uploads, &mut random);
    verdict(&run, &setup, what);
    server
}

fn verdict(run: &Run<'_>, setup: &Setup, what: &str) {
    let complaints = run.complaints.lock().unwrap();
    let first: Vec<&str> = complaints.iter().take(8).map(String::as_str).collect();
    assert!(
        complaints.is_empty(),
        "{what}: {} complaints:\n{}\n--- the server's log\n{}",
        complaints.len(),
        first.join("\n"),
        setup.log_tail()
    );
}

fn status(server: &Server, path: &str) -> u16 {
    server.connect().get(path).expect("the server answers").status
}

/// Whether a file can be put.
fn accepts(server: &Server, random: &mut Random) -> bool {
    let slot = Slot::new(&format!("{:016x}/probe.txt", random.next()), 5);
    let put =
        |conn: &mut Conn| conn.put(&slot).and_then(|()| conn.send(b"hello")).and_then(|()| conn.answer());
    put(&mut server.connect()).is_ok_and(|answer| answer.status == 201)
}

/// One fault of the list after the other, so that a few rounds already meet different ones; the rest is chance.
fn fault(round: u64, random: &mut Random) -> Fault {
    use Operation as O;
    let fail = |class, operation, number, percent| Rule {
        class: Some(class),
        operation: Some(operation),
        effect: Effect::Fail(number),
        percent,
    };
    let telling = [
        Fault::Rules(vec![fail(Class::Ledger, O::Sync, libc::EIO, 100)]),
        Fault::Full(0),
        Fault::Rules(vec![fail(Class::Blobs, O::Sync, libc::EIO, 30)]),
        Fault::Rules(vec![fail(Class::Ledger, O::Write, libc::ENOSPC, 40)]),
        Fault::Rules(vec![Rule { class: None, operation: None, effect: Effect::Short, percent: 40 }]),
        Fault::Full(1 << 20),
        Fault::Rules(vec![fail(Class::Ledger, O::Sync, libc::EIO, 25)]),
        Fault::Rules(vec![fail(Class::Blobs, O::Write, libc::ENOSPC, 30)]),
    ];
    if let Some(fault) = telling.get(round as usize) {
        return fault.clone();
    }
    if random.once_in(8) {
        return Fault::Full([0, 4096, 64 << 10, 1 << 20, 12 << 20][random.within(0..5) as usize]);
    }
    let count = if random.once_in(4) { 2 } else { 1 };
    Fault::Rules((0..count).map(|_| any_rule(random)).collect())
}

fn any_rule(random: &mut Random) -> Rule {
    use Operation as O;
    let operations = [
        O::Open,
        O::Create,
        O::Read,
        O::Write,
        O::Write,
        O::Sync,
        O::Sync,
        O::SyncFolder,
        O::Truncate,
        O::Remove,
        O::Rename,
        O::MakeFolder,
        O::Allocate,
        O::Statfs,
    ];
    let classes = [Some(Class::Blobs), Some(Class::Ledger), Some(Class::Other), None];
    let numbers = [libc::EIO, libc::ENOSPC, libc::EDQUOT];
    let mut one_of = |count: usize| random.within(0..count as u64) as usize;
    let class = classes[one_of(classes.len())];
    let operation = Some(operations[one_of(operations.len())]);
    let percent = [5, 30, 60, 100][one_of(4)];
    let number = numbers[one_of(numbers.len())];
    match one_of(6) {
        0 => Rule { class, operation: None, effect: Effect::Short, percent },
        1 => {
            let time = Duration::from_millis([1, 20, 100][one_of(3)]);
            Rule { class, operation, effect: Effect::Delay(time), percent: percent.min(30) }
        }
        _ => Rule { class, operation, effect: Effect::Fail(number), percent },
    }
}

impl Fault {
    /// While it holds no change of the ledger can be committed.
    fn stops_the_ledger(&self) -> bool {
        match self {
            Self::Full(_) => false,
            Self::Rules(rules) => rules.iter().any(|rule| {
                rule.class.is_none_or(|class| class == Class::Ledger)
                    && rule.operation == Some(Operation::Sync)
                    && rule.percent == 100
                    && matches!(rule.effect, Effect::Fail(_))
            }),
        }
    }
}

fn hold(site: &Site, server: &Server, run: &Run<'_>, fault: &Fault, random: &mut Random, figures: &Figures) {
    match fault {
        Fault::Rules(rules) => site.disk.hold(rules.clone()),
        Fault::Full(left) => site.disk.fill(*left),
    }
    pause(random, 300..1200);
    if fault.stops_the_ledger() {
        // [ENG-42] it says so for as long as it holds
        eventually("a ledger that takes no change is not ready", || status(server, "/readyz") == 503);
    }
    if status(server, "/readyz") != 200 {
        add(&figures.not_ready, 1);
    }
    if status(server, "/healthz") != 200 {
        run.complain("/healthz is not 200: the process lives".to_owned());
    }
    site.disk.release();
}

fn seed() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a fresh seed for every run; it is printed and can be set")]
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    env_number("PLIMSOLL_FAULT_SEED", clock % 1_000_000_007)
}

// [ENG-1] [ENG-2] [ENG-40] [ENG-42]
#[test]
fn nothing_acknowledged_is_lost_while_the_disk_fails_and_the_server_heals() {
    let (rounds, seed) = (env_number("PLIMSOLL_FAULT_ROUNDS", 8), seed());
    let first = env_number("PLIMSOLL_FAULT_FIRST", 0);
    println!("faults: {rounds} rounds, PLIMSOLL_FAULT_SEED={seed}");
    let (began, figures, mut random) = (Instant::now(), Figures::default(), Random::new(seed));
    let (mut site, mut server, mut uploads) = (None::<Site>, None::<Server>, 0);
    for round in first..first + rounds {
        if round % ROUNDS_A_STORE == 0 {
            uploads += site.as_ref().map_or(0, |site| site.told().len());
            drop(server.take());
            site = None;
        }
        let site = site.get_or_insert_with(|| Site::new(random.next()));
        let running = server.take().unwrap_or_else(|| site.setup.start());
        let fault = fault(round, &mut random);
        let what = format!("PLIMSOLL_FAULT_SEED={seed}, round {round}, {fault:?}");
        {
            let run = site.run(&running, &figures);
            let mut chance = random.clone();
            under_load(&run, &mut random, || {
                run.wait_for_answers(chance.within(5..40));
                hold(site, &running, &run, &fault, &mut chance, &figures);
                // It heals by itself, under load.
                eventually("ready when the fault is gone", || status(&running, "/readyz") == 200);
                eventually("a file is taken when the fault is gone", || accepts(&running, &mut chance));
                pause(&mut chance, 50..200);
            });
            verdict(&run, &site.setup, &what);
            let run = site.run(&running, &figures);
            inspect::over_http(&run, &running, &site.told(), &mut random);
            verdict(&run, &site.setup, &what);
        }
        // What was acknowledged although its sync had failed is lost now.
        server = Some(come_back(site, running, 0, &figures, &what));
    }
    uploads += site.as_ref().map_or(0, |site| site.told().len());
    drop(server);
    figures.print("faults", rounds, uploads as u64, began.elapsed().as_secs_f64());
}

// [ENG-1] [ENG-2]
#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let (rounds, seed) = (env_number("PLIMSOLL_CUT_ROUNDS", 8), seed());
    println!("cuts: {rounds} rounds, PLIMSOLL_FAULT_SEED={seed}");
    let (began, figures, mut random) = (Instant::now(), Figures::default(), Random::new(seed));
    let (mut site, mut server, mut uploads) = (None::<Site>, None::<Server>, 0);
    for round in 0..rounds {
        if round % ROUNDS_A_STORE == 0 {
            uploads += site.as_ref().map_or(0, |site| site.told().len());
            drop(server.take());
            site = None;
        }
        let site = site.get_or_insert_with(|| Site::new(random.next()));
        let running = server.take().unwrap_or_else(|| site.setup.start());
        let percent = [0, 50, 0, 20, 100, 80][(round % 6) as usize];
        let what = format!("PLIMSOLL_FAULT_SEED={seed}, cut {round}, {percent} % survive");
        {
            let run = site.run(&running, &figures);
            let mut chance = random.clone();
            under_load(&run, &mut random, || {
                run.wait_for_answers(chance.within(5..120));
                pause(&mut chance, 0..200);
                run.is_off.store(true, Ordering::SeqCst);
                site.disk.power_off();
                pause(&mut chance, 0..50);
                running.kill_now();
            });
            verdict(&run, &site.setup, &what);
        }
        server = Some(come_back(site, running, percent, &figures, &what));
    }
    uploads += site.as_ref().map_or(0, |site| site.told().len());
    drop(server);
    figures.print("cuts", rounds, uploads as u64, began.elapsed().as_secs_f64());
}
