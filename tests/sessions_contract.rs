//! What every store of sessions must do. Each case is a function of a store; the last line of each `suite!` says which:
//! SQLite on a file, a real Redis, and the fallback in front of one.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

#[path = "sessions/outages.rs"]
mod outages;
#[path = "common/redis.rs"]
#[allow(dead_code, reason = "the outages need all of it, the contract does not")]
mod redis;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use plimsoll::{
    clock::{Clock as _, SystemClock, Timestamp},
    fault::Component,
    ledger::{Ledger as _, Swap, sqlite::SqliteLedger},
    network::AgentClass,
    redis_link::Link,
    session::{
        Change, Covered, Fingerprint, Place, Replaced, Session, SessionId, SessionKey, Sessions,
        fallback::Fallback, redis::RedisSessions,
    },
    telemetry::Metrics,
    upload::{About, BlobKey, BlobState, Generation, Kind, Name, Offset, Phase, Upload, UploadId},
};
use redis::Redis;

const HOUR: Duration = Duration::from_secs(3600);
/// Enough to take a cleaning through many steps.
const MANY: i64 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(5);

fn place(last: u8, agent: &str) -> Place {
    Place {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        network: "mobile".into(),
        agent: agent.into(),
        class: AgentClass::Mobile,
    }
}

fn covered(n: usize) -> Covered {
    Covered {
        name: Name(format!("/upload/{n}/Schiffe \u{1f6a2} \"été\"\u{0}.jpg")),
        id: n.is_multiple_of(2).then(|| UploadId(format!("{n:032x}"))),
        size: Some(u64::MAX - n as u64),
        max_size: None,
        filename: Some("Schiffe \u{1f6a2}.jpg".into()),
        content_type: Some("image/jpeg".into()),
        retain_until: Some(Timestamp(-1)),
        token_until: None,
        is_complete: false,
    }
}

/// A new session that was opened now.
fn session() -> Session {
    let now = SystemClock.now();
    Session {
        key: SessionId::random().key(),
        version: 1,
        subject: Some("romeo@montague.example/Gärten".into()),
        created_at: now,
        expires_at: now.plus(HOUR * 72),
        seen_at: now,
        refreshes: 3,
        is_open: true,
        place: place(1, "Conversations/2.19 \u{1f4f1}"),
        uploads: vec![covered(1)],
        history: vec![Change { at: now, from: place(2, "\u{0}\"'\\"), to: place(1, "") }],
        changes: u64::MAX,
        told_again: false,
    }
}

/// The next version of a session, told apart by its refreshes.
fn changed(session: &Session, refreshes: u32) -> Session {
    let seen_at = session.seen_at.plus(Duration::from_secs(1));
    Session { version: session.version + 1, refreshes, seen_at, ..session.clone() }
}

async fn recorded(store: &dyn Sessions) -> Session {
    let new = session();
    store.record(new.clone()).await.unwrap();
    new
}

async fn found(store: &dyn Sessions, session: &Session) -> Option<Session> {
    store.find(&session.key).await.unwrap()
}

pub async fn a_recorded_session_is_found_as_it_was_written(store: &dyn Sessions) {
    let full = recorded(store).await;
    let bare = Session {
        subject: None,
        is_open: false,
        uploads: Vec::new(),
        history: Vec::new(),
        changes: 0,
        ..session()
    };
    store.record(bare.clone()).await.unwrap();
    for session in [&full, &bare] {
        assert_eq!(found(store, session).await.as_ref(), Some(session));
    }
    assert_eq!(store.find(&SessionId::random().key()).await.unwrap(), None);
}

pub async fn a_session_of_two_thousand_uploads_is_one_document(store: &dyn Sessions) {
    let large = Session { uploads: (0..2_000).map(covered).collect(), ..session() };
    store.record(large.clone()).await.unwrap();
    assert_eq!(found(store, &large).await, Some(large.clone()));
    let larger = Session { uploads: (0..2_001).map(covered).collect(), ..changed(&large, 4) };
    assert_eq!(store.replace(larger.clone(), 1).await.unwrap(), Replaced::Done);
    assert_eq!(found(store, &large).await, Some(larger));
}

