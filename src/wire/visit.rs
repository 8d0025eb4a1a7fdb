//! What a request turned out to be: who was let in and why, which upload it was about, and the session that its answer
//! carries.
//!
//! `credentials` writes it while the request is judged, the adapters say which upload they saw, and `front` reads it
//! when the answer is there. So an adapter knows nothing of sessions, and a new one has them at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, header};

use super::{House, reply::Reply};
use crate::{
    clock::Timestamp,
    session::{Covered, Keeper, Place, Refused, SessionId, Step, Trouble},
    telemetry::Happened,
    upload::{Name, Phase, Upload, UploadId},
};

/// A session's id.
pub const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
/// On a request a session's id or a fresh token, on an answer a fresh token.
pub const X_SESSION_TOKEN: HeaderName = HeaderName::from_static("x-session-token");
/// When the fresh token ends.
pub const X_SESSION_EXPIRES: HeaderName = HeaderName::from_static("x-session-expires");
/// An upload's public identity.
pub const X_UPLOAD_ID: HeaderName = HeaderName::from_static("x-upload-id");
const X_UPLOAD_SESSION_TIMEOUT: HeaderName = HeaderName::from_static("x-upload-session-timeout");
const X_UPLOAD_STATUS: HeaderName = HeaderName::from_static("x-upload-status");
const X_UPLOAD_TYPE: HeaderName = HeaderName::from_static("x-upload-type");

/// Uploads whose session is remembered for clients that do not name it.
const REMEMBERED: usize = 4096;

/// How a request came in.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// By a good credential, or one within its grace.
    Credential {
        /// What it allows.
        upload: Covered,
        /// Its subject.
        subject: Option<String>,
        /// The session that the request names, if that can be one.
        named: Option<Named>,
        /// Whether it opens and joins sessions, or is only seen in one that covers its upload already.
        may_open: bool,
        /// When a session that is opened now has to end, where grace let the request in.
        ends_by: Option<Timestamp>,
    },
    /// By a session.
    Session {
        /// Which.
        id: SessionId,
        /// When it ends.
        expires_at: Timestamp,
        /// A fresh token and its end.
        fresh: Option<(String, Timestamp)>,
    },
}

#[derive(Clone, Debug)]
struct Seen {
    name: Name,
    id: UploadId,
    phase: Phase,
}

#[derive(Debug, Default)]
struct State {
    admitted: Option<Admitted>,
    seen: Option<Seen>,
    /// Whether the upload was complete before this request.
    was_complete: bool,
}

/// See the module's text. One a request.
#[derive(Debug, Default)]
pub struct Visit(Mutex<State>);

impl Visit {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request was let in.
    pub fn admit(&self, how: Admitted) {
        self.with(|state| state.admitted = Some(how));
    }

    /// Whether the request was let in by more than a URL.
    pub fn is_admitted(&self) -> bool {
        self.with(|state| state.admitted.is_some())
    }

    /// This is the upload as the request found it.
    pub fn found(&self, upload: &Upload) {
        self.saw(upload);
        self.with(|state| state.was_complete = upload.phase == Phase::Complete);
    }

    /// There is nothing to go on with any more: the answer has no session.
    pub fn dismiss(&self) {
        self.with(|state| state.admitted = None);
    }

    /// This is the upload, as it stands at the end of the request.
    pub fn saw(&self, upload: &Upload) {
        let seen = Seen { name: upload.name.clone(), id: upload.id.clone(), phase: upload.phase };
        self.with(|state| state.seen = Some(seen));
    }

    /// The upload that was seen last.
    pub fn upload(&self) -> Option<UploadId> {
        self.with(|state| state.seen.as_ref().map(|seen| seen.id.clone()))
    }

