//! Sessions that nobody has named yet, and that nobody needs: those of plain PUTs that were complete in one request. Most
//! clients that send such a PUT know nothing of sessions, so these are kept in memory until one is named.
//!
//! Rejected: to store them like all others. It was measured at 85 per cent more CPU for a PUT of 4 KiB.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Session, SessionKey};
use crate::clock::Timestamp;

/// Sessions kept, some 15 MB of them. Beyond that the oldest go.
const ROOM: usize = 16_384;

#[derive(Debug, Default)]
struct Kept {
    sessions: HashMap<SessionKey, Session>,
    /// When each has had its time, soonest first.
    ends: VecDeque<(Timestamp, SessionKey)>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Unclaimed {
    age: Duration,
    room: usize,
    kept: Mutex<Kept>,
    /// Held while one is brought into the store, so that nobody looks for it in between.
    pub(super) claiming: tokio::sync::Mutex<()>,
}

impl Unclaimed {
    pub(super) fn new(age: Duration) -> Self {
        Self { age, room: ROOM, kept: Mutex::default(), claiming: tokio::sync::Mutex::default() }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keep a session that was opened at `now`; until when.
    pub(super) fn put(&self, session: Session, now: Timestamp) -> Timestamp {
        let until = now.plus(self.age).min(session.expires_at);
        self.with(|kept| {
            kept.forget_ended(now);
            while kept.sessions.len() >= self.room
                && let Some((_, oldest)) = kept.ends.pop_front()
            {
                kept.sessions.remove(&oldest);
            }
            kept.ends.push_back((until, session.key.clone()));
            kept.sessions.insert(session.key.clone(), session);
        });
        until
    }

    /// The session with this key, if it has not had its time.
    pub(super) fn get(&self, key: &SessionKey, now: Timestamp) -> Option<Session> {
        self.with(|kept| {
            kept.forget_ended(now);
            kept.sessions.get(key).cloned()
        })
    }

    /// It is in the store now.
    pub(super) fn claimed(&self, key: &SessionKey) {
        // Its end stays in the queue and names nothing when its turn comes.
        self.with(|kept| kept.sessions.remove(key));
    }

    /// Those that have not had their time, each ending when its client was told that it would.
    pub(super) fn take_all(&self, now: Timestamp) -> Vec<Session> {
        self.with(|kept| {
            kept.forget_ended(now);
            let Kept { mut sessions, ends } = std::mem::take(kept);
            let told = ends
                .into_iter()
                .filter_map(|(until, key)| Some(Session { expires_at: until, ..sessions.remove(&key)? }));
            told.collect()
        })
    }

    pub(super) fn count(&self) -> usize {
        self.with(|kept| kept.sessions.len())
    }
}

impl Kept {
    fn forget_ended(&mut self, now: Timestamp) {
        while let Some((_, ended)) = self.ends.pop_front_if(|(until, _)| *until <= now) {
            self.sessions.remove(&ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, session};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn one_is_kept_for_its_time_and_told_until_when() {
        let unclaimed = Unclaimed::new(HOUR);
        let (one, key) = (session(), session().key);
        let one = Session { key: key.clone(), ..one };
        let until = unclaimed.put(one.clone(), NOW);
        assert_eq!(until, NOW.plus(HOUR));
        assert_eq!(unclaimed.get(&key, Timestamp(until.0 - 1)), Some(one));
        assert_eq!((unclaimed.get(&key, until), unclaimed.count()), (None, 0));
    }

    #[test]
    fn one_that_was_claimed_is_gone_and_the_rest_can_be_taken() {
        let unclaimed = Unclaimed::new(HOUR);
        let [claimed, left] = [session(), session()];
        let _ = (unclaimed.put(claimed.clone(), NOW), unclaimed.put(left.clone(), NOW));
        unclaimed.claimed(&claimed.key);
        let taken = unclaimed.take_all(NOW);
        assert_eq!(taken, [Session { expires_at: NOW.plus(HOUR), ..left }]);
        assert_eq!(unclaimed.count(), 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let unclaimed = Unclaimed { room: 2, ..Unclaimed::new(HOUR) };
        let all = [session(), session(), session()];
        for one in &all {
            let _ = unclaimed.put(one.clone(), NOW);
        }
        assert_eq!(all.map(|one| unclaimed.get(&one.key, NOW).is_some()), [false, true, true]);
    }
}
