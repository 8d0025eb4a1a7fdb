//! Sessions that outlive an outage of their store: what this node has seen of them, it remembers.
//!
//! ```text
//!                  ┌── remote: the truth, while it answers ──┐
//!   find, replace ─┤                                         ├── differ? settled at the next use of the session
//!                  └── memory: the same, while it does not ──┘
//! ```
//!
//! What changed in memory alone is marked, and brought to the remote when the session is next used or by the next
//! `clean`. If the remote changed as well (another node went on too), the two are merged, and both nodes' uploads stay
//! covered. A remote that lost its data gets back whatever its nodes remember; but what a holder ended stays ended.

mod memory;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use self::memory::{Memory, Remembered};
use super::{Fingerprint, Replaced, Session, SessionKey, Sessions};
use crate::{clock::Timestamp, fault::Fault, upload::Name};

/// A store that may be away and may lose what it had.
#[async_trait]
pub trait Remote: Sessions {
    /// Store a session, unless a version as high is there or its holder has removed it; returns what is stored then,
    /// `None` if it was removed.
    async fn restore(&self, session: &Session) -> Result<Option<Session>, Fault>;
}

/// How often a session is settled again because another node changed it meanwhile.
const ATTEMPTS: usize = 5;
/// Marked sessions that one `clean` brings to the remote.
const SETTLED_AT_ONCE: usize = 1_000;