pub async fn recording_a_session_again_replaces_it(store: &dyn Sessions) {
    let first = recorded(store).await;
    let second = Session { version: 9, subject: None, ..changed(&first, 7) };
    store.record(second.clone()).await.unwrap();
    assert_eq!(found(store, &first).await, Some(second));
    assert_eq!(store.count().await.unwrap(), 1);
}

pub async fn replace_is_a_compare_and_set_on_the_version(store: &dyn Sessions) {
    let first = recorded(store).await;
    let second = changed(&first, 4);
    assert_eq!(store.replace(second.clone(), 2).await.unwrap(), Replaced::Stale);
    assert_eq!(found(store, &first).await, Some(first.clone()));
    assert_eq!(store.replace(second.clone(), 1).await.unwrap(), Replaced::Done);
    assert_eq!(store.replace(changed(&first, 5), 1).await.unwrap(), Replaced::Stale);
    assert_eq!(found(store, &first).await, Some(second.clone()));
    // A version may leave some out, and has more digits at last.
    let tenth = Session { version: 10, ..changed(&second, 6) };
    assert_eq!(store.replace(tenth.clone(), 2).await.unwrap(), Replaced::Done);
    assert_eq!(store.replace(changed(&second, 7), 2).await.unwrap(), Replaced::Stale);
    assert_eq!(found(store, &first).await, Some(tenth));
}

pub async fn an_unknown_session_is_not_replaced(store: &dyn Sessions) {
    let nobody = session();
    for seen in [0, 1] {
        assert_eq!(store.replace(changed(&nobody, 1), seen).await.unwrap(), Replaced::Stale);
    }
    assert_eq!(found(store, &nobody).await, None);
    assert_eq!(store.count().await.unwrap(), 0);
}

pub async fn of_fifty_changes_of_one_version_one_wins(store: &dyn Sessions) {
    let mut current = recorded(store).await;
    for _ in 0..3 {
        let seen = current.version;
        let attempts = (0..50).map(|n| {
            let next = changed(&current, n);
            async move { (next.clone(), store.replace(next, seen).await.unwrap()) }
        });
        let answers = join_all(attempts).await;
        let winners: Vec<&Session> =
            answers.iter().filter(|(_, answer)| *answer == Replaced::Done).map(|(next, _)| next).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(found(store, &current).await.as_ref(), Some(winners[0]));
        current = winners[0].clone();
    }
}

/// Fifty that try again until it works have all of their changes in the end.
pub async fn no_change_is_lost(store: &dyn Sessions) {
    let first = Session { uploads: Vec::new(), ..session() };
    store.record(first.clone()).await.unwrap();
    let key = &first.key;
    join_all((0..50).map(|n| async move {
        loop {
            let mut next = store.find(key).await.unwrap().unwrap();
            let seen = next.version;
            next.version += 1;
            next.uploads.push(covered(n));
            if store.replace(next, seen).await.unwrap() == Replaced::Done {
                return;
            }
        }
    }))
    .await;
    let last = found(store, &first).await.unwrap();
    assert_eq!((last.version, last.uploads.len()), (51, 50));
    for n in 0..50 {
        assert!(last.uploads.contains(&covered(n)), "{n}");
    }
}

pub async fn a_removed_session_is_gone(store: &dyn Sessions) {
    let (gone, stays) = (recorded(store).await, recorded(store).await);
    assert!(store.remove(&gone.key).await.unwrap());
    assert!(!store.remove(&gone.key).await.unwrap());
    assert_eq!(found(store, &gone).await, None);
    assert_eq!(store.replace(changed(&gone, 1), 1).await.unwrap(), Replaced::Stale);
    assert_eq!(found(store, &gone).await, None);
    assert_eq!(found(store, &stays).await, Some(stays));
    assert_eq!(store.count().await.unwrap(), 1);
}

