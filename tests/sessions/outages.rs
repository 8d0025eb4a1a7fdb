//! The fallback while Redis goes and comes: [SES-10] holds all the time, and nothing is lost.

use std::{cell::RefCell, io, sync::Once};

use super::*;

thread_local! {
    /// What was logged on this thread, and so by this test.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Log from now on. A subscriber for each test would not do: `tracing` remembers of each line, for all threads, whether
/// the thread that came by first had one.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
}

fn logged() -> String {
    LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).unwrap())
}

fn times_logged(words: &str) -> usize {
    logged().matches(words).count()
}

fn node_within(redis: &Redis, timeout: Duration) -> (Fallback, Arc<Metrics>) {
    let metrics = Metrics::new();
    let link = Link::new(&redis.url(), timeout, Component::Sessions, Arc::clone(&metrics)).unwrap();
    (Fallback::new(Arc::new(RedisSessions::new(link)), 1_000), metrics)
}

fn node(redis: &Redis) -> (Fallback, Arc<Metrics>) {
    node_within(redis, TIMEOUT)
}

fn says(metrics: &Metrics, line: &str) -> bool {
    metrics.render().lines().any(|l| l == line)
}

const DEGRADED: &str = r#"plimsoll_redis_degraded{part="sessions"} 1"#;
const WELL: &str = r#"plimsoll_redis_degraded{part="sessions"} 0"#;

/// Until the node's next use of Redis asks whether it is back.
async fn a_probe_is_due() {
    tokio::time::sleep(plimsoll::redis_link::PROBE_EVERY + Duration::from_millis(50)).await;
}

/// What Redis itself has.
async fn in_redis(redis: &Redis, session: &Session) -> Option<Session> {
    over(redis).find(&session.key).await.unwrap()
}

