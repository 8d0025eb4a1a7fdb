//! Why the file could not be written, as far as it matters for what is done next.

use crate::fault::{Component, Fault};

/// Primary result codes of SQLite: <https://www.sqlite.org/rescode.html>
const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const RANGE: i32 = 25;
const NOT_A_DATABASE: i32 = 26;
/// The extended codes for a -shm file that could not be made or enlarged.
const SHM: [i32; 2] = [IO | (18 << 8), IO | (19 << 8)];

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The schema refuses a change; others of its batch may do well without it.
    Change,
    /// The disk has no room.
    Full,
    /// Another process holds the file's lock.
    Busy,
    /// The file is damaged.
    Damaged,
    /// The disk failed; or it has no room, and SQLite does not say so: it knows ENOSPC, not EDQUOT, and neither from a sync.
    Io,
    /// Anything else.
    Broken,
}

/// A failed write.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Failure {
    kind: Kind,
    /// Nothing was committed, and a crash brings nothing back.
    is_certain: bool,
    cause: String,
}

impl Failure {
    /// A failure that SQLite did not report.
    pub(super) fn broken(cause: impl ToString) -> Self {
        Self { kind: Kind::Broken, is_certain: false, cause: cause.to_string() }
    }

    /// Whether the changes of the batch are to be tried one by one.
    pub(super) fn is_of_a_change(&self) -> bool {
        self.kind == Kind::Change
    }

    /// The same, of a change that was certainly not made.
    pub(super) fn certain(mut self) -> Self {
        self.is_certain = true;
        self
    }

    /// The same, of a change that may have been made.
    pub(super) fn in_doubt(mut self) -> Self {
        self.is_certain = false;
        self
    }

    pub(super) fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// The same, as one of a full disk if that is what it was.
    pub(super) fn or_full(mut self, lacks_room: impl FnOnce() -> bool) -> Self {
        if self.kind == Kind::Io && lacks_room() {
            self.kind = Kind::Full;
        }
        self
    }

    pub(super) fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    pub(super) fn is_damage(&self) -> bool {
        self.kind == Kind::Damaged
    }

    /// Whether the same batch may be committed by another connection right now.
    pub(super) fn is_worth_another_try(&self) -> bool {
        matches!(self.kind, Kind::Io | Kind::Broken)
    }

    pub(super) fn fault(&self, component: Component, doing: &'static str) -> Fault {
        Fault {
            full: self.is_full(),
            unchanged: self.is_certain,
            ..Fault::new(component, doing, &self.cause)
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()?.parse::<i32>().ok());
        let kind = match code {
            Some(code) if SHM.contains(&code) => Kind::Full,
            Some(code) => match code & 0xff {
                FULL => Kind::Full,
                BUSY | LOCKED => Kind::Busy,
                IO => Kind::Io,
                CORRUPT | NOT_A_DATABASE => Kind::Damaged,
                ERROR | TOO_BIG | CONSTRAINT | MISMATCH | RANGE => Kind::Change,
                _ => Kind::Broken,
            },
            None => Kind::Broken,
        };
        // A COMMIT that finds no room has written no end of its transaction, and is rolled back:
        // <https://www.sqlite.org/lang_transaction.html>
        let is_certain = code.is_some_and(|code| code & 0xff == FULL);
        Self { kind, is_certain, cause: error.to_string() }
    }
}
