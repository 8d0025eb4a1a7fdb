//! Sequences that once broke an invariant, and what random cases are too small or too short for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use plimsoll::{
    clock::{ManualClock, Timestamp},
    engine::{
        Broken, Engine, Error, Order, Outcome, Parts, Piece, Refusal, Settings, Source, Start, Write,
        digest::{Algorithm, Check, Claim, Running},
    },
    leases::{Leases, local::LocalLeases},
    telemetry::Metrics,
    upload::{About, Kind, Name, Offset, Phase},
};
use tokio::time::{Instant, sleep};

use crate::{
    house::{BodyPick, Command, House, LengthPick, Request, Send, StartPick, Step},
    sim::{
        DOWN_FOR, Delays, FaultPoint, Style, World,
        blobs::SimBlobs,
        client::{Fin, Promise},
        ledger::MemoryLedger,
    },
};

fn send(sizes: &[u8], rest: bool, fin: Option<Fin>) -> Send {
    Send { sizes: sizes.to_vec(), rest, fin }
}

/// A request for name 0, whose files have 24 bytes.
fn open(node: usize, start: StartPick, body: BodyPick, send: Send) -> Step {
    then(Command::Open(request(node, start, body, LengthPick::Right, send)))
}

fn request(node: usize, start: StartPick, body: BodyPick, length: LengthPick, send: Send) -> Request {
    Request { name: 0, node, start, body, length, may_create: true, promise: Promise::None, send }
}

fn head(may_end: bool) -> Step {
    (Command::Head { name: 0, node: 0, may_end }, false)
}

