//! What every guard must do, whatever it counts with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::redis::Redis;
use plimsoll::{
    clock::{ManualClock, SystemClock, Timestamp},
    config::Cidr,
    fault::Component,
    guard::{Guard, Limits, Stopped, memory::MemoryGuard, redis::RedisGuard},
    redis_link::{Link, PROBE_EVERY},
    telemetry::Metrics,
};

/// How long Redis may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

const WINDOW: Duration = Duration::from_secs(3);
const BAN: Duration = Duration::from_secs(2);

/// A guard, and a way to let its time pass.
struct Subject {
    guard: Box<dyn Guard>,
    clock: Option<Arc<ManualClock>>,
    metrics: Arc<Metrics>,
}

impl Subject {
    async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|found| found == line)
    }

    async fn fails(&self, address: &str, times: usize) {
        for n in 0..times {
            assert_eq!(self.guard.failed(ip(address)).await, None, "failure {n} of {address}");
        }
    }

    /// Whether it is neither limited in its rate nor banned.
    async fn is_admitted(&self, address: &str) -> bool {
        self.guard.admit(ip(address)).await.is_ok() && self.guard.banned_for(ip(address)).await.is_none()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limits() -> Limits {
    Limits {
        max_failures: 3,
        failure_window: WINDOW,
        ban: BAN,
        allow: vec![Cidr::parse("10.0.0.0/8").unwrap(), Cidr::parse("fd00::/8").unwrap()],
        requests_per_minute: 0,
        subject_requests_per_minute: 0,
    }
}

fn memory(limits: Limits) -> Subject {
    let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
    let metrics = Metrics::new();
    let guard = MemoryGuard::new(limits, Arc::<ManualClock>::clone(&clock), Arc::clone(&metrics));
    Subject { guard: Box::new(guard), clock: Some(clock), metrics }
}

/// [SES-51] The last of too many failures bans, and time alone lifts the ban.
async fn too_many_failures_ban_for_a_time(subject: &Subject) {
    subject.fails("192.0.2.1", 2).await;
    assert!(subject.is_admitted("192.0.2.1").await);
    assert_eq!(subject.guard.failed(ip("192.0.2.1")).await, Some(BAN));
    assert!(subject.guard.admit(ip("192.0.2.1")).await.is_ok(), "a ban stops no request by itself");
    let retry_after = subject.guard.banned_for(ip("192.0.2.1")).await.expect("a ban");
    assert!(retry_after > Duration::ZERO && retry_after <= BAN, "{retry_after:?}");
    assert_eq!(subject.guard.failed(ip("192.0.2.1")).await, None, "one ban at a time");
    assert!(!subject.is_admitted("::ffff:192.0.2.1").await, "the same address, mapped");
    assert!(subject.is_admitted("192.0.2.2").await, "a neighbour is not banned");
    subject.pass(BAN + Duration::from_millis(50)).await;
    assert!(subject.is_admitted("192.0.2.1").await);
    subject.fails("192.0.2.1", 2).await;
    assert!(subject.is_admitted("192.0.2.1").await, "counting began anew");
    assert!(subject.metric("plimsoll_bans_total 1"));
}

/// [SES-51] Failures that lie further apart than the window are not added up.
async fn failures_are_forgotten_after_the_window(subject: &Subject) {
    subject.fails("192.0.2.1", 2).await;
    subject.pass(WINDOW + Duration::from_millis(50)).await;
    subject.fails("192.0.2.1", 2).await;
    assert!(subject.is_admitted("192.0.2.1").await);
}

/// [SES-51] IPv6 counts by /64.
async fn ipv6_counts_by_64(subject: &Subject) {
    subject.fails("2001:db8:0:1::1", 1).await;
    subject.fails("2001:db8:0:1::2", 1).await;
    assert_eq!(subject.guard.failed(ip("2001:db8:0:1:ffff::")).await, Some(BAN));
    assert!(!subject.is_admitted("2001:db8:0:1:abcd::9").await);
    assert!(subject.is_admitted("2001:db8:0:2::1").await);
}

/// [SES-51] Allow-listed networks are neither banned nor limited.
async fn allowed_networks_are_never_stopped(subject: &Subject) {
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
        subject.fails(address, 20).await;
        for _ in 0..20 {
            assert!(subject.is_admitted(address).await, "{address}");
        }
    }
}

