//! Our own failures, as opposed to a client's (`engine::Refusal`). A fault is logged once, at error level, and
//! reaches a client as 500, 503 or 507 without its inner text.

use std::{fmt, io};

/// Which part failed; a label of the metric `plimsoll_faults_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The offset ledger.
    Ledger,
    /// The store of bytes.
    Blobs,
    /// The coordination of writers.
    Leases,
    /// The store of sessions.
    Sessions,
    /// The counting of failures and rates.
    Abuse,
}

impl Component {
    /// The metric label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Blobs => "blobs",
            Self::Leases => "leases",
            Self::Sessions => "sessions",
            Self::Abuse => "abuse",
        }
    }
}

/// A failure of a part of ours.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {doing}: {cause}", component.word())]
pub struct Fault {
    /// Which part.
    pub component: Component,
    /// What it was doing, for the log.
    pub doing: &'static str,
    /// The inner text, for the log only.
    pub cause: String,
    /// Whether the disk had no room left: the one fault a client is told about (507).
    pub full: bool,
    /// Whether it is certain that nothing was changed, now or by a crash later. A caller in doubt keeps what it has.
    pub unchanged: bool,
    /// Whether bytes that the ledger counts are missing in the store: trying again does not help.
    pub lost: bool,
}

impl Fault {
    /// A fault with the text of what caused it.
    pub fn new(component: Component, doing: &'static str, cause: impl fmt::Display) -> Self {
        Self { component, doing, cause: cause.to_string(), full: false, unchanged: false, lost: false }
    }

    /// The disk reserve would be touched.
    #[must_use]
    pub fn no_room() -> Self {
        let cause = "the disk has no room beyond [store] reserve";
        Self { full: true, ..Self::new(Component::Blobs, "writing a blob", cause) }
    }

    /// Bytes that the ledger counts are missing.
    #[must_use]
    pub fn lost(doing: &'static str, cause: impl fmt::Display) -> Self {
        Self { lost: true, ..Self::new(Component::Blobs, doing, cause) }
    }

    /// A failed system call of the store.
    #[must_use]
    pub fn io(doing: &'static str, cause: &io::Error) -> Self {
        let full = matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        Self { full, ..Self::new(Component::Blobs, doing, cause) }
    }
}
