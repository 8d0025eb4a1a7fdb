//! How often an address may create uploads without a grant, and who waits for a turn.
//!
//! Stock tus clients give a file up at 429, and a batch of small files comes faster than any sensible rate. So a creation
//! that is one too many waits for its turn, as long as that is near and not too many wait already.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::peer::Limiter;
use crate::guard::rate::counted_as;

/// Creations of one address that wait at the same time: more than any client sends at once.
const MOST_OF_ONE: u32 = 128;
/// Creations that wait at the same time in all.
const MOST: u32 = 1024;

/// The rate, and the creations that wait.
#[derive(Debug)]
pub struct CreationRate {
    limiter: Limiter,
    patience: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    of: HashMap<IpAddr, u32>,
    all: u32,
}

/// A place among those who wait; given back when it is dropped.
struct Seat<'a> {
    waiting: &'a Mutex<Waiting>,
    of: IpAddr,
}

impl<'a> Seat<'a> {
    fn take(waiting: &'a Mutex<Waiting>, address: IpAddr) -> Option<Self> {
        let of = counted_as(address);
        let mut held = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.of.get(&of).copied().unwrap_or_default();
        if held.all >= MOST || own >= MOST_OF_ONE {
            return None;
        }
        held.all += 1;
        held.of.insert(of, own + 1);
        drop(held);
        Some(Self { waiting, of })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut held = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        let left = held.of.get(&self.of).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            held.of.remove(&self.of);
        } else {
            held.of.insert(self.of, left);
        }
    }
}

impl CreationRate {
    /// So many a minute, of which as many may come at once, and 0 for no limit; one too many waits this long at most.
    #[must_use]
    pub fn new(per_minute: u32, patience: Duration) -> Self {
        Self { limiter: Limiter::per_minute(per_minute), patience, waiting: Mutex::default() }
    }

    /// [TUS-94] Count one creation, after waiting for its turn if need be.
    ///
    /// # Errors
    /// How long to wait, where that is too long to do it here.
    pub async fn turn(&self, address: IpAddr) -> Result<(), Duration> {
        let deadline = Instant::now() + self.patience;
        let mut seat = None;
        loop {
            let Err(wait) = self.limiter.count(address) else { return Ok(()) };
            // [TUS-127]
            if wait > deadline.saturating_duration_since(Instant::now()) {
                return Err(wait);
            }
            if seat.is_none() {
                seat = Some(Seat::take(&self.waiting, address).ok_or(wait)?);
            }
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn one_too_many_waits_where_its_turn_is_near_and_is_refused_where_it_is_not() {
        // A turn comes each 50 ms.
        let near = CreationRate::new(1200, Duration::from_secs(60));
        for _ in 0..1203 {
            near.turn(ip("192.0.2.1")).await.unwrap();
        }
        // A turn comes each 30 s.
        let far = CreationRate::new(2, Duration::from_secs(10));
        far.turn(ip("192.0.2.1")).await.unwrap();
        far.turn(ip("192.0.2.1")).await.unwrap();
        assert!(far.turn(ip("192.0.2.1")).await.unwrap_err() > Duration::from_secs(10));
        far.turn(ip("192.0.2.2")).await.unwrap();
    }

    #[test]
    fn those_who_wait_are_bounded_by_address_and_in_all() {
        let waiting = Mutex::default();
        let seats: Vec<_> =
            (0..MOST_OF_ONE).map(|_| Seat::take(&waiting, ip("192.0.2.1")).unwrap()).collect();
        assert!(Seat::take(&waiting, ip("192.0.2.1")).is_none());
        drop(seats);
        let all: Vec<_> = (0..MOST).map(|n| Seat::take(&waiting, IpAddr::V4(n.into())).unwrap()).collect();
        assert!(Seat::take(&waiting, ip("198.51.100.1")).is_none());
        drop(all);
        assert!(waiting.lock().unwrap().of.is_empty());
        assert!(Seat::take(&waiting, ip("198.51.100.1")).is_some());
    }
}