fn then(command: Command) -> Step {
    (command, false)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sync_takes(ms: u64) -> Step {
    then(Command::Slow(Delays { sync: Duration::from_millis(ms), ..Delays::default() }))
}

/// Play the steps, and say how often each answer was given.
fn play(nodes: usize, steps: &[Step]) -> crate::house::Tally {
    House::new(nodes).play(steps).unwrap_or_else(|text| panic!("{text}"))
}

// [ENG-11]
#[test]
fn a_reset_after_the_last_byte_completes_the_upload() {
    for body in [BodyPick::Rest, BodyPick::Chunked] {
        let tally = play(1, &[open(0, StartPick::Whole, body, send(&[10], true, Some(Fin::Break)))]);
        assert_eq!(tally.get("complete-now"), Some(&1));
    }
}

// [ENG-11]
#[test]
fn a_writer_that_is_superseded_after_its_last_byte_has_completed_the_upload() {
    let tally = play(
        1,
        &[
            open(0, StartPick::Whole, BodyPick::Chunked, send(&[], true, None)),
            then(Command::Pass(ms(1_100))),
            open(0, StartPick::Whole, BodyPick::Rest, send(&[], true, Some(Fin::End))),
        ],
    );
    assert_eq!((tally.get("complete-now"), tally.get("complete")), (Some(&1), Some(&1)));
}

// [ENG-11]
#[test]
fn a_plain_put_that_goes_on_behind_its_announced_length_completes_nothing() {
    let tally = play(
        1,
        &[
            open(0, StartPick::Whole, BodyPick::Chunked, send(&[], true, None)),
            then(Command::Pass(ms(1_100))),
            head(false),
            then(Command::Push { back: 0, send: send(&[1], false, Some(Fin::End)) }),
            open(0, StartPick::Whole, BodyPick::Rest, send(&[], true, Some(Fin::End))),
        ],
    );
    assert_eq!((tally.get("overrun"), tally.get("complete-now")), (Some(&1), Some(&1)));
}

// [ENG-18]
#[test]
fn a_blob_whose_commit_is_in_doubt_is_kept() {
    for after in 0..2 {
        for back in [StartPick::Whole, StartPick::Right] {
            play(
                1,
                &[
                    open(0, StartPick::Whole, BodyPick::Rest, send(&[3], false, Some(Fin::Break))),
                    then(Command::Plant { point: FaultPoint::LedgerAfter, after }),
                    then(Command::Plant { point: FaultPoint::LedgerBefore, after: after + 1 }),
                    open(0, back, BodyPick::Rest, send(&[5], true, Some(Fin::End))),
                    then(Command::SweepOrphans),
                ],
            );
        }
    }
    let whole = open(0, StartPick::Whole, BodyPick::Rest, send(&[], true, Some(Fin::End)));
    let tally = play(1, &[then(Command::Plant { point: FaultPoint::LedgerAfter, after: 0 }), whole]);
    assert_eq!(tally.get("fault"), Some(&1));
}

// [ENG-18] [ENG-40]
#[test]
fn a_failed_commit_that_a_crash_brings_back_names_bytes_that_are_there() {
    for after in 0..3 {
        for back in [StartPick::Whole, StartPick::Right] {
            let tally = play(
                1,
                &[
                    open(0, StartPick::Whole, BodyPick::Rest, send(&[3], false, Some(Fin::Break))),
                    then(Command::Plant { point: FaultPoint::LedgerLimbo, after }),
                    open(0, back, BodyPick::Rest, send(&[5], true, Some(Fin::End))),
                    then(Command::Crash(after.into())),
                    head(false),
                    open(0, StartPick::Right, BodyPick::Rest, send(&[], true, Some(Fin::End))),
                ],
            );
            assert_eq!(tally.contains_key("fault"), after < 2, "{after} {tally:?}");
        }
    }
}

// [ENG-40]
#[test]
fn while_the_ledger_takes_no_change_nothing_is_acknowledged_and_later_all_goes_on() {
    let whole = || open(0, StartPick::Whole, BodyPick::Rest, send(&[], true, Some(Fin::End)));
    let mut steps = vec![then(Command::Plant { point: FaultPoint::LedgerDown, after: 0 })];
    steps.extend((0..8).map(|_| whole()));
    let tally = play(1, &steps);
    assert_eq!(tally.get("fault"), Some(&(1 + u64::from(DOWN_FOR))));
    assert_eq!(tally.get("complete-now"), Some(&1), "{tally:?}");
}

// [ENG-1] [ENG-21]
#[test]
fn nothing_is_committed_after_a_failed_sync() {
    for fin in [Some(Fin::End), Some(Fin::Break), None] {
        let tally = play(
            1,
            &[
                sync_takes(50),
                then(Command::Plant { point: FaultPoint::Sync, after: 0 }),
                // Ten bytes begin a checkpoint; the body ends while its sync still runs.
                open(0, StartPick::Whole, BodyPick::Rest, send(&[10], false, None)),
                then(Command::Push { back: 0, send: send(&[], true, fin) }),
                then(Command::Pass(ms(400))),
                then(Command::Crash(3)),
                head(false),
                open(0, StartPick::Whole, BodyPick::Rest, send(&[], true, Some(Fin::End))),
            ],
        );
        assert_eq!(tally.get("fault"), Some(&1), "{fin:?}");
        assert_eq!(tally.get("complete-now"), Some(&1), "{fin:?}");
    }
}

// [ENG-3]
#[test]
fn polls_that_may_not_end_a_writer_do_not_make_it_look_alive() {
    let mut steps = vec![open(0, StartPick::Whole, BodyPick::Rest, send(&[4], false, None))];
    for _ in 0..3 {
        steps.extend([then(Command::Pass(ms(100))), head(false)]);
    }
    // The house demands that this one ends it.
    steps.push(head(true));
    assert_eq!(play(1, &steps).get("superseded"), Some(&1));
}

// [ENG-3]
#[test]
fn polls_leave_a_writer_alone_that_receives_a_byte_now_and_then() {
    let mut steps = vec![open(0, StartPick::Whole, BodyPick::Rest, send(&[4], false, None))];
    for _ in 0..8 {
        let byte = Command::Push { back: 0, send: send(&[1], false, None) };
        steps.extend([then(Command::Pass(ms(200))), head(true), then(byte)]);
    }
    steps.push(then(Command::Push { back: 0, send: send(&[], true, Some(Fin::End)) }));
    let tally = play(1, &steps);
    assert_eq!((tally.get("complete-now"), tally.get("superseded")), (Some(&1), None));
}

// [ENG-23]
#[test]
fn a_write_that_can_never_be_right_leaves_the_writer_before_it_alone() {
    let wrong = |body, length| {
        let send = send(&[5], false, Some(Fin::End));
        then(Command::Open(request(0, StartPick::Whole, body, length, send)))
    };
    let tally = play(
        1,
        &[
            open(0, StartPick::Whole, BodyPick::Rest, send(&[12], false, None)),
            wrong(BodyPick::Of(30), LengthPick::Of(30)),
            wrong(BodyPick::Of(65), LengthPick::Of(65)),
            wrong(BodyPick::Of(5), LengthPick::Right),
            then(Command::Push { back: 3, send: send(&[], true, Some(Fin::End)) }),
        ],
    );
    assert_eq!((tally.get("complete-now"), tally.get("superseded")), (Some(&1), None), "{tally:?}");
}

// [ENG-24]
#[tokio::test(start_paused = true)]
async fn a_length_that_is_named_late_binds_those_who_come_after() {
    let bench = Bench::new();
    let append = |at: usize, length: Option<u64>| Write {
        start: Start::At(Offset((at * MIB) as u64)),
        body: None,
        length,
        may_create: true,
    };
    let length = || bench.world.state().rows[&name()].length;
    assert!(!bench.write(append(0, None), pieces(1).boxed()).await.unwrap().is_complete);
    assert_eq!(length(), None);
    let four = Some(4 * MIB as u64);
    assert!(!bench.write(append(1, four), pieces(1).boxed()).await.unwrap().is_complete);
    assert_eq!(length(), four);
    let other = bench.write(append(2, Some(5 * MIB as u64)), pieces(3).boxed()).await;
    assert!(matches!(other, Err(Error::Refused(Refusal::LengthMismatch { .. }))), "{other:?}");
    assert!(bench.write(append(2, None), pieces(2).boxed()).await.unwrap().is_complete);
}

// [ENG-12]
#[test]
fn a_commit_of_another_node_between_look_and_fence_is_not_taken_back() {
    // The older writer's checkpoint comes due while the newcomer's fence is on its way.
    for delay in 0..60 {
        play(
            2,
            &[
                open(0, StartPick::Whole, BodyPick::Rest, send(&[10], false, None)),
                then(Command::Push { back: 0, send: send(&[4], false, None) }),
                then(Command::Pass(ms(970))),
                then(Command::Slow(Delays { ledger: ms(delay), ..Delays::default() })),
                open(1, StartPick::At(10), BodyPick::Rest, send(&[2], false, Some(Fin::Break))),
                then(Command::Pass(ms(300))),
            ],
        );
    }
}

#[test]
fn a_failed_first_write_replaces_nothing() {
    let tally = play(
        1,
        &[
            open(0, StartPick::Whole, BodyPick::Rest, send(&[5], false, Some(Fin::Break))),
            then(Command::Lazy(true)),
            then(Command::Plant { point: FaultPoint::WriteFull, after: 0 }),
            open(0, StartPick::Whole, BodyPick::Rest, send(&[7], true, Some(Fin::End))),
            then(Command::Lazy(false)),
            open(0, StartPick::Right, BodyPick::Rest, send(&[], true, Some(Fin::End))),
        ],
    );
    assert_eq!((tally.get("storage-full"), tally.get("complete-now")), (Some(&1), Some(&1)));
}

const MIB: usize = 1024 * 1024;

/// An engine over a machine that nobody watches, for bodies of megabytes.
struct Bench {
    world: Arc<World>,
    engine: Engine,
    clock: Arc<ManualClock>,
    leases: Arc<LocalLeases>,
}

impl Bench {
    fn new() -> Self {
        let world = World::new(Style::Files);
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let leases = Arc::new(LocalLeases::new());
        let parts = Parts {
            ledger: Arc::new(MemoryLedger(Arc::clone(&world))),
            blobs: Arc::new(SimBlobs(Arc::clone(&world))),
            leases: Arc::clone(&leases) as _,
            clock: Arc::clone(&clock) as _,
            metrics: Metrics::new(),
        };
        let settings = Settings {
            max_size: 1 << 30,
            checkpoint_bytes: 3 * MIB as u64,
            checkpoint_interval: Duration::from_secs(1),
            body_gap: Duration::from_secs(5),
            fence_timeout: Duration::from_secs(2),
            silent_writer: ms(250),
            incomplete_expires: Duration::from_hours(72),
            least_rate: 10,
            max_parts: 1_000,
            partial_expires: Duration::from_hours(72),
            retention: None,
            own_names: Some("/files".into()),
            forget_after: Duration::from_hours(24),
        };
        Self { world, engine: Engine::new(parts, settings), clock, leases }
    }

    async fn write(&self, write: Write, source: Source) -> Result<Outcome, Error> {
        self.write_about(write, About::default(), source).await
    }

    async fn write_about(&self, write: Write, about: About, source: Source) -> Result<Outcome, Error> {
        self.engine.write(order(write, about), source).await
    }

    /// What the ledger says now.
    fn offset(&self) -> Option<u64> {
        self.world.state().rows.get(&name()).map(|row| row.offset.0)
    }
}

fn order(write: Write, about: About) -> Order {
    Order { name: name(), write, about, kind: Kind::Single, check: Check::None, dialect: "model" }
}

fn name() -> Name {
    Name("/upload/large".into())
}

fn whole(length: Option<u64>) -> Write {
    Write { start: Start::Whole, body: length, length, may_create: true }
}

fn pieces(count: usize) -> impl stream::Stream<Item = Result<Piece, Broken>> + std::marker::Send {
    stream::iter((0..count).map(|n| Ok(Piece::Data(Bytes::from(vec![n as u8; MIB])))))
}

// [ENG-8]
#[tokio::test(start_paused = true)]
async fn a_body_of_unannounced_size_ends_at_the_disk_reserve_and_is_kept() {
    let bench = Bench::new();
    bench.world.state().room = Some(100 * MIB as u64);
    let world = Arc::clone(&bench.world);
    let source = pieces(40).enumerate().map(move |(n, piece)| {
        if n == 5 {
            world.state().room = Some(0);
        }
        piece
    });
    let refused = bench.write(whole(None), source.boxed()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::StorageFull)), "{refused:?}");
    assert_eq!(bench.offset(), Some(5 * MIB as u64));
}

