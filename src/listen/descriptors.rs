//! Open files: how many the process may have, and how many connections that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the ledger, logs, the runtime, and files that are open for a moment.
const RESERVED: u64 = 64;
/// More than any machine serves with one process; keeps the arithmetic small where there is no limit.
const MOST: u64 = 1 << 20;

/// What the process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The soft limit that is in force.
    pub limit: u64,
    /// Of these, for connections and the files of their requests.
    pub for_connections: u64,
}

impl Descriptors {
    /// [ENG-120] Of a limit, what connections may take: each counts twice, for its socket and the file of its request.
    #[must_use]
    pub fn of(limit: u64) -> Self {
        let limit = limit.min(MOST);
        Self { limit, for_connections: limit.saturating_sub(RESERVED.max(limit / 16)).max(8) }
    }

    /// Connections that fit.
    #[must_use]
    pub fn connections(self) -> u64 {
        self.for_connections / 2
    }
}

/// [ENG-120] Raise the soft limit of open files to the hard one. Failure leaves it as it is.
#[must_use]
pub fn raise_open_files() -> Descriptors {
    let found = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
    if found.current != found.maximum
        && let Err(cause) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%cause, "the soft limit of open files cannot be raised to the hard one");
    }
    Descriptors::of(getrlimit(Resource::Nofile).current.unwrap_or(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_everything_else() {
        for limit in [16, 256, 1024, 65_536, u64::MAX] {
            let found = Descriptors::of(limit);
            assert!(found.connections() >= 4, "{found:?}");
            assert!(limit < 256 || found.connections() * 2 + RESERVED <= limit, "{found:?}");
        }
        assert_eq!(Descriptors::of(1024).connections(), 480);
    }
}