/// See the module's page. Its `find`, `record`, `replace`, `remove` and `bind` never fail.
pub struct Fallback {
    remote: Arc<dyn Remote>,
    memory: Mutex<Memory>,
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Fallback {
    /// Remember up to `most` sessions, and as many bindings; those used last.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, most: usize) -> Self {
        Self { remote, memory: Mutex::new(Memory::new(most)) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session as the remote and the memory have it together, stored in both.
    async fn settled(&self, key: &SessionKey) -> Result<Option<Session>, Fault> {
        for _ in 0..ATTEMPTS {
            let ours = self.memory().session(key);
            let ours = match ours {
                Some(Remembered::Removed) => {
                    self.remote.remove(key).await?;
                    self.memory().forget(key);
                    return Ok(None);
                }
                Some(Remembered::Known { session, is_marked }) => Some((*session, is_marked)),
                None => None,
            };
            let theirs = self.remote.find(key).await?;
            let Some((ours, is_marked)) = ours else {
                if let Some(theirs) = &theirs {
                    self.memory().learn(theirs, None);
                }
                return Ok(theirs);
            };
            let Some(theirs) = theirs else {
                return self.restored(&ours).await;
            };
            let was = ours.version;
            if theirs == ours || !is_marked && theirs.version >= was {
                self.memory().learn(&theirs, None);
                return Ok(Some(theirs));
            }
            if !is_marked {
                return self.restored(&ours).await;
            }
            let seen = theirs.version;
            let merged = merged(ours, theirs);
            if self.remote.replace(merged.clone(), seen).await? == Replaced::Done {
                self.memory().learn(&merged, Some(was));
                return Ok(Some(merged));
            }
        }
        Ok(self.remembered(key))
    }

    async fn restored(&self, ours: &Session) -> Result<Option<Session>, Fault> {
        let stored = self.remote.restore(ours).await?;
        match &stored {
            Some(stored) => self.memory().learn(stored, Some(ours.version)),
            None => {
                self.memory().forget(&ours.key);
            }
        }
        Ok(stored)
    }

    fn remembered(&self, key: &SessionKey) -> Option<Session> {
        match self.memory().session(key) {
            Some(Remembered::Known { session, .. }) => Some(*session),
            Some(Remembered::Removed) | None => None,
        }
    }

    /// Bring to the remote what changed in memory alone. What the remote does not take stays marked.
    async fn settle_marked(&self) {
        let (sessions, bindings) = self.memory().marked(SETTLED_AT_ONCE);
        for key in sessions {
            let _ = self.settled(&key).await;
        }
        for (token, name, until) in bindings {
            if let Ok(bound) = self.remote.bind(&token, &name, until).await {
                self.memory().bound(&token, bound, until);
            }
        }
    }
}

/// Two versions of one session, of which each may have seen what the other has not.
fn merged(ours: Session, theirs: Session) -> Session {
    let (ours_before, is_newer) = (ours.clone(), ours.version > theirs.version);
    let (mut newer, older) = if ours.seen_at >= theirs.seen_at { (ours, theirs) } else { (theirs, ours) };
    newer.version = newer.version.max(older.version);
    newer.refreshes = newer.refreshes.max(older.refreshes);
    newer.changes = newer.changes.max(older.changes);
    newer.is_open |= older.is_open;
    newer.told_again |= older.told_again;
    for covered in older.uploads {
        match newer.uploads.iter_mut().find(|known| known.name == covered.name) {
            Some(known) => known.is_complete |= covered.is_complete,
            None => newer.uploads.push(covered),
        }
    }
    for change in older.history {
        if !newer.history.contains(&change) {
            newer.history.push(change);
        }
    }
    newer.history.sort_by_key(|change| change.at);
    // If theirs is but an earlier one of ours, ours is the version to store.
    if !(is_newer && newer == ours_before) {
        newer.version = newer.version.saturating_add(1);
    }
    newer
}

#[async_trait]
impl Sessions for Fallback {
    async fn find(&self, key: &SessionKey) -> Result<Option<Session>, Fault> {
        Ok(self.settled(key).await.unwrap_or_else(|_| self.remembered(key)))
    }

    async fn record(&self, session: Session) -> Result<(), Fault> {
        let is_marked = self.remote.record(session.clone()).await.is_err();
        self.memory().put(session, is_marked);
        Ok(())
    }

    async fn replace(&self, session: Session, seen: u64) -> Result<Replaced, Fault> {
        let key = session.key.clone();
        let is_marked = self.memory().is_marked(&key);
        if is_marked && self.settled(&key).await.is_err() {
            return Ok(self.memory().replace(session, seen));
        }
        let mut answer = self.remote.replace(session.clone(), seen).await;
        // Stale, because the remote lost what it had?
        if matches!(answer, Ok(Replaced::Stale))
            && self.remembered(&key).is_some_and(|known| known.version >= seen)
            && let Ok(Some(settled)) = self.settled(&key).await
            && settled.version == seen
        {
            answer = self.remote.replace(session.clone(), seen).await;
        }
        if answer.is_err() {
            return Ok(self.memory().replace(session, seen));
        }
        if matches!(answer, Ok(Replaced::Done)) {
            self.memory().learn(&session, Some(seen));
        }
        answer
    }

    async fn remove(&self, key: &SessionKey) -> Result<bool, Fault> {
        match self.remote.remove(key).await {
            Ok(was_there) => {
                let was_known = self.memory().forget(key);
                Ok(was_there || was_known)
            }
            Err(_) => Ok(self.memory().remove(key)),
        }
    }

    async fn bind(&self, token: &Fingerprint, name: &Name, until: Timestamp) -> Result<Name, Fault> {
        // What was bound in memory stays so, if the remote knows nothing of it.
        let name = self.memory().binding(token).unwrap_or_else(|| name.clone());
        match self.remote.bind(token, &name, until).await {
            Ok(bound) => {
                self.memory().bound(token, bound.clone(), until);
                Ok(bound)
            }
            Err(_) => Ok(self.memory().bind(token, &name, until)),
        }
    }

    async fn clean(&self, now: Timestamp, most: u64) -> Result<u64, Fault> {
        self.memory().clean_bindings(now);
        self.settle_marked().await;
        let cleaned = self.remote.clean(now, most).await;
        let forgotten = self.memory().clean(now, most);
        Ok(cleaned.unwrap_or(forgotten))
    }

    fn sees_all(&self) -> bool {
        self.remote.sees_all()
    }

    fn is_removed(&self, key: &SessionKey) -> bool {
        matches!(self.memory().session(key), Some(Remembered::Removed))
    }

    async fn count(&self) -> Result<u64, Fault> {
        Ok(match self.remote.count().await {
            Ok(count) => count,
            Err(_) => self.memory().count(),
        })
    }
}