#[tokio::test]
async fn sessions_go_on_while_redis_is_away_and_come_back_to_an_empty_one() {
    listen();
    let mut redis = Redis::start();
    let (node, metrics) = node(&redis);
    let before = recorded(&node).await;
    let untouched = recorded(&node).await;
    let until = SystemClock.now().plus(HOUR);
    let _ = node.bind(&fingerprint(1), &name("/before"), until).await.unwrap();
    assert!(says(&metrics, WELL));

    redis.kill();
    assert_eq!(found(&node, &before).await, Some(before.clone()));
    assert!(says(&metrics, DEGRADED));
    let after = changed(&before, 4);
    assert_eq!(node.replace(after.clone(), 1).await.unwrap(), Replaced::Done);
    assert_eq!(node.replace(changed(&before, 5), 1).await.unwrap(), Replaced::Stale);
    let meanwhile = recorded(&node).await;
    assert_eq!(node.bind(&fingerprint(1), &name("/other"), until).await.unwrap(), name("/before"));
    assert_eq!(node.bind(&fingerprint(2), &name("/meanwhile"), until).await.unwrap(), name("/meanwhile"));
    assert_eq!(node.count().await.unwrap(), 3);
    a_probe_is_due().await;
    assert_eq!(found(&node, &after).await, Some(after.clone()));
    assert!(says(&metrics, DEGRADED));

    redis.go_on_empty();
    a_probe_is_due().await;
    for session in [&after, &meanwhile, &untouched] {
        assert_eq!(found(&node, session).await.as_ref(), Some(session));
        assert_eq!(in_redis(&redis, session).await.as_ref(), Some(session));
    }
    assert_eq!(over(&redis).count().await.unwrap(), 3);
    for (token, bound) in [(1, "/before"), (2, "/meanwhile")] {
        assert_eq!(node.bind(&fingerprint(token), &name("/late"), until).await.unwrap(), name(bound));
        assert_eq!(over(&redis).bind(&fingerprint(token), &name("/late"), until).await.unwrap(), name(bound));
    }
    assert!(says(&metrics, WELL));
    assert!(says(&metrics, r#"plimsoll_redis_outages_total{part="sessions"} 1"#));
    assert_eq!((times_logged("going on in memory"), times_logged("Redis is back")), (1, 1), "{}", logged());
}

#[tokio::test]
async fn an_older_redis_is_brought_up_to_date() {
    let mut redis = Redis::start();
    let (node, _) = node(&redis);
    let first = recorded(&node).await;
    let (second, third) = (changed(&first, 4), changed(&changed(&first, 4), 5));
    assert_eq!(node.replace(second, 1).await.unwrap(), Replaced::Done);
    assert_eq!(node.replace(third.clone(), 2).await.unwrap(), Replaced::Done);
    // As from a snapshot of an hour ago.
    over(&redis).record(first.clone()).await.unwrap();
    assert_eq!(found(&node, &first).await, Some(third.clone()));
    assert_eq!(in_redis(&redis, &first).await, Some(third.clone()));
    // And the same when it is changed before it is asked for.
    over(&redis).record(first.clone()).await.unwrap();
    let fourth = changed(&third, 6);
    assert_eq!(node.replace(fourth.clone(), 3).await.unwrap(), Replaced::Done);
    assert_eq!(in_redis(&redis, &first).await, Some(fourth));
    redis.kill();
}

#[tokio::test]
async fn of_fifty_changes_right_after_a_loss_one_wins() {
    let mut redis = Redis::start();
    let (node, _) = node(&redis);
    let first = recorded(&node).await;
    redis.kill();
    redis.go_on_empty();
    // The broken connection is noticed by this one, and answered from memory.
    assert_eq!(found(&node, &first).await, Some(first.clone()));
    a_probe_is_due().await;
    let attempts = (0..50).map(|n| node.replace(changed(&first, n), 1));
    let answers = join_all(attempts).await;
    assert_eq!(answers.into_iter().filter(|answer| *answer.as_ref().unwrap() == Replaced::Done).count(), 1);
    assert_eq!(in_redis(&redis, &first).await, found(&node, &first).await);
    assert_eq!(in_redis(&redis, &first).await.map(|session| session.version), Some(2));
}

#[tokio::test]
async fn in_memory_one_of_fifty_changes_wins_and_none_is_lost() {
    let mut redis = Redis::start();
    let (node, _) = node(&redis);
    redis.kill();
    of_fifty_changes_of_one_version_one_wins(&node).await;
    no_change_is_lost(&node).await;
    redis.go_on();
}

/// A Redis, or a firewall, may close a connection that rests. That is no outage.
#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_is_made_anew() {
    let redis = Redis::start();
    let (node, metrics) = node(&redis);
    let before = recorded(&node).await;
    assert_eq!(redis.ask("CLIENT KILL TYPE normal SKIPME yes").unwrap().trim(), ":1");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let after = recorded(&node).await;
    for session in [&before, &after] {
        assert_eq!(in_redis(&redis, session).await.as_ref(), Some(session));
    }
    assert!(says(&metrics, r#"plimsoll_redis_degraded{part="sessions"} 0"#));
    assert!(!metrics.render().contains("plimsoll_redis_outages_total{"));
}

/// A hanging Redis costs one request a timeout, once a second; everybody else is answered at once.
#[tokio::test]
async fn a_frozen_redis_holds_up_one_request_at_a_time_and_that_for_its_timeout() {
    let timeout = Duration::from_secs(1);
    let redis = Redis::start();
    let (node, metrics) = node_within(&redis, timeout);
    let session = recorded(&node).await;
    redis.freeze();
    let began = Instant::now();
    assert_eq!(found(&node, &session).await, Some(session.clone()));
    let took = began.elapsed();
    assert!(took >= timeout && took < timeout * 2, "{took:?}");
    let began = Instant::now();
    for n in 0..100 {
        let next = changed(&found(&node, &session).await.unwrap(), n);
        assert_eq!(node.replace(next.clone(), next.version - 1).await.unwrap(), Replaced::Done);
    }
    let took = began.elapsed();
    assert!(took < timeout, "{took:?}");
    assert!(says(&metrics, DEGRADED));

    a_probe_is_due().await;
    let waits = join_all((0..20).map(|_| async {
        let began = Instant::now();
        assert_eq!(found(&node, &session).await.unwrap().version, 101);
        began.elapsed()
    }))
    .await;
    let held_up = waits.iter().filter(|took| **took >= timeout).count();
    assert_eq!(held_up, 1, "{waits:?}");
    assert!(waits.iter().all(|took| *took < timeout * 2), "{waits:?}");

    redis.thaw();
    a_probe_is_due().await;
    assert_eq!(found(&node, &session).await.unwrap().version, 101);
    assert_eq!(in_redis(&redis, &session).await.unwrap().version, 101);
}

// [SES-33] also when Redis could not be told
#[tokio::test]
async fn a_session_that_was_ended_while_redis_was_away_stays_ended() {
    let mut redis = Redis::start();
    let (node, _) = node(&redis);
    let (asked, cleaned) = (recorded(&node).await, recorded(&node).await);
    redis.kill();
    for session in [&asked, &cleaned] {
        assert!(node.remove(&session.key).await.unwrap());
        assert!(!node.remove(&session.key).await.unwrap());
        assert_eq!(found(&node, session).await, None);
    }
    redis.go_on();
    assert!(in_redis(&redis, &asked).await.is_some());
    a_probe_is_due().await;
    assert_eq!(found(&node, &asked).await, None);
    assert_eq!(in_redis(&redis, &asked).await, None);
    assert_eq!(node.clean(asked.created_at, 10).await.unwrap(), 0);
    assert_eq!(in_redis(&redis, &cleaned).await, None);
}

// [SES-33] another node's memory does not bring it back
#[tokio::test]
async fn a_session_that_one_node_ended_is_ended_for_the_others() {
    let redis = Redis::start();
    let ((one, _), (two, _)) = (node(&redis), node(&redis));
    let session = recorded(&one).await;
    assert_eq!(found(&two, &session).await, Some(session.clone()));
    assert!(one.remove(&session.key).await.unwrap());
    assert_eq!(found(&two, &session).await, None);
    assert_eq!(two.replace(changed(&session, 4), 1).await.unwrap(), Replaced::Stale);
    assert_eq!(in_redis(&redis, &session).await, None);
    assert_eq!(one.count().await.unwrap(), 0);
}

#[tokio::test]
async fn nodes_see_each_others_changes() {
    let redis = Redis::start();
    let ((one, _), (two, _)) = (node(&redis), node(&redis));
    let first = recorded(&one).await;
    let second = changed(&first, 4);
    assert_eq!(two.replace(second.clone(), 1).await.unwrap(), Replaced::Done);
    assert_eq!(found(&one, &first).await, Some(second.clone()));
    assert_eq!(one.replace(changed(&first, 5), 1).await.unwrap(), Replaced::Stale);
    assert_eq!(one.replace(changed(&second, 5), 2).await.unwrap(), Replaced::Done);
    assert_eq!(found(&two, &first).await, Some(changed(&second, 5)));
}

/// Both nodes went on with one session, each with an upload of its own: in the end it covers both.
#[tokio::test]
async fn what_two_nodes_did_apart_is_merged() {
    let mut redis = Redis::start();
    let ((one, _), (two, _)) = (node(&redis), node(&redis));
    let first = recorded(&one).await;
    assert_eq!(found(&two, &first).await, Some(first.clone()));
    redis.kill();
    let apart = |n, refreshes| {
        let mut next = changed(&first, refreshes);
        next.uploads.push(covered(n));
        next
    };
    assert_eq!(one.replace(apart(7, 4), 1).await.unwrap(), Replaced::Done);
    assert_eq!(two.replace(apart(8, 9), 1).await.unwrap(), Replaced::Done);
    redis.go_on();
    a_probe_is_due().await;
    assert_eq!(found(&one, &first).await, Some(apart(7, 4)));
    let merged = found(&two, &first).await.unwrap();
    assert_eq!(found(&one, &first).await, Some(merged.clone()));
    assert_eq!(in_redis(&redis, &first).await, Some(merged.clone()));
    assert_eq!((merged.version, merged.refreshes), (3, 9));
    assert_eq!(merged.history, first.history);
    assert_eq!(merged.uploads.len(), 3);
    for n in [1, 7, 8] {
        assert!(merged.uploads.contains(&covered(n)), "{n}");
    }
}

#[tokio::test]
async fn what_nobody_asks_for_comes_back_with_the_next_cleaning() {
    let mut redis = Redis::start();
    let (node, _) = node(&redis);
    redis.kill();
    let session = recorded(&node).await;
    let until = SystemClock.now().plus(HOUR);
    let _ = node.bind(&fingerprint(1), &name("/meanwhile"), until).await.unwrap();
    redis.go_on_empty();
    a_probe_is_due().await;
    assert_eq!(node.clean(session.created_at, 10).await.unwrap(), 0);
    assert_eq!(in_redis(&redis, &session).await, Some(session));
    let bound = over(&redis).bind(&fingerprint(1), &name("/late"), until).await.unwrap();
    assert_eq!(bound, name("/meanwhile"));
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_away_until_it_does() {
    listen();
    let redis = Redis::start();
    let (node, metrics) = node(&redis);
    let before = recorded(&node).await;
    assert_eq!(redis.ask("CONFIG SET maxmemory 1").unwrap().trim(), "+OK");
    let meanwhile = recorded(&node).await;
    for _ in 0..2 {
        a_probe_is_due().await;
        assert_eq!(found(&node, &before).await, Some(before.clone()));
        assert_eq!(found(&node, &meanwhile).await, Some(meanwhile.clone()));
        assert!(says(&metrics, DEGRADED));
    }
    assert_eq!(redis.ask("CONFIG SET maxmemory 0").unwrap().trim(), "+OK");
    a_probe_is_due().await;
    assert_eq!(found(&node, &meanwhile).await, Some(meanwhile.clone()));
    assert_eq!(in_redis(&redis, &meanwhile).await, Some(meanwhile));
    assert!(says(&metrics, WELL));
    assert_eq!((times_logged("going on in memory"), times_logged("Redis is back")), (1, 1), "{}", logged());
}

// [ENG-10] whatever goes wrong, a password is not told
#[tokio::test]
async fn the_password_of_redis_reaches_no_log_and_no_fault() {
    listen();
    let redis = Redis::start();
    assert_eq!(redis.ask("CONFIG SET requirepass something-else").unwrap().trim(), "+OK");
    for url in [
        format!("{}?pass=hunter2", redis.url()),
        "redis://plimsoll:hunter2@127.0.0.1:1/0".to_owned(),
        "redis://plimsoll:hunter2@localhost:1/x".to_owned(),
    ] {
        let told = match Link::new(&url, TIMEOUT, Component::Sessions, Metrics::new()) {
            Ok(link) => {
                let debug = format!("{link:?}");
                let fault = RedisSessions::new(link).record(session()).await.unwrap_err();
                assert_eq!(fault.component, Component::Sessions);
                format!("{debug} {fault} {fault:?}")
            }
            Err(fault) => format!("{fault} {fault:?}"),
        };
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert_eq!(times_logged("going on in memory"), 2, "{}", logged());
    assert!(!logged().contains("hunter2"), "{}", logged());
}