fn fingerprint(n: u8) -> Fingerprint {
    Fingerprint(format!("{n:064x}"))
}

fn name(text: &str) -> Name {
    Name(text.to_owned())
}

pub async fn the_first_binding_stays(store: &dyn Sessions) {
    let until = SystemClock.now().plus(HOUR);
    let (first, second) = (name("/upload/\u{1f6a2}\u{0}'\"1"), name("/upload/2"));
    let bind = async |token: u8, name: &Name| store.bind(&fingerprint(token), name, until).await.unwrap();
    assert_eq!(bind(1, &first).await, first);
    assert_eq!(bind(1, &second).await, first);
    assert_eq!(bind(1, &first).await, first);
    assert_eq!(bind(2, &second).await, second);
}

pub async fn of_fifty_bindings_of_one_token_one_wins(store: &dyn Sessions) {
    let until = SystemClock.now().plus(HOUR);
    let attempts = (0..50).map(|n| async move {
        store.bind(&fingerprint(1), &name(&format!("/upload/{n}")), until).await.unwrap()
    });
    let answers = join_all(attempts).await;
    assert!(answers.iter().all(|bound| *bound == answers[0]), "{answers:?}");
    assert_eq!(store.bind(&fingerprint(1), &name("/late"), until).await.unwrap(), answers[0]);
}

pub async fn a_binding_ends(store: &dyn Sessions) {
    let now = SystemClock.now();
    let (soon, later) = (now.plus(HOUR), now.plus(HOUR * 2));
    for (token, until) in [(1, soon), (2, later)] {
        let _ = store.bind(&fingerprint(token), &name("/first"), until).await.unwrap();
    }
    assert_eq!(store.clean(Timestamp(soon.0 - 1), 10).await.unwrap(), 0);
    assert_eq!(store.bind(&fingerprint(1), &name("/second"), soon).await.unwrap(), name("/first"));
    assert_eq!(store.clean(soon, 10).await.unwrap(), 0);
    assert_eq!(store.bind(&fingerprint(1), &name("/second"), later).await.unwrap(), name("/second"));
    assert_eq!(store.bind(&fingerprint(2), &name("/second"), later).await.unwrap(), name("/first"));
}

/// Sessions by what matters for `clean`: whether they are open, and when they were seen and end, in seconds from now.
async fn with(store: &dyn Sessions, of: &[(bool, u64, u64)]) -> Vec<Session> {
    let now = SystemClock.now();
    let mut sessions = Vec::new();
    for (is_open, seen, ends) in of {
        let at = |seconds| now.plus(Duration::from_secs(seconds));
        let new = Session { is_open: *is_open, seen_at: at(*seen), expires_at: at(*ends), ..session() };
        store.record(new.clone()).await.unwrap();
        sessions.push(new);
    }
    sessions
}

/// The places in the list of those that are left.
async fn left(store: &dyn Sessions, sessions: &[Session]) -> Vec<usize> {
    let mut left = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        if let Some(found) = found(store, session).await {
            assert_eq!(found, *session);
            left.push(n);
        }
    }
    assert_eq!(store.count().await.unwrap(), left.len() as u64);
    left
}

pub async fn clean_removes_what_has_ended(store: &dyn Sessions) {
    let sessions = with(store, &[(true, 3, 1000), (false, 1, 1001), (true, 2, 1002)]).await;
    let first_end = sessions[0].expires_at;
    assert_eq!(store.clean(Timestamp(first_end.0 - 1), 100).await.unwrap(), 0);
    assert_eq!(left(store, &sessions).await, [0, 1, 2]);
    assert_eq!(store.clean(first_end, 100).await.unwrap(), 1);
    assert_eq!(left(store, &sessions).await, [1, 2]);
    assert_eq!(store.clean(sessions[2].expires_at, 100).await.unwrap(), 2);
    assert_eq!(left(store, &sessions).await, [0; 0]);
}

