//! What of a request goes into the audit log. Never its path, its query or its session id: whoever reads the log must
//! not be able to use what it says.

use super::{Call, House};
use crate::{
    auth::Grant,
    guard::Stopped,
    session::{Change, Place, Session},
    telemetry::Event,
};

/// What was decided about a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was let in.
    Allowed,
    /// It was not.
    Refused,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// A credential, and why it was judged so.
#[derive(Debug)]
pub struct Decision<'a> {
    reason: &'static str,
    scheme: Option<&'static str>,
    subject: Option<&'a str>,
}

impl<'a> Decision<'a> {
    /// Of a credential that says whose it is.
    #[must_use]
    pub fn of(grant: &'a Grant, reason: &'static str) -> Self {
        Self { reason, scheme: Some(grant.scheme.as_str()), subject: grant.subject.as_deref() }
    }

    /// Of one that proves nothing.
    #[must_use]
    pub fn of_nobody(reason: &'static str) -> Self {
        Self { reason, scheme: None, subject: None }
    }
}

fn at<'a>(place: &'a Place, address: &'a str) -> Event<'a> {
    Event {
        address: Some(address),
        network: Some(&place.network),
        agent: Some(&place.agent),
        class: Some(place.class.word()),
        ..Event::default()
    }
}

impl Call<'_> {
    /// Record what was decided about this request's credential.
    pub fn decided(&self, outcome: Outcome, decision: &Decision<'_>) {
        let address = self.place.address.to_string();
        self.house.audit.event(&Event {
            event: "credential",
            outcome: outcome.word(),
            reason: Some(decision.reason),
            scheme: decision.scheme,
            subject: decision.subject,
            request_id: Some(&self.request_id),
            ..at(&self.place, &address)
        });
    }

    /// Record that the client removed an upload.
    pub fn removed(&self, upload: Option<&str>) {
        let address = self.place.address.to_string();
        self.house.audit.event(&Event {
            event: "deleted",
            outcome: "done",
            upload,
            request_id: Some(&self.request_id),
            ..at(&self.place, &address)
        });
    }
}

impl House {
    /// Record a step of a session, and the change of place that came with it.
    pub fn record_step(&self, step: &'static str, session: &Session, moved: Option<&Change>) {
        let address = session.place.address.to_string();
        let about = Event {
            outcome: "done",
            subject: session.subject.as_deref(),
            session: Some(session.key.short()),
            ..at(&session.place, &address)
        };
        self.audit.event(&Event { event: step, ..about.clone() });
        if let Some(change) = moved {
            let from = change.from.address.to_string();
            self.audit.event(&Event {
                event: "network-changed",
                from_address: Some(&from),
                from_network: Some(&change.from.network),
                ..about
            });
        }
    }

    /// Record that somebody was turned away.
    pub fn record_refusal(&self, event: &'static str, reason: &'static str, place: &Place) {
        let address = place.address.to_string();
        self.audit.event(&Event { event, outcome: "refused", reason: Some(reason), ..at(place, &address) });
    }

    /// Count a guess; whoever guesses too often is banned.
    pub async fn failed(&self, place: &Place) {
        if let Some(ban) = self.guard.failed(place.address).await {
            tracing::warn!(address = %place.address, seconds = ban.as_secs(), "banned after too many wrong credentials");
            self.record_refusal("banned", "failures", place);
        }
    }

    /// [SES-51] [SES-52] may this address ask at all?
    ///
    /// # Errors
    /// When it has to wait.
    pub async fn may_ask(&self, place: &Place) -> Result<(), Stopped> {
        self.guard.admit(place.address).await
    }
}
