//! Concatenation over the simulated machine: parts that come in any order, faults and restarts in the middle.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, poll, stream};
use plimsoll::{
    clock::{ManualClock, Timestamp},
    engine::{Engine, Error, Order, Parts, Piece, Refusal, Settings, Start, Write, digest::Check},
    leases::local::LocalLeases,
    telemetry::Metrics,
    upload::{About, Kind, Name, Offset, Phase, Upload},
};
use tokio::time::{Duration, sleep};

use crate::sim::{FaultPoint, Style, World, blobs::SimBlobs, ledger::MemoryLedger};

struct House {
    world: Arc<World>,
    engine: Engine,
}

impl House {
    fn new() -> Self {
        Self::over(&World::new(Style::Files))
    }

    /// A server that has just started on this machine.
    fn over(world: &Arc<World>) -> Self {
        let parts = Parts {
            ledger: Arc::new(MemoryLedger(Arc::clone(world))),
            blobs: Arc::new(SimBlobs(Arc::clone(world))),
            leases: Arc::new(LocalLeases::new()),
            clock: Arc::new(ManualClock::new(Timestamp(1_700_000_000_000))),
            metrics: Metrics::new(),
        };
        let settings = Settings {
            max_size: 1_000,
            checkpoint_bytes: 1_000,
            checkpoint_interval: Duration::from_secs(1),
            body_gap: Duration::from_secs(5),
            fence_timeout: Duration::from_secs(2),
            silent_writer: Duration::from_millis(250),
            incomplete_expires: Duration::from_hours(72),
            least_rate: 0,
            max_parts: 1_000,
            partial_expires: Duration::from_hours(24),
            retention: None,
            own_names: Some("/files".into()),
            forget_after: Duration::from_hours(24),
        };
        Self { world: Arc::clone(world), engine: Engine::new(parts, settings) }
    }

    fn order(name: &str, write: Write, kind: Kind) -> Order {
        let about = About { owner: Some("romeo".into()), ..About::default() };
        Order { name: Name(name.into()), write, about, kind, check: Check::None, dialect: "model" }
    }

    /// A part that is complete.
    async fn part(&self, name: &str, content: &'static [u8]) {
        let length = Some(content.len() as u64);
        let write = Write { start: Start::Whole, body: length, length, may_create: true };
        let source = stream::iter([Ok(Piece::Data(Bytes::from_static(content)))]).boxed();
        let outcome = self.engine.write(Self::order(name, write, Kind::Partial), source).await;
        assert!(outcome.unwrap().is_complete);
    }

    /// A part that was created and got `content` of its `length` bytes.
    async fn begun(&self, name: &str, content: &'static [u8], length: u64) {
        let at = Write { start: Start::At(Offset::ZERO), body: None, length: Some(length), may_create: true };
        self.engine.create(Self::order(name, at, Kind::Partial)).await.unwrap();
        let source = stream::iter([Ok(Piece::Data(Bytes::from_static(content)))]).boxed();
        assert!(!self.engine.write(Self::order(name, at, Kind::Partial), source).await.unwrap().is_complete);
    }

    async fn goes_on(&self, name: &str, at: u64, content: &'static [u8]) -> bool {
        let write = Write { start: Start::At(Offset(at)), body: None, length: None, may_create: false };
        let source = stream::iter([Ok(Piece::Data(Bytes::from_static(content)))]).boxed();
        let outcome = self.engine.write(Self::order(name, write, Kind::Partial), source).await.unwrap();
        // What it sets off runs behind it.
        sleep(Duration::from_millis(1)).await;
        outcome.is_complete
    }

    async fn concatenate(&self, name: &str, parts: &[&str]) -> Result<Upload, Error> {
        let write = Write { start: Start::Whole, body: None, length: None, may_create: true };
        let parts: Vec<Name> = parts.iter().map(|part| Name((*part).into())).collect();
        self.engine.concatenate(Self::order(name, write, Kind::Final(parts.clone())), parts).await
    }

    fn phase(&self, name: &str) -> Option<Phase> {
        self.world.state().rows.get(&Name(name.into())).map(|row| row.phase)
    }

