//! Opens, joins, recovers and refreshes sessions: the rules, carried out by compare-and-set on a store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::{
    Change, Covered, Place, Replaced, Session, SessionId, SessionKey, Sessions,
    rules::{Policy, Refused, is_of},
    unclaimed::Unclaimed,
};
use crate::{
    clock::{Clock, Timestamp},
    fault::{Component, Fault},
    telemetry::Metrics,
    upload::Name,
};

/// Attempts to change a session that others change at the same time. Each failed one is another's success.
const ATTEMPTS: usize = 64;
/// A session that was seen so lately is not stored anew only to say that it was seen again.
const SEEN_WITHIN: Duration = Duration::from_secs(300);
/// Changes of place of one session that are stored within a while.
const MOVES: u32 = 300;
/// See [`MOVES`].
const MOVES_WITHIN: Duration = Duration::from_secs(60);
/// Sessions whose changes are counted at the same time.
const MOVING: usize = 100_000;
/// Sessions that are stored at the same time when the server ends.
const SETTLED_AT_ONCE: usize = 512;

/// Why there is no session to go on with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The client's.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Ours.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A session that was changed, and what changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it is stored now.
    pub session: Session,
    /// The change of place, if there was one.
    pub moved: Option<Change>,
    /// Whether it covers an upload that it did not cover before.
    pub is_joined: bool,
    /// The end of the fresh token, where one was asked for.
    pub token_until: Option<Timestamp>,
    /// Whether that token cost a refresh.
    pub is_refreshed: bool,
}

/// What a request wants of a session that it names.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// Be seen.
    See,
    /// Have an upload covered, of a credential with this subject.
    Join {
        /// What the credential allows.
        upload: Covered,
        /// Its subject.
        subject: Option<&'a str>,
        /// Whether an upload may be covered that was not before.
        covers_more: bool,
        /// When the request arrived, which may be long before its answer joins the session.
        arrived: Timestamp,
        /// Whether the request did not name the session, and is to be told its id all the same.
        tells_again: bool,
    },
    /// Have an upload noted as complete.
    Finish {
        /// Which.
        name: &'a Name,
        /// When the request arrived that completed it.
        arrived: Timestamp,
    },
    /// Have a fresh token.
    Refresh {
        /// For which upload.
        name: &'a Name,
        /// Although the last one may still be good.
        by_choice: bool,
    },
}

/// [ENG-158] How many changes of place each session had stored lately; each writes the whole session.
#[derive(Debug, Default)]
struct Moves(Mutex<(Timestamp, HashMap<SessionKey, u32>)>);

impl Moves {
    /// Counts one, unless the session has had as many as it may.
    fn allows(&self, key: &SessionKey, now: Timestamp) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, counts) = &mut *counted;
        if now.since(*since) >= MOVES_WITHIN || now < *since || counts.len() >= MOVING {
            (*since, *counts) = (now, HashMap::new());
        }
        let count = counts.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= MOVES
    }
}

/// The sessions of this server.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn Sessions>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    unclaimed: Unclaimed,
    moves: Moves,
}

