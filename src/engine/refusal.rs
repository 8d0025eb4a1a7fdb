//! What the engine says no to. No status codes here: protocols disagree about them, and each adapter in `wire/`
//! has its own table.

use std::time::Duration;

use crate::{
    fault::Fault,
    upload::{Gone, Offset},
};

/// The client's fault, or at least nobody's of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No upload has this name.
    #[error("there is no such upload")]
    Unknown,
    /// The upload existed and was removed.
    #[error("the upload is gone ({})", .0.word())]
    Gone(Gone),
    /// The upload is complete; nothing writes to it again.
    #[error("the upload is complete")]
    Complete,
    /// The upload is not complete, so nobody may read it.
    #[error("the upload is not complete")]
    Incomplete,
    /// The request continues at another offset than ours.
    #[error("the upload continues at byte {ours}, not at {theirs}")]
    OffsetMismatch {
        /// Durable bytes that we hold.
        ours: Offset,
        /// Where the request wanted to go on.
        theirs: Offset,
    },
    /// The request names another complete length than the upload has.
    #[error("the complete length is {ours} bytes, not {theirs}")]
    LengthMismatch {
        /// The length on record or in the credential.
        ours: u64,
        /// The length that the request names.
        theirs: u64,
    },
    /// The upload or this request would be larger than allowed.
    #[error("more than the allowed {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// The body ended before the bytes that the request announced.
    #[error("the body ended at byte {received} of {expected}")]
    TooShort {
        /// Bytes held now.
        received: Offset,
        /// Bytes expected.
        expected: u64,
    },
    /// The body went on behind the bytes that the request announced; those are kept.
    #[error("the body went on behind byte {limit}")]
    Overrun {
        /// Where the body had to end.
        limit: u64,
        /// Bytes held now.
        held: Offset,
    },
    /// A complete length is needed and unknown.
    #[error("the complete length is not known")]
    LengthRequired,
    /// The disk reserve would be touched.
    #[error("the store has no room for this upload")]
    StorageFull,
    /// A newer writer took over; what this one sent is kept up to `held`.
    #[error("a newer request took over this upload")]
    Superseded {
        /// Bytes held at the hand-over.
        held: Offset,
    },
    /// The older writer did not end in time.
    #[error("an older request still writes this upload")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The body was silent for too long; what arrived is kept.
    #[error("the body was silent for too long")]
    Stalled {
        /// Bytes held now.
        held: Offset,
    },
    /// The connection broke; what arrived is kept.
    #[error("the connection broke")]
    Broken {
        /// Bytes held now.
        held: Offset,
    },
    /// The server is stopping; what arrived is kept.
    #[error("the server is stopping")]
    Stopping {
        /// Bytes held now.
        held: Offset,
    },
    /// A concatenation takes no bytes of its own.
    #[error("this upload is made of others and cannot be written")]
    Final,
    /// A part of a concatenation is not a partial upload that may be used.
    #[error("part {index} of the concatenation is not a partial upload of yours")]
    BadPart {
        /// Which one, from 0.
        index: usize,
    },
    /// A concatenation names more parts than allowed.
    #[error("a concatenation takes at most {limit} parts; join fewer, larger ones")]
    TooManyParts {
        /// Parts allowed.
        limit: usize,
    },
    /// The bytes are not those that the checksum was made of; none of this request is kept.
    #[error("the checksum does not match the bytes")]
    ChecksumMismatch,
    /// A checksum was announced as a trailer and did not come; none of this request is kept.
    #[error("the announced checksum did not come")]
    ChecksumMissing,
    /// The configuration does not let clients delete such an upload.
    #[error("this upload may not be deleted")]
    Forbidden,
}

impl Refusal {
    /// The word for metrics, logs and the `type` of problem documents.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Gone(_) => "gone",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::OffsetMismatch { .. } => "offset-mismatch",
            Self::LengthMismatch { .. } => "length-mismatch",
            Self::TooLarge { .. } => "too-large",
            Self::TooShort { .. } => "too-short",
            Self::Overrun { .. } => "overrun",
            Self::LengthRequired => "length-required",
            Self::StorageFull => "storage-full",
            Self::Superseded { .. } => "superseded",
            Self::Busy { .. } => "busy",
            Self::Stalled { .. } => "stalled",
            Self::Broken { .. } => "broken",
            Self::Stopping { .. } => "stopping",
            Self::Final => "final",
            Self::BadPart { .. } => "bad-part",
            Self::TooManyParts { .. } => "too-many-parts",
            Self::ChecksumMismatch => "checksum-mismatch",
            Self::ChecksumMissing => "checksum-missing",
            Self::Forbidden => "forbidden",
        }
    }

    /// When the same request may succeed, where waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { retry_after } = self {
            return Some(*retry_after);
        }
        // [ENG-43] Room comes back when something is removed, which takes a while.
        if matches!(self, Self::StorageFull) {
            return Some(Duration::from_secs(60));
        }
        // [ENG-64] room comes back when files are removed, which takes somebody a while
        if matches!(self, Self::StorageFull) {
            return Some(Duration::from_secs(60));
        }
        // A restarted server is up again in seconds.
        matches!(self, Self::Stopping { .. }).then_some(Duration::from_secs(5))
    }

    /// How many bytes of the upload are held, where the refusal tells it.
    #[must_use]
    pub fn held(&self) -> Option<Offset> {
        match self {
            Self::OffsetMismatch { ours: held, .. }
            | Self::TooShort { received: held, .. }
            | Self::Overrun { held, .. }
            | Self::Superseded { held }
            | Self::Stalled { held }
            | Self::Broken { held }
            | Self::Stopping { held } => Some(*held),
            Self::Unknown
            | Self::Gone(_)
            | Self::Complete
            | Self::Incomplete
            | Self::LengthMismatch { .. }
            | Self::TooLarge { .. }
            | Self::LengthRequired
            | Self::StorageFull
            | Self::Busy { .. }
            | Self::Final
            | Self::BadPart { .. }
            | Self::TooManyParts { .. }
            | Self::ChecksumMismatch
            | Self::ChecksumMissing
            | Self::Forbidden => None,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours.
    #[error(transparent)]
    Fault(#[from] Fault),
}