pub async fn beyond_the_most_those_go_first_that_are_not_open_and_long_unseen(store: &dyn Sessions) {
    let of = [(true, 10, 5000), (false, 30, 5000), (true, 5, 5000), (false, 20, 5000), (true, 40, 5000)];
    let sessions = with(store, &of).await;
    let now = sessions[0].created_at;
    let clean = async |most| store.clean(now, most).await.unwrap();
    assert_eq!(clean(5).await, 0);
    assert_eq!(clean(4).await, 1);
    assert_eq!(left(store, &sessions).await, [0, 1, 2, 4]);
    assert_eq!(clean(3).await, 1);
    assert_eq!(left(store, &sessions).await, [0, 2, 4]);
    assert_eq!(clean(1).await, 2);
    assert_eq!(left(store, &sessions).await, [4]);
    assert_eq!(clean(0).await, 1);
    assert_eq!(left(store, &sessions).await, [0; 0]);
}

/// [ENG-156] A subject that opens sessions without end pushes nobody else's out, open or not.
pub async fn beyond_the_most_whoever_holds_most_pays(store: &dyn Sessions) {
    let now = SystemClock.now();
    let of = |subject: Option<&str>, last: u8, is_open: bool, seen: u64| Session {
        subject: subject.map(str::to_owned),
        place: place(last, ""),
        is_open,
        seen_at: now.plus(Duration::from_secs(seen)),
        ..session()
    };
    let mut sessions = vec![
        of(Some("romeo"), 1, true, 1),
        of(Some("romeo"), 1, false, 2),
        of(Some("juliet"), 1, true, 3),
        of(None, 2, true, 4),
        of(None, 3, true, 5),
    ];
    sessions.extend((0..20).map(|n| of(Some("mercutio"), 1, true, 100 + n)));
    sessions.extend((0..10).map(|n| of(None, 4, true, 200 + n)));
    for new in &sessions {
        store.record(new.clone()).await.unwrap();
    }
    assert_eq!(store.clean(now, 9).await.unwrap(), 26);
    assert_eq!(left(store, &sessions).await, [0, 1, 2, 3, 4, 23, 24, 33, 34]);
    assert_eq!(store.clean(now, 6).await.unwrap(), 3);
    assert_eq!(left(store, &sessions).await, [0, 2, 3, 4, 24, 34]);
}

pub async fn clean_goes_by_the_latest_version(store: &dyn Sessions) {
    let sessions = with(store, &[(true, 1, 5000), (true, 2, 5000), (false, 3, 5000)]).await;
    let closed = Session { is_open: false, ..changed(&sessions[1], 4) };
    assert_eq!(store.replace(closed, 1).await.unwrap(), Replaced::Done);
    let open = Session { is_open: true, ..changed(&sessions[2], 4) };
    assert_eq!(store.replace(open.clone(), 1).await.unwrap(), Replaced::Done);
    let ending = Session { expires_at: sessions[0].seen_at, ..changed(&sessions[0], 4) };
    assert_eq!(store.replace(ending.clone(), 1).await.unwrap(), Replaced::Done);
    assert_eq!(store.clean(ending.expires_at, 1).await.unwrap(), 2);
    assert_eq!(left(store, &[sessions[0].clone(), sessions[1].clone(), open]).await, [2]);
}

/// More than any store removes at a time, with changes at the same time.
pub async fn clean_removes_thousands_and_disturbs_nobody(store: &dyn Sessions) {
    let used = recorded(store).await;
    let now = used.created_at;
    let ended = |n: i64| Session { expires_at: Timestamp(now.0 + n), is_open: false, ..session() };
    join_all((0..1_500).map(|n| store.record(ended(n)))).await.into_iter().for_each(Result::unwrap);
    assert_eq!(store.count().await.unwrap(), 1_501);
    let change = async {
        let mut current = used.clone();
        for n in 0..20 {
            let next = changed(&current, n);
            assert_eq!(store.replace(next.clone(), current.version).await.unwrap(), Replaced::Done);
            current = next;
        }
        current
    };
    let (removed, last) = tokio::join!(store.clean(now.plus(HOUR), 1), change);
    assert_eq!(removed.unwrap(), 1_500);
    assert_eq!(store.count().await.unwrap(), 1);
    assert_eq!(found(store, &used).await, Some(last));
}