impl Keeper {
    /// Sessions in this store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Sessions>,
        policy: Policy,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let unclaimed = Unclaimed::new(policy.unclaimed_age);
        Self { store, policy, clock, metrics, unclaimed, moves: Moves::default() }
    }

    /// The numbers.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The session with this id, if it lives.
    ///
    /// # Errors
    /// `Unknown` or `Expired`, or a fault of the store.
    pub async fn live(&self, id: &SessionId) -> Result<Session, Trouble> {
        let key = id.key();
        if let Some(session) = self.claim(&key).await? {
            return Ok(session);
        }
        // [SES-16]
        let Some(session) = self.store.find(&key).await? else {
            // [ENG-31] another node may know it: its client must not be told to give up
            let away = || Fault::new(Component::Sessions, "finding a session", "its store is away");
            return Err(if self.store.sees_all() { Refused::Unknown.into() } else { away().into() });
        };
        if session.is_live(self.clock.now()) { Ok(session) } else { Err(Refused::Expired.into()) }
    }

    /// Whether the session with this key lives, as far as can be seen: while the store is away another node may know it.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn may_live(&self, key: &SessionKey) -> Result<bool, Fault> {
        Ok(match self.store.find(key).await? {
            Some(session) => session.is_live(self.clock.now()),
            None => !self.store.sees_all() && !self.store.is_removed(key),
        })
    }

    /// A new session that covers one upload. `ends_by` bounds its life further than `max_age` does. One that
    /// is needed is durable when this returns; another one is kept in memory for a while, and stored once it is named.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn open(
        &self,
        subject: Option<String>,
        upload: Covered,
        place: Place,
        ends_by: Option<Timestamp>,
        is_needed: bool,
    ) -> Result<(SessionId, Session), Fault> {
        let now = self.clock.now();
        let id = SessionId::random();
        let latest = now.plus(self.policy.max_age);
        let session = Session {
            key: id.key(),
            version: 1,
            subject,
            created_at: now,
            expires_at: ends_by.map_or(latest, |by| by.min(latest)),
            seen_at: now,
            refreshes: 0,
            is_open: !upload.is_complete,
            place,
            uploads: vec![upload],
            history: Vec::new(),
            changes: 0,
            told_again: false,
        };
        self.metrics.session("opened");
        if !is_needed {
            let expires_at = self.unclaimed.put(session.clone(), now);
            return Ok((id, Session { expires_at, ..session }));
        }
        self.store.record(session.clone()).await?;
        Ok((id, session))
    }

    /// A session that was in memory alone, brought into the store because it is named now.
    async fn claim(&self, key: &SessionKey) -> Result<Option<Session>, Fault> {
        if self.unclaimed.get(key, self.clock.now()).is_none() {
            return Ok(None);
        }
        let _one_at_a_time = self.unclaimed.claiming.lock().await;
        // Another request may have claimed it meanwhile; then it is in the store.
        let Some(session) = self.unclaimed.get(key, self.clock.now()) else { return Ok(None) };
        self.store.record(session.clone()).await?;
        self.unclaimed.claimed(key);
        Ok(Some(session))
    }

    /// Store the sessions that are in memory alone, before the server ends.
    pub async fn settle(&self) {
        let sessions = self.unclaimed.take_all(self.clock.now());
        let mut stored =
            stream::iter(sessions).map(|one| self.store.record(one)).buffer_unordered(SETTLED_AT_ONCE);
        while let Some(stored) = stored.next().await {
            if let Err(fault) = stored {
                tracing::error!(%fault, "a session that was told to its client is not stored");
            }
        }
    }

    /// Carry out a step of the session with this id.
    ///
    /// # Errors
    /// Why it is refused, or a fault of the store. Nothing has changed then.
    pub async fn step(&self, id: &SessionId, step: &Step<'_>, place: &Place) -> Result<Changed, Trouble> {
        for _ in 0..ATTEMPTS {
            let before = self.live(id).await?;
            let now = self.clock.now();
            let mut session = before.clone();
            let arrived = match step {
                Step::Join { arrived, .. } | Step::Finish { arrived, .. } => *arrived,
                Step::See | Step::Refresh { .. } => now,
            };
            // [ENG-158]
            let is_flapping = session.place != *place && !self.moves.allows(&session.key, now);
            let moved = if is_flapping { None } else { session.seen_at(place, arrived) };
            let mut token = None;
            match step {
                Step::See => {}
                Step::Join { upload, subject, covers_more, tells_again, arrived: _ } => {
                    let is_welcome = *covers_more || session.covered(&upload.name).is_some();
                    if !is_welcome
                        || *tells_again && !session.tell_again(&upload.name)
                        || !is_of(&session, *subject)
                        || !session.cover(upload.clone(), self.policy.max_uploads)
                    {
                        return Err(Refused::Foreign.into());
                    }
                }
                Step::Finish { name, arrived: _ } => session.finish(name),
                Step::Refresh { name, by_choice } => {
                    token = Some(session.refresh(name, &self.policy, *by_choice, now)?);
                }
            }
            let is_joined = session.uploads.len() > before.uploads.len();
            let changed = |session| Changed {
                session,
                is_joined,
                moved: moved.clone(),
                token_until: token.map(|(until, _)| until),
                is_refreshed: token.is_some_and(|(_, is_refreshed)| is_refreshed),
            };
            if session == before && now.since(before.seen_at) < SEEN_WITHIN {
                return Ok(changed(session));
            }
            session.version = before.version.saturating_add(1);
            session.seen_at = now;
            if self.store.replace(session.clone(), before.version).await? == Replaced::Done {
                if moved.is_some() {
                    self.metrics.network_changed();
                }
                if is_joined {
                    self.metrics.session("joined");
                }
                if token.is_some_and(|(_, is_refreshed)| is_refreshed) {
                    self.metrics.session("refreshed");
                }
                return Ok(changed(session));
            }
        }
        Err(Fault::new(Component::Sessions, "changing a session", "others change it all the time").into())
    }

    /// [SES-33] end a session
    ///
    /// # Errors
    /// `Unknown`, or a fault of the store.
    pub async fn end(&self, id: &SessionId) -> Result<(), Trouble> {
        let session = self.live(id).await?;
        if !self.store.remove(&session.key).await? {
            return Err(Refused::Unknown.into());
        }
        self.metrics.session("ended");
        Ok(())
    }

    /// Remove what has ended, and what is beyond the number that is kept.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn clean(&self) -> Result<u64, Fault> {
        let removed = self.store.clean(self.clock.now(), self.policy.max_sessions).await?;
        let in_memory = u64::try_from(self.unclaimed.count()).unwrap_or(u64::MAX);
        self.metrics.sessions(self.store.count().await?.saturating_add(in_memory));
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_changes_its_place_all_the_time_is_recorded_so_often_a_minute() {
        // [ENG-158]
        let moves = Moves::default();
        let (one, other) = (SessionId::random().key(), SessionId::random().key());
        let now = Timestamp(1_700_000_000_000);
        assert_eq!((0..1_000).filter(|_| moves.allows(&one, now)).count(), MOVES as usize);
        assert!(moves.allows(&other, now), "each by itself");
        assert!(moves.allows(&one, now.plus(MOVES_WITHIN)));
    }
}