// [ENG-20] by bytes
#[tokio::test(start_paused = true)]
async fn a_long_body_is_committed_as_it_comes() {
    let bench = Bench::new();
    let world = Arc::clone(&bench.world);
    let committed = move || world.state().rows.get(&name()).map_or(0, |row| row.offset.0);
    let source = pieces(20).enumerate().then(move |(n, piece)| {
        let committed = committed();
        async move {
            // Three pieces make a checkpoint, which runs while two more arrive at most.
            let sent = n as u64 * MIB as u64;
            assert!(sent - committed <= 5 * MIB as u64, "{committed} of {sent}");
            sleep(ms(1)).await;
            piece
        }
    });
    let outcome = bench.write(whole(Some(20 * MIB as u64)), source.boxed()).await.unwrap();
    assert!(outcome.is_complete);
}

// [ENG-20] by time
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_committed_every_interval() {
    let bench = Bench::new();
    let write = Write { body: None, ..whole(Some(1_000)) };
    let source = stream::iter(0..100).then(async |_| {
        sleep(ms(300)).await;
        Ok(Piece::Data(Bytes::from_static(b"x")))
    });
    let began = Instant::now();
    let writing = bench.write(write, source.boxed());
    tokio::pin!(writing);
    for second in 3..20 {
        let until = began + Duration::from_secs(second);
        tokio::select! {
            done = &mut writing => panic!("{done:?}"),
            () = tokio::time::sleep_until(until) => {}
        }
        let sent = second * 1_000 / 300;
        let committed = bench.offset().unwrap();
        assert!(committed <= sent && committed + 4 >= sent, "{committed} of {sent}");
    }
}

