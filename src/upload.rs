//! The vocabulary: what an upload is. Imports nothing of ours but the clock's `Timestamp`.
//!
//! ```text
//!   Receiving --(last byte durable)--> Complete
//!       |                                 |
//!       +--(expired, deleted)---> Gone <--+ (deleted, retention)
//! ```
//!
//! `Gone` is a tombstone: the row stays and keeps its name used, the bytes are freed. Tokens that never
//! expire (v1, v2) could otherwise write a second file under a URL that was handed out for the first.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The key of an upload in the ledger: the URL's path, percent-decoded once, base path included.
///
/// Client text. It is compared and stored as data and never becomes a path in storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(pub String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The public identity of an upload: 32 hex digits, unguessable, never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadId(pub String);

/// Where a store keeps the bytes of an upload: 32 hex digits of 128 random bits, made by us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey(pub String);

/// What a store needs besides the key to go on at a durable offset. Opaque to everyone else; committed in
/// the same ledger transaction as the offset it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobState(pub String);

/// Bytes from the beginning of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The first byte.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fence: each writer of an upload holds a higher generation than the one before, and the ledger takes
/// commits of the highest only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of the writer that creates an upload.
    pub const FIRST: Self = Self(1);

    /// The generation that fences this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Where an upload stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Takes bytes; invisible to downloads.
    Receiving,
    /// Whole and served; never written again.
    Complete,
    /// A tombstone: the name stays used, the bytes are gone.
    Gone(Gone),
}

/// Why an upload is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its owner or an administrator deleted it.
    Deleted,
    /// It was not completed in time.
    Expired,
    /// It was complete and retention removed it.
    Retention,
}

impl Gone {
    /// The word that the ledger, the metrics and the problem documents use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Retention => "retention",
        }
    }
}

/// How an upload comes by its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// From its writers, and it is a file of its own.
    #[default]
    Single,
    /// From its writers, to become a part of others; never served by itself.
    Partial,
    /// From these partial uploads, in this order.
    Final(Vec<Name>),
}

/// What the client said of the file when it began; returned, never interpreted as a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The file's name for downloads.
    pub filename: Option<String>,
    /// The media type for downloads.
    pub content_type: Option<String>,
    /// Who uploads: a JID or the subject of a grant, where the credential names one.
    pub owner: Option<String>,
    /// When the complete file may be removed, where the credential says so.
    pub retain_until: Option<Timestamp>,
    /// tus `Upload-Metadata` as it came, to be returned byte for byte.
    pub metadata: Option<String>,
    /// tus `Upload-Concat` as it came.
    pub concat: Option<String>,
}

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key.
    pub name: Name,
    /// The public identity.
    pub id: UploadId,
    /// Where it stands.
    pub phase: Phase,
    /// The fence.
    pub generation: Generation,
    /// Durable bytes from the beginning.
    pub offset: Offset,
    /// The complete length in bytes; `None` until it is known.
    pub length: Option<u64>,
    /// Where the bytes are.
    pub blob: BlobKey,
    /// The store's own state at `offset`.
    pub blob_state: BlobState,
    /// Whose bytes it holds.
    pub kind: Kind,
    /// The client's description.
    pub about: About,
    /// When the first byte was recorded.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// When it became complete.
    pub completed_at: Option<Timestamp>,
    /// When the sweeper may remove it: an incomplete one for want of progress, a complete one by retention.
    pub expires_at: Option<Timestamp>,
}
