//! Rates that are counted in memory, with a bound on that memory.
//!
//! Who holds an IPv6 /32 has four thousand million networks of 64 bits to come from. While there is room each is counted
//! by itself; when there is none, those that are new are counted together by the larger network that they lie in.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// Keys that are counted at the same time; about 100 bytes each.
pub(super) const MOST_KEYS: usize = 100_000;
/// Counters that have run out are looked for at most so often when there is no room.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// What an address counts as: IPv6 by /64, since a single customer holds one, and IPv4 mapped into IPv6 as IPv4.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

/// What an address counts as when there is no room for it alone: IPv4 by /16, IPv6 by /32, the least that a registry
/// gives to a provider.
pub(super) fn counted_roughly_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() >> 16 << 16).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 96 << 96).into()),
    }
}

/// So many a minute by key, of which as many may come at once.
#[derive(Debug)]
pub struct Rate(Option<Counters>);

#[derive(Debug)]
struct Counters {
    fine: Keyed<IpAddr>,
    rough: Keyed<IpAddr>,
    subjects: Keyed<u64>,
    /// Subjects are counted by a keyed hash: they may be long, and nobody can choose two that collide.
    hasher: RandomState,
}

impl Rate {
    /// 0 for no limit.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self::with_room(count, MOST_KEYS)
    }

    pub(super) fn with_room(count: u32, most: usize) -> Self {
        Self(NonZeroU32::new(count).map(|count| Counters {
            fine: Keyed::new(count, most),
            rough: Keyed::new(count, most),
            subjects: Keyed::new(count, most),
            hasher: RandomState::new(),
        }))
    }

    /// Count a request of an address.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub fn count_address(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(Counters { fine, rough, .. }) = &self.0 else { return Ok(()) };
        let counted = fine.count(&counted_as(address)).or_else(|| rough.count(&counted_roughly_as(address)));
        // With no room left even for providers nobody can be told from anybody, and so nobody is turned away.
        counted.unwrap_or(Ok(()))
    }

    /// Count a request of a subject. One that there is no room for is not counted: it has shown a credential.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub fn count_subject(&self, subject: &str) -> Result<(), Duration> {
        let Some(Counters { subjects, hasher, .. }) = &self.0 else { return Ok(()) };
        subjects.count(&hasher.hash_one(subject)).unwrap_or(Ok(()))
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |all| all.fine.limiter.len() + all.rough.limiter.len() + all.subjects.limiter.len())
    }
}

#[derive(Debug)]
struct Keyed<K: Clone + Eq + std::hash::Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    most: usize,
    started: <DefaultClock as governor::clock::Clock>::Instant,
    /// Milliseconds after `started` before which no sweep is worth it.
    next_sweep: AtomicU64,
}

impl<K: Clone + Eq + std::hash::Hash> Keyed<K> {
    fn new(count: NonZeroU32, most: usize) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(count));
        Self { limiter, most, started: DefaultClock::default().now(), next_sweep: AtomicU64::new(0) }
    }

    /// None when there is no room for a key that may be new.
    fn count(&self, key: &K) -> Option<Result<(), Duration>> {
        if self.limiter.len() >= self.most {
            self.sweep();
            if self.limiter.len() >= self.most {
                return None;
            }
        }
        let checked = self.limiter.check_key(key);
        Some(checked.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now())))
    }

    fn sweep(&self) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let since_start = DefaultClock::default().now().duration_since(self.started);
        let (now, due) = (millis(since_start), self.next_sweep.load(Ordering::Relaxed));
        let next = now.saturating_add(millis(BETWEEN_SWEEPS));
        let is_mine = now >= due
            && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn of_the_same_32(n: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(n) << 64) | 1))
    }

    #[test]
    fn ipv6_counts_by_64_and_mapped_ipv4_as_ipv4() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_32_of_ipv6_grows_the_memory_to_its_bound_and_is_then_counted_as_one() {
        let rate = Rate::with_room(3, 1_000);
        let admitted = (0..20_000).filter(|n| rate.count_address(of_the_same_32(*n)).is_ok()).count();
        assert!(rate.keys() <= 1_001, "{}", rate.keys());
        assert_eq!(admitted, 1_000 + 3);
        // A network that lies elsewhere has its own count.
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(rate.count_address(elsewhere).is_ok());
    }

    #[test]
    fn subjects_are_counted_each_by_itself_within_a_bound() {
        let rate = Rate::with_room(2, 100);
        assert!(
            rate.count_subject("juliet@example.org").is_ok()
                && rate.count_subject("juliet@example.org").is_ok()
        );
        assert!(rate.count_subject("juliet@example.org").unwrap_err() <= Duration::from_secs(30));
        assert!(rate.count_subject("romeo@example.org").is_ok());
        for n in 0..1_000 {
            assert!(rate.count_subject(&format!("{n}@example.org")).is_ok());
        }
        assert!(rate.keys() <= 100);
    }
}
