//! What a session permits, as pure functions of the session, the request and the time.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::{Change, Covered, Place, Session};
use crate::{
    clock::Timestamp,
    network::AgentClass,
    upload::{Name, Offset, Phase, Upload},
};

/// Changes of place that a session lists.
const HISTORY: usize = 100;
/// [ENG-157] Bytes of names and types that a session holds of its uploads, beyond which it covers no further one: it is
/// written as a whole whenever it changes.
const LARGEST: usize = 32 * 1024;

/// Numbers that the operator sets.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a session lives.
    pub max_age: Duration,
    /// Fresh tokens of one session.
    pub max_refreshes: u32,
    /// How long a fresh token is good.
    pub token_lifetime: Duration,
    /// Uploads that one session may cover.
    pub max_uploads: usize,
    /// Sessions kept.
    pub max_sessions: u64,
    /// How long the session of a plain PUT that was complete at once waits in memory to be named.
    pub unclaimed_age: Duration,
}

/// Why a session does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// None was named where one is needed.
    #[error("no session was named")]
    Missing,
    /// The id is not 64 lowercase hex digits.
    #[error("the session id is not 64 lowercase hex digits")]
    Malformed,
    /// No session has this id.
    #[error("there is no such session")]
    Unknown,
    /// The session has ended.
    #[error("the session has ended")]
    Expired,
    /// The session is another subject's, or does not cover the upload.
    #[error("the session does not cover this upload")]
    Foreign,
    /// Every fresh token was given out.
    #[error("the session has no refresh left")]
    Exhausted,
}

impl Refused {
    /// The word for problem documents, metrics and the audit log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "session-missing",
            Self::Malformed => "session-malformed",
            Self::Unknown => "session-unknown",
            Self::Expired => "session-expired",
            Self::Foreign => "session-foreign",
            Self::Exhausted => "session-exhausted",
        }
    }
}

impl Session {
    /// [SES-15] until when it lives
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// What it holds of an upload.
    #[must_use]
    pub fn covered(&self, name: &Name) -> Option<&Covered> {
        self.uploads.iter().find(|covered| covered.name == *name)
    }

    fn covered_mut(&mut self, name: &Name) -> Option<&mut Covered> {
        self.uploads.iter_mut().find(|covered| covered.name == *name)
    }

    /// Cover one more upload; false when it is full. What is covered already keeps what its first credential allowed.
    #[must_use]
    pub fn cover(&mut self, upload: Covered, most: usize) -> bool {
        if let Some(known) = self.covered_mut(&upload.name) {
            known.id = upload.id.or_else(|| known.id.take());
            known.is_complete |= upload.is_complete;
            self.note_whether_open();
            return true;
        }
        // [SES-23]; [ENG-155] without a subject nothing says that two uploads are the same person's
        if self.told_again || self.subject.is_none() || self.uploads.len() >= most {
            return false;
        }
        if self.uploads.iter().map(weight).sum::<usize>() + weight(&upload) > LARGEST {
            return false;
        }
        self.uploads.push(upload);
        self.note_whether_open();
        true
    }

    /// An upload was seen complete.
    pub fn finish(&mut self, name: &Name) {
        if let Some(covered) = self.covered_mut(name) {
            covered.is_complete = true;
        }
        self.note_whether_open();
    }

    fn note_whether_open(&mut self) {
        self.is_open = self.uploads.iter().any(|covered| !covered.is_complete);
    }

    /// Have the id told to somebody who did not name the session and showed a good credential for one upload; false when
    /// it opens more than that.
    #[must_use]
    pub fn tell_again(&mut self, name: &Name) -> bool {
        // [SES-23]
        let covers_this_alone = self.uploads.iter().all(|covered| covered.name == *name);
        self.told_again |= covers_this_alone;
        covers_this_alone
    }

    /// [ENG-156] Whom the store counts it for: its subject, or the network that it was last seen in (IPv6 by /64).
    #[must_use]
    pub fn holder(&self) -> String {
        match (&self.subject, self.place.address.to_canonical()) {
            (Some(subject), _) => subject.clone(),
            (None, IpAddr::V4(v4)) => format!(" {v4}"),
            (None, IpAddr::V6(v6)) => format!(" {}", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        }
    }

    /// Note where a request came from that arrived at `arrived`; the change, if it is one.
    pub fn seen_at(&mut self, place: &Place, arrived: Timestamp) -> Option<Change> {
        // [SES-20] noted, and nothing else comes of it
        if self.place == *place {
            return None;
        }
        // [SES-36] a newer request has told already where the session is
        if self.history.last().is_some_and(|latest| arrived < latest.at) {
            return None;
        }
        let change = Change { at: arrived, from: self.place.clone(), to: place.clone() };
        self.place = place.clone();
        self.history.push(change.clone());
        // [SES-35]
        let beyond = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..beyond);
        self.changes = self.changes.saturating_add(1);
        Some(change)
    }

