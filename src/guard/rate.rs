//! Rates that are counted in memory, with a bound on that memory.
//!
//! Who holds an IPv6 /32 has four thousand million networks of 64 bits to come from. When there is no room for one more,
//! all counts are forgotten: each costs such a client a request, and gives nobody more than one burst anew. Rejected: to
//! count the new ones together by the larger network that they lie in. Strangers then pay for each other.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// Keys that are counted at the same time; about 100 bytes each.
pub(super) const MOST_KEYS: usize = 100_000;

/// What an address counts as: IPv6 by /64, since a single customer holds one, and IPv4 mapped into IPv6 as IPv4.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

/// So many a minute by key, of which as many may come at once.
#[derive(Debug)]
pub struct Rate(Option<Counters>);

#[derive(Debug)]
struct Counters {
    addresses: Keyed<IpAddr>,
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
            addresses: Keyed::new(count, most),
            subjects: Keyed::new(count, most),
            hasher: RandomState::new(),
        }))
    }

    /// Count a request of an address.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub fn count_address(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(Counters { addresses, .. }) = &self.0 else { return Ok(()) };
        addresses.count(&counted_as(address))
    }

    /// Count a request of a subject.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub fn count_subject(&self, subject: &str) -> Result<(), Duration> {
        let Some(Counters { subjects, hasher, .. }) = &self.0 else { return Ok(()) };
        subjects.count(&hasher.hash_one(subject))
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.addresses.len() + all.subjects.len())
    }
}

#[derive(Debug)]
struct Keyed<K: Clone + Eq + std::hash::Hash> {
    limiter: RwLock<DefaultKeyedRateLimiter<K>>,
    quota: Quota,
    most: usize,
}

impl<K: Clone + Eq + std::hash::Hash> Keyed<K> {
    fn new(count: NonZeroU32, most: usize) -> Self {
        let quota = Quota::per_minute(count);
        Self { limiter: RwLock::new(RateLimiter::keyed(quota)), quota, most }
    }

    fn count(&self, key: &K) -> Result<(), Duration> {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let limiter = if limiter.len() < self.most {
            limiter
        } else {
            drop(limiter);
            self.forget();
            self.limiter.read().unwrap_or_else(PoisonError::into_inner)
        };
        let checked = limiter.check_key(key);
        checked.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// [ENG-151] those that have run out, or, where that makes no room, all of them
    fn forget(&self) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        // Another one may have done it meanwhile.
        if limiter.len() < self.most {
            return;
        }
        limiter.retain_recent();
        // Looking at all of them is not to be had for each request.
        if limiter.len() > self.most / 2 {
            *limiter = RateLimiter::keyed(self.quota);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.limiter.read().unwrap_or_else(PoisonError::into_inner).len()
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
    fn a_32_of_ipv6_grows_the_memory_to_its_bound_and_limits_no_neighbour() {
        // [ENG-151]
        let rate = Rate::with_room(3, 1_000);
        for n in 0..20_000 {
            assert!(rate.count_address(of_the_same_32(n)).is_ok(), "{n} has asked once");
            assert!(rate.keys() <= 1_000, "{}", rate.keys());
        }
        // What is still counted is counted each by itself.
        let busy = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!((0..10).filter(|_| rate.count_address(busy).is_ok()).count(), 3);
        assert!(rate.count_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))).is_ok());
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