/// Every case above, for one implementation: `open` yields an empty store and what must outlive it.
macro_rules! suite {
    ($implementation:ident, $open:expr) => {
        suite!($implementation, $open,
            a_recorded_session_is_found_as_it_was_written,
            a_session_of_two_thousand_uploads_is_one_document,
            recording_a_session_again_replaces_it,
            replace_is_a_compare_and_set_on_the_version,
            an_unknown_session_is_not_replaced,
            of_fifty_changes_of_one_version_one_wins,
            no_change_is_lost,
            a_removed_session_is_gone,
            the_first_binding_stays,
            of_fifty_bindings_of_one_token_one_wins,
            a_binding_ends,
            clean_removes_what_has_ended,
            beyond_the_most_those_go_first_that_are_not_open_and_long_unseen,
            beyond_the_most_whoever_holds_most_pays,
            clean_goes_by_the_latest_version,
            clean_removes_thousands_and_disturbs_nobody,
        );
    };
    ($implementation:ident, $open:expr, $($case:ident),+ $(,)?) => {
        mod $implementation {
            $(
                #[tokio::test]
                async fn $case() {
                    let (store, _keep) = $open.await;
                    super::$case(&store).await;
                }
            )+
        }
    };
}

async fn ledger(folder: &tempfile::TempDir) -> SqliteLedger {
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    SqliteLedger::open(&url, Metrics::new()).await.unwrap()
}

async fn sqlite() -> (plimsoll::ledger::sqlite::SqliteSessions, (SqliteLedger, tempfile::TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder).await;
    (ledger.sessions(), (ledger, folder))
}

fn over(redis: &Redis) -> RedisSessions {
    let link = Link::new(&redis.url(), TIMEOUT, Component::Sessions, Metrics::new()).unwrap();
    RedisSessions::new(link)
}

async fn in_a_redis() -> (RedisSessions, Redis) {
    let redis = Redis::start();
    (over(&redis), redis)
}

async fn fallback() -> (Fallback, Redis) {
    let redis = Redis::start();
    (Fallback::new(Arc::new(over(&redis)), 100_000), redis)
}

/// The fallback when Redis never was there: memory alone keeps the contract too.
async fn alone() -> (Fallback, ()) {
    let link =
        Link::new("unix:///nonexistent/redis.sock", TIMEOUT, Component::Sessions, Metrics::new()).unwrap();
    (Fallback::new(Arc::new(RedisSessions::new(link)), 100_000), ())
}

suite!(in_sqlite, super::sqlite());
suite!(in_redis, super::in_a_redis());
suite!(in_redis_with_a_fallback, super::fallback());
suite!(in_memory_for_want_of_redis, super::alone());

async fn a_store_with_things(store: &dyn Sessions) -> (Session, Session, SessionKey) {
    let until = SystemClock.now().plus(HOUR);
    let (first, second, gone) = (recorded(store).await, recorded(store).await, recorded(store).await);
    let second_now = changed(&second, 4);
    assert_eq!(store.replace(second_now.clone(), 1).await.unwrap(), Replaced::Done);
    assert!(store.remove(&gone.key).await.unwrap());
    let _ = store.bind(&fingerprint(1), &name("/upload/1"), until).await.unwrap();
    (first, second_now, gone.key)
}

async fn has_things(store: &dyn Sessions, things: (Session, Session, SessionKey)) {
    let (first, second, gone) = things;
    assert_eq!(found(store, &first).await, Some(first));
    assert_eq!(found(store, &second).await, Some(second));
    assert_eq!(store.find(&gone).await.unwrap(), None);
    assert_eq!(store.count().await.unwrap(), 2);
    let until = SystemClock.now().plus(HOUR);
    assert_eq!(store.bind(&fingerprint(1), &name("/upload/2"), until).await.unwrap(), name("/upload/1"));
}