    async fn read(&self, name: &str) -> Vec<u8> {
        let upload = self.engine.complete(&Name(name.into())).await.unwrap();
        let pieces: Vec<Bytes> =
            self.engine.read(&upload, 0..upload.offset.0).await.unwrap().try_collect().await.unwrap();
        pieces.concat()
    }

    /// Blobs that no row refers to.
    async fn strays(&self) -> u64 {
        self.engine.sweep_orphans().await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn complete_parts_are_joined_at_once_in_the_order_that_was_asked_for() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.part("/b", b"two ").await;
    let whole = house.concatenate("/f", &["/b", "/a", "/b"]).await.unwrap();
    assert_eq!((whole.phase, whole.offset, whole.length), (Phase::Complete, Offset(12), Some(12)));
    assert_eq!(house.read("/f").await, b"two one two ");
    // The parts are still there, and no files of their own.
    for part in ["/a", "/b"] {
        let refused = house.engine.complete(&Name(part.into())).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::Unknown))), "{refused:?}");
    }
    assert_eq!(house.strays().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_concatenation_waits_for_the_part_that_completes_last() {
    let house = House::new();
    house.begun("/a", b"on", 4).await;
    house.begun("/b", b"tw", 4).await;
    let whole = house.concatenate("/f", &["/a", "/b"]).await.unwrap();
    assert_eq!((whole.phase, whole.length), (Phase::Receiving, Some(8)));
    assert!(house.goes_on("/b", 2, b"o ").await);
    assert_eq!(house.phase("/f"), Some(Phase::Receiving));
    assert!(house.goes_on("/a", 2, b"e ").await);
    assert_eq!(house.read("/f").await, b"one two ");
}

#[tokio::test(start_paused = true)]
async fn a_concatenation_that_failed_is_taken_up_at_the_next_start() {
    for point in [FaultPoint::Create, FaultPoint::LedgerBefore, FaultPoint::LedgerAfter] {
        let house = House::new();
        house.part("/a", b"one ").await;
        house.begun("/b", b"tw", 4).await;
        house.concatenate("/f", &["/a", "/b"]).await.unwrap();
        // The part's completion is the first change of the ledger from here, the concatenation's fence the second.
        let skipped = if point == FaultPoint::Create { 0 } else { 3 };
        house.world.state().faults.push((point, skipped));
        assert!(house.goes_on("/b", 2, b"o ").await);
        assert!(house.world.state().faults.is_empty(), "{point:?} was never come to");
        house.world.crash(7);
        let house = House::over(&house.world);
        assert_eq!(house.engine.recover().await.unwrap().lowered, 0);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(house.read("/f").await, b"one two ", "{point:?}");
        assert_eq!(house.strays().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_concatenation_of_a_part_that_went_goes_too() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.begun("/b", b"tw", 4).await;
    house.concatenate("/f", &["/a", "/b"]).await.unwrap();
    house.engine.delete(&Name("/a".into()), true).await.unwrap();
    assert!(house.goes_on("/b", 2, b"o ").await);
    assert!(matches!(house.phase("/f"), Some(Phase::Gone(_))), "{:?}", house.phase("/f"));
    assert_eq!(house.strays().await, 0);
}

#[tokio::test(start_paused = true)]
async fn only_partial_uploads_of_the_same_owner_are_joined() {
    let house = House::new();
    house.part("/a", b"one ").await;
    let length = Some(4);
    let write = Write { start: Start::Whole, body: length, length, may_create: true };
    let source = || stream::iter([Ok(Piece::Data(Bytes::from_static(b"two ")))]).boxed();
    house.engine.write(House::order("/single", write, Kind::Single), source()).await.unwrap();
    let mut foreign = House::order("/foreign", write, Kind::Partial);
    foreign.about.owner = Some("juliet".into());
    house.engine.write(foreign, source()).await.unwrap();
    for bad in ["/single", "/foreign", "/nobody", "/f"] {
        let refused = house.concatenate("/f", &["/a", bad]).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::BadPart { index: 1 }))), "{bad}: {refused:?}");
    }
    assert_eq!(house.phase("/f"), None);
}

