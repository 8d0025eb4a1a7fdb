//! Failures, bans and rates of several nodes together, in Redis.
//!
//! ```text
//!   plimsoll:abuse:{192.0.2.1}:failures   a count; gone when failure_window is over, or by the ban
//!   plimsoll:abuse:{192.0.2.1}:ban        gone when the ban is over
//!   plimsoll:abuse:{192.0.2.1}:rate       a count; gone after a minute
//!   plimsoll:abuse:{HASH}:subject         a count; gone after a minute
//! ```
//!
//! Every key has an expiry from the moment it exists, so that Redis forgets by itself. Each step is one script, which
//! Redis runs as a whole: of failures that come at once on several nodes exactly one brings the ban about.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use redis::Script;
use sha2::{Digest as _, Sha256};

use super::{Guard, Limits, Stopped, memory::MemoryGuard, rate::counted_as};
use crate::{clock::Clock, fault::Fault, redis_link::Link, telemetry::Metrics};

const PREFIX: &str = "plimsoll:abuse:";
/// Rates are by the minute.
const RATE_WINDOW_MS: u64 = 60_000;

/// Keys: rate. Arguments: requests in a window, window in ms. Answer: for how many ms it has to wait.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local count = redis.call('INCR', KEYS[1])
        local left = redis.call('PTTL', KEYS[1])
        if left < 0 then
            left = tonumber(ARGV[2])
            redis.call('PEXPIRE', KEYS[1], left)
        end
        if count > tonumber(ARGV[1]) then return math.max(left, 1) end
        return 0",
    )
});

/// Keys: ban, failures. Arguments: failures that ban, their window and the ban in ms. Answer: 1 when this one did.
static FAILED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
        local count = redis.call('INCR', KEYS[2])
        if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
        if count < tonumber(ARGV[1]) then return 0 end
        redis.call('DEL', KEYS[2])
        redis.call('SET', KEYS[1], 1, 'PX', ARGV[3])
        return 1",
    )
});

/// Counts in Redis, and in memory while Redis is away. What was banned in memory stays banned here when Redis is back.
#[derive(Debug)]
pub struct RedisGuard {
    limits: Limits,
    link: Link,
    metrics: Arc<Metrics>,
    memory: MemoryGuard,
}

impl RedisGuard {
    /// Counts over this link.
    #[must_use]
    pub fn new(limits: Limits, link: Link, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let memory = MemoryGuard::new(limits.clone(), clock, Arc::clone(&metrics));
        Self { limits, link, metrics, memory }
    }

    /// How long to wait, in milliseconds; 0 when it need not.
    async fn wait(&self, rate: String, most: u32) -> Result<u64, Fault> {
        self.link
            .run("asking whether a request may go on", async move |mut redis| {
                ADMIT.key(rate).arg(most).arg(RATE_WINDOW_MS).invoke_async(&mut redis).await
            })
            .await
    }
}

fn key(of: &str, what: &str) -> String {
    format!("{PREFIX}{{{of}}}:{what}")
}

fn of_address(address: IpAddr, what: &str) -> String {
    key(&counted_as(address).to_string(), what)
}

/// For PEXPIRE, which refuses a time of zero.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX) * 1_000)
}

#[async_trait]
impl Guard for RedisGuard {
    async fn admit(&self, address: IpAddr) -> Result<(), Stopped> {
        let most = self.limits.requests_per_minute;
        if most == 0 || self.limits.allows(address) {
            return Ok(());
        }
        match self.wait(of_address(address, "rate"), most).await {
            Ok(0) => Ok(()),
            Ok(left) => {
                self.metrics.rate_limited("address");
                Err(Stopped::Rate { retry_after: Duration::from_millis(left) })
            }
            // The link has said so in the log, once.
            Err(_) => self.memory.admit(address).await,
        }
    }

    async fn admit_subject(&self, subject: &str) -> Result<(), Stopped> {
        let most = self.limits.subject_requests_per_minute;
        if most == 0 {
            return Ok(());
        }
        // Hashed, since a subject may be long.
        let hash: String =
            Sha256::digest(subject.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        match self.wait(key(&hash, "subject"), most).await {
            Ok(0) => Ok(()),
            Ok(left) => {
                self.metrics.rate_limited("subject");
                Err(Stopped::Rate { retry_after: Duration::from_millis(left) })
            }
            Err(_) => self.memory.admit_subject(subject).await,
        }
    }

    async fn banned_for(&self, address: IpAddr) -> Option<Duration> {
        if self.limits.max_failures == 0 || self.limits.allows(address) {
            return None;
        }
        if let Some(left) = self.memory.ban_left(address) {
            return Some(left);
        }
        let ban = of_address(address, "ban");
        let asking = self.link.run("looking for a ban", async move |mut redis| {
            redis::cmd("PTTL").arg(ban).query_async::<i64>(&mut redis).await
        });
        // Without Redis the bans of memory count, and there is none.
        let left = u64::try_from(asking.await.ok()?).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left).min(self.limits.ban))
    }

    async fn failed(&self, address: IpAddr) -> Option<Duration> {
        let Limits { max_failures, failure_window, ban, .. } = self.limits;
        if max_failures == 0 || self.limits.allows(address) || self.memory.ban_left(address).is_some() {
            return None;
        }
        let keys = (of_address(address, "ban"), of_address(address, "failures"));
        let counted = self.link.run("counting a failure", async move |mut redis| {
            FAILED
                .key(keys.0)
                .key(keys.1)
                .arg(max_failures)
                .arg(millis(failure_window))
                .arg(millis(ban))
                .invoke_async::<bool>(&mut redis)
                .await
        });
        match counted.await {
            Ok(true) => {
                self.metrics.banned();
                Some(ban)
            }
            Ok(false) => None,
            Err(_) => self.memory.failed(address).await,
        }
    }
}