    /// Give the answer its session, opened or joined now if need be. The request `arrived` from `place`; `is_plain` says
    /// that it was a plain PUT.
    pub async fn sign(
        &self,
        house: &House,
        (place, arrived): (Place, Timestamp),
        is_plain: bool,
        reply: Reply,
    ) -> Reply {
        let (admitted, seen, was_complete) =
            self.with(|state| (state.admitted.take(), state.seen.take(), state.was_complete));
        let (Some(admitted), Some(keeper)) = (admitted, &house.sessions) else { return reply };
        let phase = seen.as_ref().map(|seen| seen.phase);
        // [SES-9] with a tombstone nobody goes on
        if let Some(Phase::Gone(_)) = phase {
            return reply;
        }
        let is_complete = phase == Some(Phase::Complete);
        let (session, fresh) = match admitted {
            Admitted::Session { id, expires_at, fresh } => {
                if let Some(seen) = seen.as_ref().filter(|_| is_complete) {
                    let step = Step::Finish { name: &seen.name, arrived };
                    if let Err(trouble) = keeper.step(&id, &step, &place).await {
                        tracing::info!(%trouble, "a session does not know that its upload is complete");
                    }
                }
                (Some((id, expires_at)), fresh)
            }
            Admitted::Credential { mut upload, subject, named, may_open, ends_by } => {
                if let Some(seen) = &seen {
                    upload.name = seen.name.clone();
                    upload.id = Some(seen.id.clone());
                    upload.is_complete = is_complete;
                }
                // [ENG-153] with what was complete before nobody goes on
                let is_over = is_complete && (was_complete || !reply.status.is_success());
                let entry =
                    Entry { keeper, house, upload, subject, place, arrived, may_open, is_over, ends_by };
                (entry.session(named).await, None)
            }
        };
        let mut reply = reply;
        // [SES-1] [SES-7]
        if let Some((id, expires_at)) = session {
            let left = expires_at.since(house.clock.now()).as_secs();
            reply = reply.with(X_SESSION_ID, id.expose()).with(X_UPLOAD_SESSION_TIMEOUT, left).no_store();
        }
        if let Some(seen) = seen {
            let status = if is_complete { "complete" } else { "incomplete" };
            reply = reply.with(X_UPLOAD_ID, seen.id.0).with(X_UPLOAD_STATUS, status);
        }
        // [SES-2]
        if is_plain {
            reply = reply.with(X_UPLOAD_TYPE, "legacy-xmpp");
        }
        // [SES-11] what is complete needs none
        match fresh.filter(|_| !is_complete) {
            Some((token, until)) => fresh_token(reply, &token, until),
            None => reply,
        }
    }
}

/// A session that a request names.
#[derive(Clone, Debug)]
pub struct Named {
    /// Which.
    pub id: SessionId,
    /// Whether it stands in the query, which is part of a URL that others may have made.
    pub is_in_query: bool,
}

/// [SES-4] the session that a request names: `Some(None)` when what it names cannot be one
#[must_use]
pub fn named_session(headers: &HeaderMap, query: Option<&str>) -> Option<Option<Named>> {
    let of_header = |name: HeaderName| {
        let mut values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default().trim());
        // [AUT-102] of two ids neither is the one
        values.next().map(|first| if values.next().is_some() { "" } else { first })
    };
    // A fresh token may stand there too.
    let token = of_header(X_SESSION_TOKEN).filter(|text| !text.contains('.'));
    let named = |text, is_in_query| SessionId::parse(text).map(|id| Named { id, is_in_query });
    if let Some(text) = of_header(X_SESSION_ID).or(token) {
        return Some(named(text, false));
    }
    let mut parameters =
        query?.split('&').filter_map(|pair| pair.strip_prefix("session_id=")).filter(|text| !text.is_empty());
    let first = parameters.next()?;
    Some(if parameters.next().is_some() { None } else { named(first, true) })
}

/// Put a fresh token on an answer.
#[must_use]
pub fn fresh_token(reply: Reply, token: &str, until: Timestamp) -> Reply {
    reply
        .with(X_SESSION_TOKEN, token)
        .with(X_SESSION_EXPIRES, until.http_date())
        .with(header::CACHE_CONTROL, "no-store")
}

