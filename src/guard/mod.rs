//! Abuse: bans after too many failures, and rates.
//!
//! ```text
//!   wire ── address ──────────────> Guard::admit ──> Ok, or wait so long
//!   wire ── address (it failed) ──> Guard::failed ──> banned now?
//!   wire ── address (refused) ────> Guard::banned_for ──> 429 in place of the refusal
//! ```
//!
//! A ban changes the answer to a wrong credential and to nothing else. Many share one address, behind a NAT or a proxy, and
//! a web page can have its visitors' browsers send what it likes: whoever shows what is good is never turned away for
//! what another one showed. Keys of 256 bits need no ban against guessing; it is there for logs and for firewalls.

pub mod memory;
pub mod rate;
pub mod redis;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;

use crate::config::{Abuse, Cidr};

/// What is too much, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// [SES-70] Failures of one address within `failure_window` that ban it; 0: nobody is banned. The window begins
    /// with the first failure; when it is over, counting begins anew.
    pub max_failures: u32,
    /// See `max_failures`.
    pub failure_window: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// Networks that are neither banned nor limited.
    pub allow: Vec<Cidr>,
    /// [SES-52] Requests of one address in a minute, as many at once; 0: no limit.
    pub requests_per_minute: u32,
    /// [SES-52] The same for one subject.
    pub subject_requests_per_minute: u32,
}

impl Limits {
    /// As configured.
    #[must_use]
    pub fn new(abuse: &Abuse) -> Self {
        Self {
            max_failures: abuse.max_failures,
            failure_window: abuse.failure_window.duration(),
            ban: abuse.ban.duration(),
            allow: abuse.allow.clone(),
            requests_per_minute: abuse.requests_per_minute,
            subject_requests_per_minute: abuse.subject_requests_per_minute,
        }
    }

    /// Whether an address is neither banned nor limited.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(address))
    }
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The address failed too often.
    Banned { retry_after: Duration },
    /// The address, or the subject, asks too often.
    Rate { retry_after: Duration },
}

/// Who may ask at all. Never fails: when what it counts with is unreachable it counts in memory, and says so in the log.
#[async_trait]
pub trait Guard: Send + Sync + std::fmt::Debug {
    /// [SES-52] Count a request of an address.
    async fn admit(&self, address: IpAddr) -> Result<(), Stopped>;

    /// Count a request of a subject that has shown a good credential.
    async fn admit_subject(&self, subject: &str) -> Result<(), Stopped>;

    /// How long an address is still banned; `None` when it is not.
    async fn banned_for(&self, address: IpAddr) -> Option<Duration>;

    /// Count a failed credential; the length of the ban, when this one brought it about.
    async fn failed(&self, address: IpAddr) -> Option<Duration>;
}
