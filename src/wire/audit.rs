//! What of a request goes into the audit log. Never its path, its query or its session id: whoever reads the log must
//! not be able to use what it says.

use std::time::Duration;

use super::{Call, House};
use crate::{
    auth::Grant,
    engine::{Refusal, sweep::Swept},
    guard::Stopped,
    session::{Change, Place, Session},
    telemetry::{Event, Happened, Outcome},
};

/// A credential, and why it was judged as it was.
#[derive(Debug)]
pub struct Decision<'a> {
    event: Happened,
    reason: &'static str,
    scheme: Option<&'static str>,
    subject: Option<&'a str>,
}

impl<'a> Decision<'a> {
    /// Of a credential that says whose it is.
    #[must_use]
    pub fn of(grant: &'a Grant, event: Happened, reason: &'static str) -> Self {
        Self { event, reason, scheme: Some(grant.scheme.as_str()), subject: grant.subject.as_deref() }
    }

    /// Of one that proves nothing.
    #[must_use]
    pub fn of_nobody(reason: &'static str) -> Self {
        Self { event: Happened::Credential, reason, scheme: None, subject: None }
    }
}

impl Call<'_> {
    /// Record what was decided about this request's credential.
    pub fn decided(&self, outcome: Outcome, decision: &Decision<'_>) {
        self.house.audit.event(&Event {
            reason: Some(decision.reason),
            scheme: decision.scheme,
            subject: decision.subject,
            request_id: Some(&self.request_id),
            ..self.house.event(decision.event, outcome, &self.place)
        });
    }

    /// Count and record that the engine refused what this request asked for.
    pub fn refused(&self, dialect: &'static str, refusal: &Refusal) {
        self.house.metrics.refused(dialect, refusal.word());
        let id = self.visit.upload();
        self.house.audit.event(&Event {
            reason: Some(refusal.word()),
            dialect: Some(dialect),
            upload: id.as_ref().map(|id| id.0.as_str()),
            request_id: Some(&self.request_id),
            ..self.house.event(Happened::Refused, Outcome::Refused, &self.place)
        });
    }

    /// Record that the client removed an upload.
    pub fn removed(&self, upload: Option<&str>) {
        self.house.audit.event(&Event {
            upload,
            request_id: Some(&self.request_id),
            ..self.house.event(Happened::Deleted, Outcome::Done, &self.place)
        });
    }
}

impl House {
    fn event<'a>(&self, event: Happened, outcome: Outcome, place: &'a Place) -> Event<'a> {
        Event {
            address: Some(place.address),
            network: Some(&place.network),
            agent: Some(&place.agent),
            class: Some(place.class.word()),
            ..Event::new(self.clock.now().to_system(), event, outcome)
        }
    }

    /// Record the uploads that had their time.
    pub fn record_swept(&self, swept: &Swept) {
        let at = self.clock.now().to_system();
        for (id, why) in &swept.removed {
            self.audit.event(&Event {
                reason: Some(why.word()),
                upload: Some(&id.0),
                ..Event::new(at, Happened::Deleted, Outcome::Done)
            });
        }
    }

    /// Record a step of a session, if it is worth a line, and the change of place that came with it.
    pub fn record_step(&self, step: Option<Happened>, session: &Session, moved: Option<&Change>) {
        let line = |event| Event {
            subject: session.subject.as_deref(),
            session: Some(session.key.short()),
            ..self.event(event, Outcome::Done, &session.place)
        };
        if let Some(step) = step {
            self.audit.event(&line(step));
        }
        // [SES-20]
        if let Some(change) = moved {
            let from = &change.from;
            self.audit.event(&Event {
                from_address: Some(from.address),
                from_network: Some(&from.network),
                ..line(Happened::NetworkChanged)
            });
        }
    }

    /// Record that somebody was turned away.
    pub fn record_refusal(&self, event: Happened, reason: &'static str, place: &Place) {
        self.audit.event(&Event { reason: Some(reason), ..self.event(event, Outcome::Refused, place) });
    }

    /// [SES-51] How long an address is still banned. What shares the address of a proxy is nobody's.
    pub async fn banned_for(&self, place: &Place) -> Option<Duration> {
        if self.proxies.trusts(place.address) { None } else { self.guard.banned_for(place.address).await }
    }

    /// Count a guess; whoever guesses too often is banned.
    pub async fn failed(&self, place: &Place) {
        // [ENG-150] a proxy whose clients cannot be told apart is none of them
        if self.proxies.trusts(place.address) {
            return;
        }
        if let Some(ban) = self.guard.failed(place.address).await {
            let seconds = ban.as_secs();
            tracing::warn!(address = %place.address, seconds, "banned after too many wrong credentials");
            self.record_refusal(Happened::Banned, "failures", place);
        }
    }

    /// [SES-52] may this address ask at all?
    ///
    /// # Errors
    /// When it has to wait.
    pub async fn may_ask(&self, place: &Place) -> Result<(), Stopped> {
        self.guard.admit(place.address).await
    }
}
