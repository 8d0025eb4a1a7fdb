//! The model test: random commands, cuts, takeovers, faults and crashes against the real engine, over a machine
//! whose disk forgets what was not synced. What clients sent is the only truth; see `model/house.rs` for what is
//! demanded after each step.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect, and its files are small"
)]

#[path = "model/concat.rs"]
mod concat;
#[path = "model/directed.rs"]
mod directed;
#[path = "model/house.rs"]
mod house;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/sim/mod.rs"]
mod sim;

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use house::{BodyPick, Command, House, LengthPick, Request, Send, StartPick, Step, Tally};
use proptest::{collection::vec, option, prelude::*, test_runner::TestRunner};
use sim::{
    Delays, FaultPoint,
    client::{Fin, Promise},
};

/// Cases of one run, both properties together; `PLIMSOLL_MODEL_CASES` asks for more or fewer.
const CASES: u32 = 16_000;

fn send() -> impl Strategy<Value = Send> {
    let fin = prop_oneof![
        8 => Just(None),
        8 => Just(Some(Fin::End)),
        3 => Just(Some(Fin::Break)),
        1 => Just(Some(Fin::Malformed)),
    ];
    (vec(0u8..14, 0..4), any::<bool>(), fin).prop_map(|(sizes, rest, fin)| Send { sizes, rest, fin })
}

fn open(nodes: usize) -> impl Strategy<Value = Command> {
    let start = prop_oneof![
        4 => Just(StartPick::Whole),
        5 => Just(StartPick::Right),
        1 => (0u8..45).prop_map(StartPick::At),
    ];
    let body = prop_oneof![
        5 => Just(BodyPick::Rest),
        2 => Just(BodyPick::Chunked),
        2 => (0u8..45).prop_map(BodyPick::Of),
    ];
    let length = prop_oneof![
        6 => Just(LengthPick::Right),
        2 => Just(LengthPick::Unknown),
        1 => (0u8..70).prop_map(LengthPick::Of),
    ];
    let promise = prop_oneof![
        12 => Just(Promise::None),
        2 => Just(Promise::Head),
        1 => Just(Promise::WrongHead),
        2 => Just(Promise::Trailer),
        1 => Just(Promise::WrongTrailer),
        1 => Just(Promise::NoTrailer),
    ];
    (0usize..2, 0..nodes, start, body, length, prop::bool::weighted(0.95), promise, send()).prop_map(
        |(name, node, start, body, length, may_create, promise, send)| {
            Command::Open(Request { name, node, start, body, length, may_create, promise, send })
        },
    )
}

fn pass() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => 1u64..40,
        3 => 200u64..400,
        2 => 900u64..1_300,
        1 => 4_900u64..5_300,
    ]
    .prop_map(Duration::from_millis)
}

fn delays() -> impl Strategy<Value = Delays> {
    let write = prop_oneof![5 => Just(0u64), 2 => Just(2), 1 => Just(30)];
    let sync = prop_oneof![3 => Just(0u64), 3 => Just(5), 2 => Just(80), 1 => Just(350), 1 => Just(2_500)];
    let ledger = prop_oneof![4 => Just(0u64), 3 => Just(2), 1 => Just(40)];
    (write, sync, ledger).prop_map(|(write, sync, ledger)| Delays {
        write: Duration::from_millis(write),
        sync: Duration::from_millis(sync),
        ledger: Duration::from_millis(ledger),
    })
}

fn fault() -> impl Strategy<Value = Command> {
    let point = prop_oneof![
        Just(FaultPoint::Create),
        Just(FaultPoint::Resume),
        Just(FaultPoint::WriteFull),
        Just(FaultPoint::WriteBroken),
        Just(FaultPoint::Sync),
        Just(FaultPoint::Sync),
        Just(FaultPoint::Delete),
        Just(FaultPoint::LedgerRead),
        Just(FaultPoint::LedgerBefore),
        Just(FaultPoint::LedgerAfter),
        Just(FaultPoint::LedgerAfter),
        Just(FaultPoint::LedgerDown),
        Just(FaultPoint::LedgerLimbo),
    ];
    (point, 0u32..5).prop_map(|(point, after)| Command::Plant { point, after })
}