/// A request with a good credential, on its way to a session.
struct Entry<'a> {
    keeper: &'a Keeper,
    house: &'a House,
    upload: Covered,
    subject: Option<String>,
    place: Place,
    arrived: Timestamp,
    may_open: bool,
    is_over: bool,
    ends_by: Option<Timestamp>,
}

impl Entry<'_> {
    /// The session that was named, or the one that the last answer about this upload told, or a new one.
    async fn session(self, named: Option<Named>) -> Option<(SessionId, Timestamp)> {
        let key: Holder = (self.upload.name.clone(), self.subject.clone());
        let remembered = self.house.remembered.get(&key);
        let remembered = remembered.filter(|id| named.as_ref().is_none_or(|named| named.id != *id));
        // [SES-77] whoever gave out a URL may have put a session of their own into its query
        let may_join = self.may_open && self.ends_by.is_none() && !self.is_over;
        let named = named.iter().map(|named| (&named.id, true, may_join && !named.is_in_query));
        let named_or_not = named.chain(remembered.iter().map(|id| (id, false, false)));
        for (id, is_named, covers_more) in named_or_not {
            // [SES-3]
            let step = Step::Join {
                upload: self.upload.clone(),
                subject: self.subject.as_deref(),
                covers_more,
                // [SES-22] a fresh token is seen there and not told where
                tells_again: !is_named && self.may_open,
                arrived: self.arrived,
            };
            match self.keeper.step(id, &step, &self.place).await {
                // [SES-42] grace leads into no session that outlives its ceiling
                Ok(changed) if self.ends_by.is_some_and(|by| changed.session.expires_at > by) => {}
                Ok(changed) => {
                    let joined = changed.is_joined.then_some(Happened::SessionJoined);
                    self.house.record_step(joined, &changed.session, changed.moved.as_ref());
                    let is_told = is_named || self.may_open;
                    return is_told.then(|| (id.clone(), changed.session.expires_at));
                }
                // [SES-5] the credential suffices
                Err(Trouble::Refused(Refused::Foreign | Refused::Unknown | Refused::Expired)) => {}
                Err(Trouble::Refused(Refused::Missing | Refused::Malformed | Refused::Exhausted)) => {}
                // Another node may know it; the answer has a new one, and the client two.
                Err(Trouble::Fault(fault)) => tracing::info!(%fault, "a named session cannot be joined now"),
            }
        }
        if !self.may_open || self.is_over {
            return None;
        }
        // [SES-8] nobody has to go on with what is complete
        let is_needed = !self.upload.is_complete;
        let opened = self
            .keeper
            .open(self.subject.clone(), self.upload.clone(), self.place.clone(), self.ends_by, is_needed)
            .await;
        match opened {
            Ok((id, session)) => {
                if !self.upload.is_complete {
                    self.house.remembered.put(key, id.clone());
                }
                self.house.record_step(Some(Happened::SessionOpened), &session, None);
                Some((id, session.expires_at))
            }
            Err(fault) => self.without(&fault),
        }
    }

    /// The request was served; that its answer has no session is no reason to fail it.
    fn without<T>(&self, fault: &crate::fault::Fault) -> Option<T> {
        self.house.metrics.fault(fault.component.word());
        tracing::error!(%fault, "an answer goes without its session");
        None
    }
}

/// An upload, and whoever showed a credential for it.
type Holder = (Name, Option<String>);

/// The sessions of uploads that go on, in memory: a client that ignores session ids is given the same one again, and
/// its changes of network are seen. Never written anywhere.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    by_holder: HashMap<Holder, SessionId>,
    /// Oldest first.
    order: VecDeque<Holder>,
}

impl Remembered {
    fn get(&self, holder: &Holder) -> Option<SessionId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_holder.get(holder).cloned()
    }

    fn put(&self, holder: Holder, id: SessionId) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.by_holder.insert(holder.clone(), id).is_none() {
            ids.order.push_back(holder);
        }
        if ids.order.len() > REMEMBERED
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.by_holder.remove(&oldest);
        }
    }
}