#[tokio::test(start_paused = true)]
async fn a_concatenation_takes_no_bytes_of_its_own() {
    let house = House::new();
    house.begun("/a", b"on", 4).await;
    house.concatenate("/f", &["/a"]).await.unwrap();
    for start in [Start::Whole, Start::At(Offset::ZERO)] {
        let write = Write { start, body: Some(4), length: Some(4), may_create: true };
        let source = stream::iter([Ok(Piece::Data(Bytes::from_static(b"evil")))]).boxed();
        let refused = house.engine.write(House::order("/f", write, Kind::Single), source).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::Final))), "{refused:?}");
    }
    assert!(house.goes_on("/a", 2, b"e ").await);
    assert_eq!(house.read("/f").await, b"one ");
}

// [ENG-63]
#[tokio::test(start_paused = true)]
async fn a_concatenation_outlives_the_request_that_asked_for_it() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.world.state().delays.sync = Duration::from_secs(1);
    let mut asked = Box::pin(house.concatenate("/f", &["/a", "/a"]));
    while house.phase("/f").is_none() {
        assert!(poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    }
    drop(asked);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(house.read("/f").await, b"one one ");
}

// [ENG-63]
#[tokio::test(start_paused = true)]
async fn who_asks_for_or_deletes_what_is_assembled_waits_for_nothing() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.world.state().delays.sync = Duration::from_hours(1);
    let whole = house.concatenate("/f", &["/a", "/a"]).await.unwrap();
    assert_eq!(whole.phase, Phase::Receiving, "the answer does not wait for long");
    let began = tokio::time::Instant::now();
    let seen = house.engine.state(&whole.name, true).await.unwrap().unwrap();
    assert_eq!((seen.phase, began.elapsed()), (Phase::Receiving, Duration::ZERO));
    house.engine.delete(&whole.name, true).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(house.phase("/f"), Some(Phase::Gone(_))));
    assert_eq!(house.strays().await, 0);
}

// [ENG-62]
#[tokio::test(start_paused = true)]
async fn at_most_two_concatenations_are_assembled_at_once() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.world.state().delays.sync = Duration::from_secs(10);
    let began = tokio::time::Instant::now();
    let names = ["/f", "/g", "/h", "/i"];
    futures_util::future::join_all(names.map(|name| house.concatenate(name, &["/a"]))).await;
    let complete = || names.iter().filter(|name| house.phase(name) == Some(Phase::Complete)).count();
    for (second, expected) in [(9, 0), (11, 2), (19, 2), (21, 4)] {
        tokio::time::sleep_until(began + Duration::from_secs(second)).await;
        assert_eq!(complete(), expected, "after {second} s");
    }
}

// [ENG-62]
#[tokio::test(start_paused = true)]
async fn a_concatenation_that_meets_the_end_of_the_disk_is_given_up() {
    let house = House::new();
    house.part("/a", b"one ").await;
    house.begun("/b", b"tw", 4).await;
    house.concatenate("/f", &["/a", "/b"]).await.unwrap();
    house.world.state().room = Some(7);
    let refused = house.concatenate("/g", &["/a", "/a"]).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::StorageFull))), "{refused:?}");
    assert_eq!(house.phase("/g"), None);
    assert!(house.goes_on("/b", 2, b"o ").await);
    assert!(matches!(house.phase("/f"), Some(Phase::Gone(_))), "{:?}", house.phase("/f"));
    house.world.state().room = None;
    let house = House::over(&house.world);
    house.engine.recover().await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(matches!(house.phase("/f"), Some(Phase::Gone(_))), "it is not tried again");
    assert_eq!(house.strays().await, 0);
}

// [ENG-67]
#[tokio::test(start_paused = true)]
async fn a_download_that_a_removal_overtakes_is_told_that_the_file_is_gone() {
    let house = House::new();
    house.part("/a", b"one ").await;
    let whole = house.concatenate("/f", &["/a"]).await.unwrap();
    let seen = house.engine.complete(&whole.name).await.unwrap();
    house.engine.delete(&whole.name, true).await.unwrap();
    let refused = house.engine.read(&seen, 0..4).await.err();
    assert!(matches!(refused, Some(Error::Refused(Refusal::Gone(_)))), "{refused:?}");
}