/// Nothing of a body with a checksum is committed before its end, and yet it must be read.
#[tokio::test(start_paused = true)]
async fn a_slow_body_with_a_checksum_is_read_to_its_end() {
    let bench = Bench::new();
    let mut running = Running::new(Algorithm::Sha1);
    running.update(&[b'x'; 100]);
    for (value, is_right) in [(vec![0; 20], false), (running.value(), true)] {
        let source = stream::iter(0..100).then(async |_| {
            sleep(ms(300)).await;
            Ok(Piece::Data(Bytes::from_static(b"x")))
        });
        let check = Check::Claimed(Claim { algorithm: Algorithm::Sha1, value });
        let order = Order { check, ..order(whole(Some(100)), About::default()) };
        let outcome = bench.engine.write(order, source.boxed()).await;
        if is_right {
            assert!(outcome.is_ok_and(|o| o.is_complete));
        } else {
            assert!(matches!(outcome, Err(Error::Refused(Refusal::ChecksumMismatch))), "{outcome:?}");
            assert_eq!(bench.offset(), None);
        }
    }
}

// [ENG-13]
#[tokio::test(start_paused = true)]
async fn an_upload_that_arrives_whole_is_one_change_of_the_ledger() {
    let bench = Bench::new();
    // A second change would fail.
    bench.world.state().faults.push((FaultPoint::LedgerBefore, 1));
    let outcome = bench.write(whole(Some(2 * MIB as u64)), pieces(2).boxed()).await.unwrap();
    assert!(outcome.is_complete);
    let st = bench.world.state();
    assert_eq!(st.rows[&name()].phase, Phase::Complete);
    assert_eq!(st.faults.len(), 1);
}

