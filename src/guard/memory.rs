//! Failures, bans and rates of one process, in memory.
//!
//! Nothing here is written down: a restart forgets every ban. All memory is bounded, see [`rate`](super::rate).

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Guard, Limits, Stopped,
    rate::{MOST_KEYS, Rate, counted_as},
};
use crate::{
    clock::{Clock, Timestamp},
    telemetry::Metrics,
};

/// Counts in this process. Bans go by the clock that it is given, rates by the machine's steady one.
#[derive(Debug)]
pub struct MemoryGuard {
    limits: Limits,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    addresses: Rate,
    subjects: Rate,
    /// Networks at most in each of the two tables below; a further one makes the one go that ends first.
    room: usize,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// How often a network failed, until the window that began with its first failure is over.
    failures: Expiring<u32>,
    /// Banned networks, until they no longer are.
    bans: Expiring<()>,
}

impl MemoryGuard {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self::with_room(limits, clock, metrics, MOST_KEYS)
    }

    fn with_room(limits: Limits, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, room: usize) -> Self {
        Self {
            addresses: Rate::with_room(limits.requests_per_minute, room),
            subjects: Rate::with_room(limits.subject_requests_per_minute, room),
            limits,
            clock,
            metrics,
            room,
            tables: Mutex::default(),
        }
    }

    /// The tables as they are now: what has ended is gone.
    fn tables(&self, now: Timestamp) -> MutexGuard<'_, Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.failures.expire(now);
        if tables.bans.expire(now) > 0 {
            self.show(&tables);
        }
        tables
    }

    fn show(&self, tables: &Tables) {
        self.metrics.banned_addresses(tables.bans.len());
    }

    /// See [`Guard::banned_for`].
    pub(super) fn ban_left(&self, address: IpAddr) -> Option<Duration> {
        if self.limits.max_failures == 0 || self.limits.allows(address) {
            return None;
        }
        let now = self.clock.now();
        let until = self.tables(now).bans.until(&counted_as(address))?;
        // The clock may have been set back meanwhile.
        Some(until.since(now).min(self.limits.ban))
    }
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn admit(&self, address: IpAddr) -> Result<(), Stopped> {
        if self.limits.allows(address) {
            return Ok(());
        }
        self.addresses.count_address(address).map_err(|retry_after| {
            self.metrics.rate_limited("address");
            Stopped::Rate { retry_after }
        })
    }

    async fn admit_subject(&self, subject: &str) -> Result<(), Stopped> {
        self.subjects.count_subject(subject).map_err(|retry_after| {
            self.metrics.rate_limited("subject");
            Stopped::Rate { retry_after }
        })
    }

    async fn banned_for(&self, address: IpAddr) -> Option<Duration> {
        self.ban_left(address)
    }

    async fn failed(&self, address: IpAddr) -> Option<Duration> {
        let Limits { max_failures, failure_window, ban, .. } = self.limits;
        if max_failures == 0 || self.limits.allows(address) || self.ban_left(address).is_some() {
            return None;
        }
        let now = self.clock.now();
        let mut tables = self.tables(now);
        let key = counted_as(address);
        let count = match tables.failures.get_mut(&key) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                // [ENG-151] those that end first make room
                tables.failures.make_room(self.room);
                tables.failures.set(key, now.plus(failure_window), 1);
                1
            }
        };
        if count < max_failures {
            return None;
        }
        tables.failures.remove(&key);
        tables.bans.make_room(self.room);
        tables.bans.set(key, now.plus(ban), ());
        self.show(&tables);
        self.metrics.banned();
        Some(ban)
    }
}

/// Values that end at a moment of their own.
#[derive(Debug)]
struct Expiring<V> {
    values: HashMap<IpAddr, (Timestamp, V)>,
    ends: BTreeSet<(Timestamp, IpAddr)>,
}

impl<V> Default for Expiring<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), ends: BTreeSet::new() }
    }
}