#[tokio::test]
async fn sqlite_keeps_everything_when_it_is_opened_again() {
    let (store, (opened, folder)) = sqlite().await;
    let things = a_store_with_things(&store).await;
    opened.close().await;
    assert!(store.find(&things.0.key).await.is_err());
    let refused = store.record(session()).await.unwrap_err();
    assert_eq!(refused.component, Component::Sessions);
    let opened = ledger(&folder).await;
    has_things(&opened.sessions(), things).await;
    opened.close().await;
}

#[tokio::test]
async fn redis_keeps_everything_when_it_is_started_again() {
    let (store, mut redis) = in_a_redis().await;
    let things = a_store_with_things(&store).await;
    redis.kill();
    redis.go_on();
    has_things(&over(&redis), things).await;
}

/// The writer is shared: a cleaning of many sessions goes in steps, and uploads commit in between.
#[tokio::test]
async fn sqlite_cleans_many_sessions_without_holding_up_uploads() {
    let (store, (ledger, _folder)) = sqlite().await;
    let now = SystemClock.now();
    let ended = |n: i64| Session { expires_at: Timestamp(now.0 + n), ..session() };
    join_all((0..MANY).map(|n| store.record(ended(n)))).await.into_iter().for_each(Result::unwrap);
    let cleaning = async {
        let began = Instant::now();
        assert_eq!(store.clean(now.plus(HOUR), 0).await.unwrap(), MANY.unsigned_abs());
        began.elapsed()
    };
    let mut waits = Vec::new();
    let uploading = async {
        loop {
            let upload = upload(&format!("/upload/{}", waits.len()));
            let began = Instant::now();
            assert_eq!(ledger.record(upload).await.unwrap(), Swap::Done);
            waits.push(began.elapsed());
        }
    };
    let took = tokio::select! {
        took = cleaning => took,
        () = uploading => unreachable!("it goes on for ever"),
    };
    let longest = waits.iter().max().unwrap();
    assert!(
        waits.len() >= 20 && *longest < took / 4,
        "{} uploads, the slowest in {longest:?} of {took:?}",
        waits.len()
    );
}

/// An upload that has begun.
fn upload(text: &str) -> Upload {
    let now = SystemClock.now();
    Upload {
        name: name(text),
        id: UploadId(format!("{text:0>32}")),
        phase: Phase::Receiving,
        generation: Generation::FIRST,
        offset: Offset(1),
        length: Some(2),
        blob: BlobKey(text.to_owned()),
        blob_state: BlobState::default(),
        kind: Kind::Single,
        about: About::default(),
        created_at: now,
        updated_at: now,
        completed_at: None,
        expires_at: None,
    }
}

/// What nobody cleans must not fill Redis for ever.
#[tokio::test]
async fn every_key_in_redis_but_the_indexes_expires_by_itself() {
    let (store, redis) = in_a_redis().await;
    let session = recorded(&store).await;
    let gone = recorded(&store).await;
    assert!(store.remove(&gone.key).await.unwrap());
    let until = SystemClock.now().plus(HOUR);
    let _ = store.bind(&fingerprint(1), &name("/upload/1"), until).await.unwrap();
    let lives = |key: String| {
        let answer = redis.ask(&format!("PTTL {key}")).unwrap();
        Duration::from_millis(answer.trim().trim_start_matches(':').parse().unwrap())
    };
    for key in [&session.key, &gone.key] {
        let life = lives(format!("plimsoll:session:{}", key.0));
        assert!(life > HOUR * 72 && life <= HOUR * 73, "{life:?}");
    }
    let life = lives(format!("plimsoll:binding:{}", fingerprint(1).0));
    assert!(life > HOUR && life <= HOUR * 2, "{life:?}");
    assert_eq!(redis.ask("DBSIZE").unwrap().trim(), ":6", "three keys and three indexes");
}