// [ENG-25]
#[tokio::test(start_paused = true)]
async fn a_slow_disk_stalls_no_writer_whose_client_sends() {
    let bench = Bench::new();
    bench.world.state().delays.write = Duration::from_secs(6);
    let outcome = bench.write(whole(Some(3 * MIB as u64)), pieces(3).boxed()).await;
    assert!(outcome.is_ok_and(|o| o.is_complete));
}

// [ENG-6] [ENG-25]
#[tokio::test(start_paused = true)]
async fn a_silent_body_is_cut_after_the_gap_and_kept() {
    let bench = Bench::new();
    let began = Instant::now();
    let source = pieces(2).chain(stream::pending());
    let refused = bench.write(whole(Some(9 * MIB as u64)), source.boxed()).await.unwrap_err();
    let held = Offset(2 * MIB as u64);
    assert!(matches!(&refused, Error::Refused(Refusal::Stalled { held: h }) if *h == held), "{refused:?}");
    assert_eq!(bench.offset(), Some(held.0));
    assert!((5_000..5_100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

// [ENG-6] what lay in the socket when a newer writer came is kept, up to a bound
#[tokio::test(start_paused = true)]
async fn a_superseded_writer_takes_what_has_already_arrived() {
    let bench = Arc::new(Bench::new());
    let (sender, arrived) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let source = stream::unfold(arrived, async |mut arrived| {
        arrived.recv().await.map(|piece| (Ok(Piece::Data(piece)), arrived))
    });
    let old = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.write(whole(Some(64 * MIB as u64)), source.boxed()).await }
    });
    sleep(ms(1)).await;
    // Nothing runs between these and the newcomer.
    for n in 0..16 {
        sender.send(Bytes::from(vec![n; MIB / 4])).unwrap();
    }
    let append =
        Write { start: Start::At(Offset(4 * MIB as u64)), body: Some(0), length: None, may_create: false };
    let new = bench.write(append, stream::empty().boxed()).await;
    assert!(new.is_ok_and(|o| !o.is_complete && o.upload.offset == Offset(4 * MIB as u64)));
    let refused = old.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::Superseded { .. })), "{refused:?}");
}

