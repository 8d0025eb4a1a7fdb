//! Phones that change their network in mid-upload, in network namespaces with two links (see `net.rs`).
//!
//! ```text
//!   ask with the live token (session) ──> send over one link ──> it goes: silence, reset or close ──┐
//!                                           ^                                                       │
//!                                           └── ask, with a session, over the other link <──────────┘
//! ```
//!
//! The server sees real addresses come and go, half-open sockets that never end, and late packets of sockets that were
//! thought dead. Tokens expire after three seconds or a little more, so most of the way is gone with sessions.
//!
//! `PLIMSOLL_SWITCH_MINUTES` sets how long the phones that switch every ten seconds do so (without it they switch every
//! second for 15 s) and `PLIMSOLL_SWITCH_SEED` repeats the choices of an earlier run.

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
mod crowd;
mod line;
mod net;
mod one_phone;
mod phone;
mod roads;
mod upload;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use common::{env_number, redis::Redis};
use crowd::{Cuts, Plan};
use net::{Link, Net};
use upload::Dialect;

#[test]
fn a_plain_put_whose_link_dies_is_gone_on_with_by_ranged_put() {
    one_phone::upload(&[Dialect::Plain, Dialect::Ranged]);
}

#[test]
fn a_ranged_put_whose_link_dies_is_gone_on_with() {
    one_phone::upload(&[Dialect::Ranged, Dialect::Ranged]);
}

#[test]
fn a_tus_patch_whose_link_dies_is_gone_on_with() {
    one_phone::upload(&[Dialect::Tus, Dialect::Tus]);
}

#[test]
fn an_upload_goes_on_in_another_dialect_on_each_link() {
    one_phone::upload(&[Dialect::Plain, Dialect::Tus, Dialect::Ranged, Dialect::Tus]);
}

#[test]
fn a_thousand_phones_switch_at_random_and_the_server_is_killed_meanwhile() {
    let _alone = one_crowd_at_a_time();
    let plan = Plan {
        name: "a thousand",
        phones: 1000,
        sizes: 150 << 10..300 << 10,
        cuts: Cuts::AtRandom,
        pace: 20 << 10,
        seed: seed(),
    };
    let net = Net::new();
    crowd::run(&net, &crowd::setup(&net), &plan, Some(Box::new(|server| server.kill().start())));
}

#[test]
fn a_hundred_phones_switch_again_and_again() {
    /// Bytes in a second between two switches.
    const PART: u64 = 16 << 10;
    let _alone = one_crowd_at_a_time();
    let (times, seconds_each) = match env_number("PLIMSOLL_SWITCH_MINUTES", 0) {
        0 => (15, 1),
        minutes => (minutes * 6, 10),
    };
    let part = PART * seconds_each;
    let size = part * (times + 1);
    let plan = Plan {
        name: "a hundred",
        phones: 100,
        sizes: size..size + 1,
        cuts: Cuts::Even(times),
        // A fifth of a second a switch is spent without a network.
        pace: part * 10 / (seconds_each * 10 - 2),
        seed: seed(),
    };
    println!("a hundred: {times} switches of each phone, {seconds_each} s apart");
    let net = Net::new();
    crowd::run(&net, &crowd::setup(&net), &plan, None);
}

#[test]
fn redis_dies_in_mid_run_and_no_upload_is_lost() {
    let _alone = one_crowd_at_a_time();
    let plan = Plan {
        name: "without redis",
        phones: 200,
        sizes: 200 << 10..400 << 10,
        cuts: Cuts::AtRandom,
        pace: 40 << 10,
        seed: seed(),
    };
    let net = Net::new();
    let mut redis = Redis::start();
    let setup = crowd::setup(&net).key("SESSION__BACKEND", "redis").key("REDIS__URL", redis.url());
    let kill_redis = Box::new(move |server| {
        redis.kill();
        server
    });
    let server = crowd::run(&net, &setup, &plan, Some(kill_redis));
    let (degraded, outages) = net.among_phones(|| async {
        let degraded = line::metric(Link::Wifi, r#"plimsoll_redis_degraded{part="sessions"}"#).await;
        (degraded, line::metric(Link::Wifi, r#"plimsoll_redis_outages_total{part="sessions"}"#).await)
    });
    assert_eq!((degraded, outages), (1.0, 1.0), "the outage is there, and was counted");
    drop(server);
}

/// Two crowds at once would measure each other.
fn one_crowd_at_a_time() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seed() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a fresh seed for every run; it is printed and can be set")]
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env_number("PLIMSOLL_SWITCH_SEED", clock % 1_000_000_007);
    println!("PLIMSOLL_SWITCH_SEED={seed}");
    seed
}
