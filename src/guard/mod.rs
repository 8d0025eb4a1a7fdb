//! Abuse: bans after too many failures, and rates.
//!
//! ```text
//!   wire ── address ──────────────> Guard::admit ──> Ok, or wait so long
//!   wire ── address (it failed) ──> Guard::failed ──> banned now?
//! ```

pub mod rate;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;

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
    /// Count a request of an address.
    async fn admit(&self, address: IpAddr) -> Result<(), Stopped>;

    /// Count a request of a subject that has shown a good credential.
    async fn admit_subject(&self, subject: &str) -> Result<(), Stopped>;

    /// Count a failed credential or session id; the length of the ban, when this one brought it about.
    async fn failed(&self, address: IpAddr) -> Option<Duration>;
}