    /// Take a fresh token for an upload; its end, and whether it cost a refresh.
    ///
    /// # Errors
    /// `Foreign` when the upload is not covered, `Exhausted` when no refresh is left.
    pub fn refresh(
        &mut self,
        name: &Name,
        policy: &Policy,
        by_choice: bool,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), Refused> {
        let ends = self.expires_at;
        let (used, most) = (self.refreshes, policy.max_refreshes);
        let covered = self.covered_mut(name).ok_or(Refused::Foreign)?;
        // [SES-12] one that was made and may not have arrived is made again
        if let Some(until) = covered.token_until.filter(|until| now < *until && !by_choice) {
            return Ok((until, false));
        }
        // [SES-13]
        if used >= most {
            return Err(Refused::Exhausted);
        }
        let until = now.plus(policy.token_lifetime).min(ends);
        covered.token_until = Some(until);
        self.refreshes = used.saturating_add(1);
        Ok((until, true))
    }
}

/// About how many bytes an upload takes in a session's document.
fn weight(covered: &Covered) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    200 + covered.name.as_str().len() + length(&covered.filename) + length(&covered.content_type)
}

/// A session as it counts when there are too many.
#[derive(Debug)]
pub(super) struct Held<K> {
    pub(super) holder: String,
    pub(super) is_open: bool,
    pub(super) seen_at: i64,
    pub(super) key: K,
}

/// [ENG-156] The sessions that go when there are so many too many: always one of the holder that holds most, its least.
pub(super) fn surplus<K>(mut held: Vec<Held<K>>, count: usize) -> Vec<K> {
    held.sort_by(|a, b| {
        a.holder.cmp(&b.holder).then_with(|| (b.is_open, b.seen_at).cmp(&(a.is_open, a.seen_at)))
    });
    let mut ranked: Vec<(usize, Held<K>)> = Vec::with_capacity(held.len());
    for one in held {
        let nth = match ranked.last() {
            Some((nth, before)) if before.holder == one.holder => nth + 1,
            Some(_) | None => 0,
        };
        ranked.push((nth, one));
    }
    ranked.sort_by_key(|(nth, one)| (std::cmp::Reverse(*nth), one.is_open, one.seen_at));
    ranked.into_iter().take(count).map(|(_, one)| one.key).collect()
}

/// [SES-16] may a session speak for somebody who showed this subject?
#[must_use]
pub(super) fn is_of(session: &Session, subject: Option<&str>) -> bool {
    session.subject.as_deref() == subject
}

/// For how long after its expiry a token is still good.
#[derive(Clone, Debug)]
pub struct Grace {
    /// Whether there is any.
    pub enabled: bool,
    /// For each class.
    pub desktop: Duration,
    /// See `desktop`.
    pub mobile: Duration,
    /// See `desktop`.
    pub other: Duration,
    /// For desktop and mobile programs when the upload has bytes.
    pub restoration: Duration,
    /// At most.
    pub ceiling: Duration,
}

impl Grace {
    /// The end of the grace of a token that expired at `expired_at`; `None` when that is over, or there is none.
    #[must_use]
    pub fn until(
        &self,
        class: AgentClass,
        upload: Option<&Upload>,
        expired_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        // [SES-44]
        if !self.enabled {
            return None;
        }
        let has_bytes = match upload.map(|u| (u.phase, u.offset)) {
            // [SES-40] an upload that is complete or gone needs no grace
            Some((Phase::Complete | Phase::Gone(_), _)) => return None,
            Some((Phase::Receiving, offset)) => offset > Offset::ZERO,
            None => false,
        };
        // [SES-43] the class widens time and nothing else
        let window = match class {
            AgentClass::Desktop => self.desktop,
            AgentClass::Mobile => self.mobile,
            AgentClass::Other => self.other,
        };
        // [SES-41]
        let window = match class {
            AgentClass::Desktop | AgentClass::Mobile if has_bytes => window.max(self.restoration),
            AgentClass::Desktop | AgentClass::Mobile | AgentClass::Other => window,
        };
        let until = expired_at.plus(window.min(self.ceiling));
        (now < until).then_some(until)
    }

    /// [SES-42] no later than this may anything end that a grace period began
    #[must_use]
    pub fn last(&self, expired_at: Timestamp) -> Timestamp {
        expired_at.plus(self.ceiling)
    }
}