// [ENG-22]
#[tokio::test(start_paused = true)]
async fn a_handler_that_goes_away_stops_no_append() {
    let bench = Arc::new(Bench::new());
    let source = pieces(2).then(async |piece| {
        sleep(ms(50)).await;
        piece
    });
    let handler = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.write(whole(Some(2 * MIB as u64)), source.boxed()).await }
    });
    sleep(ms(20)).await;
    handler.abort();
    sleep(ms(200)).await;
    let complete = bench.engine.complete(&name()).await.unwrap();
    assert_eq!(complete.offset, Offset(2 * MIB as u64));
}

// [ENG-19]
#[tokio::test(start_paused = true)]
async fn stopping_commits_every_prefix_and_closes_the_ledger() {
    let bench = Arc::new(Bench::new());
    let writing = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.write(whole(Some(64 * MIB as u64)), pieces(2).chain(stream::pending()).boxed()).await }
    });
    sleep(ms(10)).await;
    assert_eq!((bench.engine.writers(), bench.offset()), (1, None));
    bench.engine.stop().await;
    assert_eq!((bench.engine.writers(), bench.offset()), (0, Some(2 * MIB as u64)));
    let refused = writing.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::Stopping { .. })), "{refused:?}");
    assert!(bench.engine.ready().await.is_err());
}

// [ENG-17]
#[tokio::test(start_paused = true)]
async fn recovery_lowers_an_offset_that_storage_cannot_back() {
    let bench = Bench::new();
    let broken = || stream::iter([Err(Broken)]);
    let size = 4 * MIB as u64;
    let _ = bench.write(whole(Some(size)), pieces(3).chain(broken()).boxed()).await;
    let (key, generation) = {
        let st = bench.world.state();
        let row = &st.rows[&name()];
        assert_eq!(row.offset.0, 3 * MIB as u64);
        (row.blob.0.clone(), row.generation)
    };
    // As after a power cut without syncs.
    bench.world.state().files.get_mut(&key).unwrap().data.truncate(MIB);
    let found = bench.engine.recover().await.unwrap();
    assert_eq!((found.receiving, found.lowered), (1, 1));
    assert_eq!(bench.offset(), Some(MIB as u64));
    assert!(bench.world.state().rows[&name()].generation > generation);
    // And when the file is gone altogether.
    bench.world.state().files.clear();
    assert_eq!(bench.engine.recover().await.unwrap().lowered, 1);
    assert_eq!(bench.offset(), Some(0));
    let again = bench.engine.recover().await.unwrap();
    assert_eq!((again.receiving, again.lowered), (1, 0));
    let append =
        Write { start: Start::At(Offset(0)), body: Some(size), length: Some(size), may_create: false };
    assert!(bench.write(append, pieces(4).boxed()).await.unwrap().is_complete);
}

// [ENG-80] the ledger's answer is old news when the sweeper gets it
#[tokio::test(start_paused = true)]
async fn the_sweeper_leaves_what_was_completed_while_it_looked() {
    let bench = Arc::new(Bench::new());
    let size = 4 * MIB as u64;
    let broken = || stream::iter([Err(Broken)]);
    let _ = bench.write(whole(Some(size)), pieces(1).chain(broken()).boxed()).await;
    // The writer has its generation before the upload is due, and sends its last bytes while the sweeper looks.
    let rest = stream::once(sleep(ms(150))).flat_map(|()| pieces(3)).boxed();
    let append =
        Write { start: Start::At(Offset(MIB as u64)), body: None, length: Some(size), may_create: false };
    let writing = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.write(append, rest).await }
    });
    sleep(ms(50)).await;
    bench.clock.advance(Duration::from_hours(73));
    bench.world.state().delays.ledger = ms(300);
    let sweeping = tokio::spawn({
        let engine = bench.engine.clone();
        async move { engine.sweep().await }
    });
    sleep(ms(180)).await;
    // The sweeper has read the row; the commit that completes it takes no time.
    bench.world.state().delays.ledger = Duration::ZERO;
    assert!(writing.await.unwrap().unwrap().is_complete);
    let swept = sweeping.await.unwrap().unwrap();
    assert_eq!((swept.expired, swept.retired), (0, 0));
    assert_eq!(bench.world.state().rows[&name()].phase, Phase::Complete);
    assert!(bench.engine.complete(&name()).await.is_ok());
}