/// [SES-52] Address and subject each have a rate of their own.
async fn rates_are_kept(subject: &Subject) {
    for n in 0..3 {
        assert!(subject.is_admitted("2001:db8::1").await, "request {n}");
    }
    let Err(Stopped::Rate { retry_after }) = subject.guard.admit(ip("2001:db8::2")).await else {
        panic!("the fourth of the /64 within a minute is admitted")
    };
    assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(60), "{retry_after:?}");
    assert!(subject.is_admitted("2001:db8:0:1::1").await);
    for n in 0..2 {
        assert!(subject.guard.admit_subject("juliet@example.org").await.is_ok(), "request {n}");
    }
    assert!(matches!(
        subject.guard.admit_subject("juliet@example.org").await,
        Err(Stopped::Rate { retry_after }) if retry_after > Duration::ZERO && retry_after <= Duration::from_secs(60)
    ));
    assert!(subject.guard.admit_subject("romeo@example.org").await.is_ok());
    assert!(subject.metric(r#"plimsoll_rate_limited_total{by="address"} 1"#));
    assert!(subject.metric(r#"plimsoll_rate_limited_total{by="subject"} 1"#));
    allowed_networks_are_never_stopped(subject).await;
}

async fn zero_is_no_limit(subject: &Subject) {
    subject.fails("192.0.2.1", 200).await;
    for _ in 0..200 {
        assert!(subject.is_admitted("192.0.2.1").await);
        assert!(subject.guard.admit_subject("juliet@example.org").await.is_ok());
    }
}

/// Many at once bring about one ban, not none and not several.
async fn failures_at_once_make_one_ban(subject: &Subject) {
    let all = futures_util::future::join_all((0..3).map(|_| subject.guard.failed(ip("192.0.2.1")))).await;
    assert_eq!(all.iter().flatten().count(), 1, "{all:?}");
    assert!(!subject.is_admitted("192.0.2.1").await);
}

async fn contract(make: impl Fn(Limits) -> Subject) {
    too_many_failures_ban_for_a_time(&make(limits())).await;
    failures_are_forgotten_after_the_window(&make(limits())).await;
    ipv6_counts_by_64(&make(limits())).await;
    allowed_networks_are_never_stopped(&make(limits())).await;
    failures_at_once_make_one_ban(&make(limits())).await;
    let rates = Limits { requests_per_minute: 3, subject_requests_per_minute: 2, ..limits() };
    rates_are_kept(&make(rates)).await;
    zero_is_no_limit(&make(Limits { max_failures: 0, ..limits() })).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(memory).await;
}

fn node(server: &Redis, limits: Limits) -> Subject {
    let metrics = Metrics::new();
    let link = Link::new(&server.url(), TIMEOUT, Component::Abuse, Arc::clone(&metrics)).unwrap();
    let guard = RedisGuard::new(limits, link, Arc::new(SystemClock), Arc::clone(&metrics));
    Subject { guard: Box::new(guard), clock: None, metrics }
}

/// Limits whose bans outlast a test.
fn long_bans() -> Limits {
    Limits { failure_window: Duration::from_secs(600), ban: Duration::from_secs(900), ..limits() }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    // A server for each case, since they use the same addresses.
    let servers = std::sync::Mutex::new(Vec::new());
    contract(|limits| {
        let server = Redis::start();
        let subject = node(&server, limits);
        servers.lock().unwrap().push(server);
        subject
    })
    .await;
}

#[tokio::test]
async fn nodes_that_share_a_redis_count_together() {
    let server = Redis::start();
    let limits = Limits { requests_per_minute: 4, subject_requests_per_minute: 2, ..long_bans() };
    let (one, two) = (node(&server, limits.clone()), node(&server, limits));
    one.fails("192.0.2.1", 1).await;
    two.fails("192.0.2.1", 1).await;
    assert_eq!(one.guard.failed(ip("192.0.2.1")).await, Some(Duration::from_secs(900)));
    assert!(!two.is_admitted("192.0.2.1").await);
    for subject in [&one, &two, &one, &two] {
        assert!(subject.is_admitted("192.0.2.9").await);
    }
    assert!(!one.is_admitted("192.0.2.9").await && !two.is_admitted("192.0.2.9").await);
    assert!(one.guard.admit_subject("juliet@example.org").await.is_ok());
    assert!(two.guard.admit_subject("juliet@example.org").await.is_ok());
    assert!(two.guard.admit_subject("juliet@example.org").await.is_err());
    // Whoever starts a node anew finds the bans that are there.
    assert!(!node(&server, long_bans()).is_admitted("192.0.2.1").await);
}

#[tokio::test]
async fn every_key_in_redis_expires_and_none_holds_a_subject() {
    let server = Redis::start();
    let limits = Limits { requests_per_minute: 100, subject_requests_per_minute: 100, ..long_bans() };
    let subject = node(&server, limits);
    for n in 1..=3 {
        subject.guard.failed(ip("192.0.2.1")).await;
        subject.guard.failed(ip(&format!("192.0.2.{}", n + 10))).await;
        assert!(subject.is_admitted("2001:db8::1").await);
        assert!(subject.guard.admit_subject("juliet@example.org").await.is_ok());
    }
    let mut redis =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    assert_eq!(keys.len(), 6, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("plimsoll:abuse:{") && !key.contains("juliet"), "{key}");
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!((1..=900_000).contains(&left), "{key} {left}");
    }
}

/// Bans hold while Redis is away, nobody waits for it, and what was banned meanwhile stays so when it is back.
#[tokio::test]
async fn without_redis_it_counts_in_memory_and_with_it_again_in_redis() {
    let mut server = Redis::start();
    let (one, two) = (node(&server, long_bans()), node(&server, long_bans()));
    one.fails("192.0.2.1", 2).await;
    assert!(one.metric(r#"plimsoll_redis_degraded{part="abuse"} 0"#));
    server.kill();

    let from = Instant::now();
    for _ in 0..100 {
        assert!(one.is_admitted("192.0.2.1").await);
    }
    assert!(from.elapsed() < TIMEOUT * 2, "{:?}", from.elapsed());
    assert!(one.metric(r#"plimsoll_redis_degraded{part="abuse"} 1"#));
    assert!(one.metric(r#"plimsoll_redis_outages_total{part="abuse"} 1"#));
    one.fails("192.0.2.2", 2).await;
    assert!(one.guard.failed(ip("192.0.2.2")).await.is_some());
    assert!(!one.is_admitted("192.0.2.2").await);
    assert!(two.is_admitted("192.0.2.2").await, "nodes without Redis count each for itself");

    server.go_on();
    tokio::time::sleep(PROBE_EVERY + Duration::from_millis(100)).await;
    assert!(one.is_admitted("192.0.2.3").await && two.is_admitted("192.0.2.3").await);
    assert!(one.metric(r#"plimsoll_redis_degraded{part="abuse"} 0"#));
    assert!(!one.is_admitted("192.0.2.2").await, "the ban of the meantime");
    one.fails("192.0.2.4", 2).await;
    assert!(
        two.guard.failed(ip("192.0.2.4")).await.is_some(),
        "counting together again, by a script that was lost"
    );
    assert!(!one.is_admitted("192.0.2.4").await);
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_request_its_timeout_and_no_other_one() {
    let server = Redis::start();
    let subject = node(&server, Limits { requests_per_minute: 1_000, ..long_bans() });
    assert!(subject.is_admitted("192.0.2.1").await);
    server.freeze();
    let from = Instant::now();
    for _ in 0..50 {
        assert!(subject.is_admitted("192.0.2.1").await);
    }
    server.thaw();
    assert!(from.elapsed() >= TIMEOUT && from.elapsed() < TIMEOUT * 3, "{:?}", from.elapsed());
}

#[tokio::test]
async fn a_node_starts_while_redis_is_down() {
    let mut server = Redis::start();
    server.kill();
    let subject = node(&server, long_bans());
    subject.fails("192.0.2.1", 2).await;
    assert!(subject.guard.failed(ip("192.0.2.1")).await.is_some());
    assert!(!subject.is_admitted("192.0.2.1").await);
}
