//! Leases of one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::{Holder, Lease, Leases, Taken};
use crate::{fault::Fault, upload::Name};

/// A holder, and the one it waits for where that did not end in time.
#[derive(Clone, Debug)]
struct Place {
    holder: Arc<Holder>,
    /// Holders before this one that have not been seen to finish.
    before: Vec<Arc<Holder>>,
}

type Places = Arc<Mutex<HashMap<Name, Place>>>;

/// See the module's page.
#[derive(Debug, Default)]
pub struct LocalLeases {
    places: Places,
}

impl LocalLeases {
    /// No one holds anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Gives a place back.
#[derive(Debug)]
pub(super) struct Release {
    places: Places,
    name: Name,
    before: Vec<Arc<Holder>>,
}

impl Release {
    /// A holder that was waited for in vain gets its place back, so that the next comer waits for it too.
    pub(super) fn now(mut self, holder: &Arc<Holder>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.get(&self.name).is_some_and(|place| Arc::ptr_eq(&place.holder, holder)) {
            places.remove(&self.name);
            self.before.retain(|older| !older.finished.is_cancelled());
            if let Some(holder) = self.before.pop() {
                places.insert(self.name, Place { holder, before: self.before });
            }
        }
    }
}

#[async_trait]
impl Leases for LocalLeases {
    // [ENG-3] the newest comer takes the place at once; older ones are told to end and waited for
    async fn take(&self, name: &Name, patience: Duration) -> Result<Taken, Fault> {
        let (holder, checkpoints) = Holder::new();
        let before = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let mut before = Vec::new();
            if let Some(old) = places.remove(name) {
                before = old.before;
                before.push(old.holder);
                before.retain(|h| !h.finished.is_cancelled());
            }
            places.insert(name.clone(), Place { holder: Arc::clone(&holder), before: before.clone() });
            before
        };
        let release =
            Release { places: Arc::clone(&self.places), name: name.clone(), before: before.clone() };
        let lease = Lease { holder, checkpoints, took_over: !before.is_empty(), release: Some(release) };
        let deadline = Instant::now() + patience;
        for older in &before {
            older.end();
        }
        for older in &before {
            if timeout_at(deadline, older.finished()).await.is_err() {
                return Ok(Taken::TimedOut);
            }
        }
        Ok(if lease.is_ended() { Taken::Superseded } else { Taken::Held(lease) })
    }

    fn holder(&self, name: &Name) -> Option<Arc<Holder>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(name).map(|place| Arc::clone(&place.holder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    fn name() -> Name {
        Name("/upload/a/b".into())
    }

    fn held(taken: Taken) -> Lease {
        match taken {
            Taken::Held(lease) => lease,
            other @ (Taken::Superseded | Taken::TimedOut) => panic!("not held: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_the_holder_has_let_go() {
        let leases = Arc::new(LocalLeases::new());
        let old = held(leases.take(&name(), LONG).await.unwrap());
        assert!(!old.took_over);
        let newcomer = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.take(&name(), LONG).await.unwrap() }
        });
        old.ended().await;
        assert!(!newcomer.is_finished());
        drop(old);
        let new = held(newcomer.await.unwrap());
        assert!(new.took_over && !new.is_ended());
    }

    #[tokio::test]
    async fn of_two_that_wait_the_newer_one_holds() {
        let leases = Arc::new(LocalLeases::new());
        let first = held(leases.take(&name(), LONG).await.unwrap());
        let take =
            |leases: Arc<LocalLeases>| tokio::spawn(async move { leases.take(&name(), LONG).await.unwrap() });
        let second = take(Arc::clone(&leases));
        first.ended().await;
        let waiting = leases.holder(&name()).unwrap();
        let third = take(Arc::clone(&leases));
        waiting.ended.cancelled().await;
        drop(first);
        assert!(matches!(second.await.unwrap(), Taken::Superseded));
        assert!(held(third.await.unwrap()).took_over);
    }

    #[tokio::test]
    async fn a_holder_that_does_not_end_keeps_everyone_out_until_it_does() {
        let leases = LocalLeases::new();
        let stuck = held(leases.take(&name(), LONG).await.unwrap());
        for _ in 0..2 {
            assert!(matches!(leases.take(&name(), Duration::from_millis(5)).await.unwrap(), Taken::TimedOut));
        }
        drop(stuck);
        assert!(!held(leases.take(&name(), LONG).await.unwrap()).is_ended());
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_a_name_after_its_lease() {
        let leases = LocalLeases::new();
        let stuck = held(leases.take(&name(), LONG).await.unwrap());
        let _ = leases.take(&name(), Duration::from_millis(1)).await.unwrap();
        drop(stuck);
        let lease = held(leases.take(&name(), LONG).await.unwrap());
        drop(lease);
        assert!(leases.places.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_checkpoint_asked_of_an_ended_writer_returns() {
        let leases = LocalLeases::new();
        let lease = held(leases.take(&name(), LONG).await.unwrap());
        let holder = leases.holder(&name()).unwrap();
        drop(lease);
        tokio::time::timeout(LONG, holder.checkpoint()).await.unwrap();
        assert!(leases.holder(&name()).is_none());
    }
}