// [ENG-84]
#[tokio::test(start_paused = true)]
async fn writers_at_work_do_not_keep_the_sweeper_from_the_rest() {
    let bench = Bench::new();
    let create = |index: usize| {
        let write = Write { start: Start::At(Offset::ZERO), body: None, length: Some(9), may_create: true };
        Order {
            name: Name(format!("/files/{index:032x}")),
            write,
            about: About::default(),
            kind: Kind::Single,
            check: Check::None,
            dialect: "model",
        }
    };
    for index in 0..300 {
        bench.engine.create(create(index)).await.unwrap();
    }
    let mut held = Vec::new();
    for index in 0..200 {
        let taken = bench.leases.take(&create(index).name, ms(1)).await.unwrap();
        held.push(taken);
    }
    bench.clock.advance(Duration::from_hours(73));
    assert_eq!(bench.engine.sweep().await.unwrap().expired, 100);
    drop(held);
    assert_eq!(bench.engine.sweep().await.unwrap().expired, 200);
    // [ENG-87] names that we made up are forgotten in the end
    assert_eq!(bench.world.state().rows.len(), 300);
    bench.clock.advance(Duration::from_hours(25));
    assert_eq!(bench.engine.sweep().await.unwrap().forgotten, 300);
    assert!(bench.world.state().rows.is_empty());
}

// [ENG-15]
#[tokio::test(start_paused = true)]
async fn retention_is_the_earlier_of_the_servers_and_the_credentials() {
    let bench = Bench::new();
    let until = Timestamp(1_700_000_060_000);
    let about = About { retain_until: Some(until), ..About::default() };
    let outcome = bench.write_about(whole(Some(MIB as u64)), about, pieces(1).boxed()).await.unwrap();
    assert_eq!(outcome.upload.expires_at, Some(until));
    bench.clock.set(Timestamp(until.0 - 1));
    assert_eq!(bench.engine.sweep().await.unwrap().retired, 0);
    bench.clock.set(until);
    assert_eq!(bench.engine.sweep().await.unwrap().retired, 1);
    assert!(matches!(bench.engine.complete(&name()).await, Err(Error::Refused(Refusal::Gone(_)))));
    assert!(bench.world.state().files.is_empty());
}

// [ENG-70]
#[tokio::test(start_paused = true)]
async fn a_body_below_the_least_rate_is_cut_and_kept() {
    let bench = Bench::new();
    // Never silent for as long as the body gap.
    let drops = stream::iter(0..100).then(|_| async {
        sleep(Duration::from_secs(4)).await;
        Ok(Piece::Data(Bytes::from_static(b"x")))
    });
    let refused = bench.write(whole(Some(100)), drops.boxed()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::Stalled { .. })), "{refused:?}");
    let kept = bench.offset().unwrap();
    assert!((6..=9).contains(&kept), "{kept}");
    // One that keeps up is left alone.
    let bench = Bench::new();
    let steady = stream::iter(0..100).then(|_| async {
        sleep(Duration::from_secs(1)).await;
        Ok(Piece::Data(Bytes::from_static(&[b'x'; 11])))
    });
    assert!(bench.write(whole(Some(1_100)), steady.boxed()).await.unwrap().is_complete);
}