fn command(nodes: usize) -> impl Strategy<Value = Command> {
    let name = 0usize..2;
    let node = 0..nodes;
    prop_oneof![
        14 => open(nodes),
        1 => (name.clone(), node.clone(), any::<bool>())
            .prop_map(|(name, node, is_length_known)| Command::Create { name, node, is_length_known }),
        10 => (0usize..3, send()).prop_map(|(back, send)| Command::Push { back, send }),
        5 => (name.clone(), node.clone(), any::<bool>())
            .prop_map(|(name, node, may_end)| Command::Head { name, node, may_end }),
        3 => (name.clone(), node.clone(), 0u8..45, 0u8..45)
            .prop_map(|(name, node, from, to)| Command::Get { name, node, from, to }),
        1 => (name, node, any::<bool>())
            .prop_map(|(name, node, complete_too)| Command::Delete { name, node, complete_too }),
        6 => pass().prop_map(Command::Pass),
        1 => (1u64..120).prop_map(|hours| Command::Skip(Duration::from_hours(hours))),
        2 => Just(Command::Sweep),
        2 => Just(Command::SweepOrphans),
        3 => fault(),
        2 => delays().prop_map(Command::Slow),
        1 => any::<bool>().prop_map(Command::Lazy),
        1 => option::of(0u64..60).prop_map(Command::Room),
        3 => any::<u64>().prop_map(Command::Crash),
        1 => Just(Command::Stop),
    ]
}

fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    vec((command(nodes), prop::bool::weighted(0.3)), 1..24)
}

/// Ends the program when a case stands still: a loop that never waits lets no time pass, so no timeout ends it.
struct Watch(Arc<Mutex<Option<Case>>>);

/// When a case began, and what it is.
type Case = (Instant, Vec<Step>);

impl Watch {
    const PATIENCE: Duration = Duration::from_secs(60);

    fn new() -> Self {
        let case: Arc<Mutex<Option<Case>>> = Arc::default();
        let watched = Arc::downgrade(&case);
        std::thread::spawn(move || {
            while let Some(case) = watched.upgrade() {
                if let Some((since, steps)) = &*case.lock().unwrap()
                    && since.elapsed() > Self::PATIENCE
                {
                    eprintln!("the engine spins in this case: {steps:?}");
                    std::process::abort();
                }
                drop(case);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Self(case)
    }

    fn begin(&self, steps: &[Step]) {
        *self.0.lock().unwrap() = Some((Instant::now(), steps.to_vec()));
    }
}

/// Run the cases, and demand that every answer of `answers` was given in some of them.
fn check(nodes: usize, cases: u32, answers: &[&str]) {
    let asked = std::env::var("PLIMSOLL_MODEL_CASES").ok().and_then(|n| n.parse().ok());
    let cases = asked.map_or(cases, |all: u32| (u64::from(all) * u64::from(cases) / u64::from(CASES)) as u32);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let total = RefCell::new(Tally::new());
    let watch = Watch::new();
    let outcome = TestRunner::new(config).run(&steps(nodes), |steps| {
        watch.begin(&steps);
        let tally = House::new(nodes).play(&steps).map_err(TestCaseError::fail)?;
        for (answer, times) in tally {
            *total.borrow_mut().entry(answer).or_default() += times;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let total = total.into_inner();
    println!("{cases} cases on {nodes} node(s): {total:?}");
    let never: Vec<_> = answers.iter().filter(|answer| !total.contains_key(**answer)).collect();
    assert!(never.is_empty(), "no case came to {never:?}");
}

#[test]
fn no_sequence_of_requests_faults_and_crashes_breaks_an_invariant() {
    let answers = [
        "complete-now",
        "partial",
        "unknown",
        "gone",
        "complete",
        "offset-mismatch",
        "length-mismatch",
        "too-large",
        "too-short",
        "overrun",
        "storage-full",
        "superseded",
        "busy",
        "stalled",
        "broken",
        "stopping",
        "checksum-mismatch",
        "checksum-missing",
        "fault",
    ];
    check(1, 10_000, &answers);
}

#[test]
fn two_nodes_that_know_nothing_of_each_other_are_kept_apart_by_the_fence() {
    check(2, 6_000, &["complete-now", "partial", "superseded", "broken", "offset-mismatch"]);
}
