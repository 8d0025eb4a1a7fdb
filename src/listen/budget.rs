//! A bounded quantity that parts of the program take from and give back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Units (bytes, descriptors) of which at most `total` are taken at a time.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    taken: AtomicU64,
}

impl Budget {
    /// With this many units.
    #[must_use]
    pub fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, taken: AtomicU64::new(0) })
    }

    /// Take `units`, which go back when the share is dropped; `None` when so many are not left.
    #[must_use]
    pub fn take(self: &Arc<Self>, units: u64) -> Option<Share> {
        let grown = |taken: u64| taken.checked_add(units).filter(|sum| *sum <= self.total);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).ok()?;
        Some(Share { budget: Arc::clone(self), units })
    }

    /// Whether all of it is taken.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.taken() >= self.total
    }

    /// Units that are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
}

/// A part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    units: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.units, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_it_has_and_takes_it_back() {
        let budget = Budget::new(10);
        let most = budget.take(7).expect("seven of ten");
        assert!(budget.take(4).is_none() && budget.take(u64::MAX).is_none());
        let rest = budget.take(3).expect("three are left");
        assert!(budget.is_used_up());
        drop(most);
        assert!(budget.take(7).is_some());
        drop(rest);
        assert_eq!(budget.taken(), 0);
    }
}