impl<V> Expiring<V> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn until(&self, key: &IpAddr) -> Option<Timestamp> {
        self.values.get(key).map(|(until, _)| *until)
    }

    fn get_mut(&mut self, key: &IpAddr) -> Option<&mut V> {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    fn set(&mut self, key: IpAddr, until: Timestamp, value: V) {
        self.remove(&key);
        self.values.insert(key, (until, value));
        self.ends.insert((until, key));
    }

    fn remove(&mut self, key: &IpAddr) {
        if let Some((until, _)) = self.values.remove(key) {
            self.ends.remove(&(until, *key));
        }
    }

    /// Forgets those that end first, until one more fits in.
    fn make_room(&mut self, room: usize) {
        while self.values.len() >= room.max(1)
            && let Some((_, key)) = self.ends.pop_first()
        {
            self.values.remove(&key);
        }
    }

    /// Removes what has ended at `now`; how many.
    fn expire(&mut self, now: Timestamp) -> usize {
        let before = self.values.len();
        while let Some((until, key)) = self.ends.first().copied()
            && until <= now
        {
            self.ends.remove(&(until, key));
            self.values.remove(&key);
        }
        before - self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::clock::ManualClock;

    fn of_the_same_32(n: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(n) << 64) | 1))
    }

    struct Site {
        clock: Arc<ManualClock>,
        metrics: Arc<Metrics>,
        guard: MemoryGuard,
    }

    fn site(room: usize) -> Site {
        let limits = Limits {
            max_failures: 3,
            failure_window: Duration::from_secs(600),
            ban: Duration::from_secs(900),
            ..Limits::default()
        };
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let metrics = Metrics::new();
        let guard =
            MemoryGuard::with_room(limits, Arc::<ManualClock>::clone(&clock), Arc::clone(&metrics), room);
        Site { clock, metrics, guard }
    }

    fn sizes(guard: &MemoryGuard) -> (usize, usize) {
        let tables = guard.tables.lock().unwrap();
        assert_eq!(tables.failures.values.len(), tables.failures.ends.len());
        assert_eq!(tables.bans.values.len(), tables.bans.ends.len());
        (tables.failures.len(), tables.bans.len())
    }

    #[tokio::test]
    async fn a_table_without_room_forgets_the_oldest_and_bans_nobody_for_a_neighbour() {
        // [ENG-151]
        let Site { clock, guard, .. } = site(100);
        for n in 0..10_000 {
            guard.failed(of_the_same_32(n)).await;
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(sizes(&guard), (100, 0));
        for n in 9_990..10_000 {
            guard.failed(of_the_same_32(n)).await;
            assert!(guard.failed(of_the_same_32(n)).await.is_some(), "{n} is still counted");
        }
        for n in [0, 1, 9_989, 99_999] {
            assert_eq!(guard.banned_for(of_the_same_32(n)).await, None, "{n}");
        }
        clock.advance(Duration::from_secs(900));
        assert_eq!(guard.banned_for(of_the_same_32(9_999)).await, None);
    }

    #[tokio::test]
    async fn bans_without_room_forget_the_oldest_ban() {
        let Site { clock, guard, .. } = site(50);
        for n in 0..1_000_u32 {
            for _ in 0..3 {
                guard.failed(of_the_same_32(n)).await;
            }
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(sizes(&guard), (0, 50));
        assert_eq!(guard.banned_for(of_the_same_32(949)).await, None);
        assert!(guard.banned_for(of_the_same_32(950)).await.is_some());
    }

    #[tokio::test]
    async fn a_ban_is_counted_and_shown_until_it_ends() {
        let Site { clock, metrics, guard } = site(100);
        let shows = |line: &str| metrics.render().lines().any(|found| found == line);
        let address = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            guard.failed(address).await;
        }
        assert!(shows("plimsoll_bans_total 1") && shows("plimsoll_banned_addresses 1"));
        clock.advance(Duration::from_secs(900));
        assert_eq!(guard.banned_for(address).await, None);
        assert!(shows("plimsoll_bans_total 1") && shows("plimsoll_banned_addresses 0"));
    }

    #[tokio::test]
    async fn a_clock_set_back_prolongs_no_answer_beyond_the_length_of_a_ban() {
        let Site { clock, guard, .. } = site(100);
        let address = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            guard.failed(address).await;
        }
        clock.set(Timestamp(0));
        assert_eq!(guard.banned_for(address).await, Some(Duration::from_secs(900)));
    }
}
