//! Who may open a further connection: a bound by address, so that one client cannot take what all share.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{config::Cidr, guard::rate::counted_as};

/// Counts connections by address; IPv6 by /64.
#[derive(Debug)]
pub struct Admission {
    per_address: u32,
    exempt: Vec<Cidr>,
    open: Mutex<HashMap<IpAddr, u32>>,
}

impl Admission {
    /// At most `per_address` each, 0 for no bound, and no bound for `exempt`.
    #[must_use]
    pub fn new(per_address: u32, exempt: Vec<Cidr>) -> Arc<Self> {
        Arc::new(Self { per_address, exempt, open: Mutex::default() })
    }

    /// [ENG-121] Count a connection of `address` until the entry is dropped; `None` when it is one too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Entry> {
        let is_exempt = self.per_address == 0 || self.exempt.iter().any(|net| net.contains(address));
        if is_exempt {
            return Some(Entry { admission: None, key: address });
        }
        let key = counted_as(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Entry { admission: Some(Arc::clone(self)), key })
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Entry {
    admission: Option<Arc<Admission>>,
    key: IpAddr,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(admission) = &self.admission else { return };
        let mut open = admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_the_connections_of_the_others() {
        let admission = Admission::new(2, Vec::new());
        let held = [admission.enter(ip("192.0.2.1")), admission.enter(ip("::ffff:192.0.2.1"))];
        assert!(held.iter().all(Option::is_some));
        assert!(admission.enter(ip("192.0.2.1")).is_none());
        assert!(admission.enter(ip("192.0.2.2")).is_some());
        drop(held);
        assert!(admission.enter(ip("192.0.2.1")).is_some());
        assert!(admission.open.lock().unwrap().is_empty(), "nothing stays behind");
    }

    #[test]
    fn ipv6_counts_by_64_bits() {
        let admission = Admission::new(1, Vec::new());
        let _held = admission.enter(ip("2001:db8::1")).unwrap();
        assert!(admission.enter(ip("2001:db8::ffff")).is_none());
        assert!(admission.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn trusted_addresses_and_a_bound_of_zero_have_no_bound() {
        let admission = Admission::new(1, vec![Cidr::parse("127.0.0.0/8").unwrap()]);
        let held: Vec<_> = (0..5).map(|_| admission.enter(ip("127.0.0.9"))).collect();
        assert!(held.iter().all(Option::is_some));
        let unbounded = Admission::new(0, Vec::new());
        let held: Vec<_> = (0..5).map(|_| unbounded.enter(ip("192.0.2.1"))).collect();
        assert!(held.iter().all(Option::is_some));
    }
}
