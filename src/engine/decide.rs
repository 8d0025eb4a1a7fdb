//! What the server permits. A pure function of the upload, the command and the limits; everything else in the
//! engine carries out what is decided here.
//!
//! ```text
//!                  | no such upload | receiving, O bytes       | complete         | gone
//!   Whole          | create         | restart from byte 0      | refuse Complete  | refuse Gone
//!   Append at O    | create if O=0  | go on                    | Already, if it   | refuse Gone
//!   Append elsewhere | OffsetMismatch | OffsetMismatch         |  ends at the end | refuse Gone
//! ```

use crate::upload::{Kind, Offset, Phase, Upload};

use super::refusal::Refusal;

/// What a client asks to have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where its first byte goes.
    pub start: Start,
    /// How many bytes it announces; `None` for a chunked body.
    pub body: Option<u64>,
    /// The complete length, from the request or the credential.
    pub length: Option<u64>,
    /// Whether a name that is not in the ledger may be created.
    pub may_create: bool,
}

/// Where a write begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The whole file from byte 0; what an earlier attempt left is superseded.
    Whole,
    /// Strict append.
    At(Offset),
}

/// Limits that hold for every upload.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest complete length in bytes.
    pub max_size: u64,
    /// Bytes that may still be written before the disk reserve is touched; `None` when the store has no end.
    pub room: Option<u64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A new upload.
    Create(Stretch),
    /// Byte 0 again: a new blob under the next generation.
    Restart(Stretch),
    /// Go on where the ledger says.
    Continue(Stretch),
    /// It is complete, and this request would have ended there: success, body unread.
    Already,
}

/// The bytes that a plan writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first byte's place.
    pub from: Offset,
    /// Where the body ends at the latest; a byte behind it is an overrun.
    pub limit: u64,
    /// Where the body must end exactly; `None` for a body of unannounced size.
    pub end: Option<u64>,
    /// The complete length, if known.
    pub length: Option<u64>,
    /// Whether the end of the body is the end of the file.
    pub whole: bool,
}

/// Judge a write. Refusals that depend on the offset may change while an older writer is still at work; see
/// [`is_about_progress`].
///
/// # Errors
/// The refusal that the client gets.
pub fn decide(upload: Option<&Upload>, write: &Write, limits: &Limits) -> Result<Plan, Refusal> {
    let known = upload.and_then(|u| u.length);
    // [TUS-85] a concatenation takes no bytes of its own
    if let Some(Upload { kind: Kind::Final(_), phase: Phase::Receiving | Phase::Complete, .. }) = upload {
        return Err(Refusal::Final);
    }
    match upload.map(|u| u.phase) {
        Some(Phase::Gone(why)) => return Err(Refusal::Gone(why)),
        // [ENG-4] complete is for ever
        Some(Phase::Complete) => return already_complete(known.unwrap_or_default(), write),
        Some(Phase::Receiving) | None => {}
    }
    // [ENG-8] the length that was announced first binds every later request
    if let (Some(ours), Some(theirs)) = (known, write.length)
        && ours != theirs
    {
        return Err(Refusal::LengthMismatch { ours, theirs });
    }
    let whole = write.start == Start::Whole;
    // The body of a plain PUT is the whole file, so its size is the complete length.
    let length = known.or(write.length).or(write.body.filter(|_| whole));
    if length.is_some_and(|l| l > limits.max_size) {
        return Err(Refusal::TooLarge { limit: limits.max_size });
    }
    let from = match write.start {
        Start::Whole => Offset::ZERO,
        Start::At(at) => at,
    };
    let end = write.body.map(|body| from.0.saturating_add(body));
    let ceiling = length.unwrap_or(limits.max_size);
    if let Some(end) = end
        && end > ceiling
    {
        return Err(Refusal::TooLarge { limit: ceiling });
    }
    if whole
        && let (Some(body), Some(length)) = (write.body, length)
        && body != length
    {
        return Err(Refusal::TooShort { received: Offset::ZERO, expected: length });
    }
    let held = upload.map_or(Offset::ZERO, |u| u.offset);
    if !whole && from != held {
        return Err(Refusal::OffsetMismatch { ours: held, theirs: from });
    }
    // [ENG-8] a length that is named late cannot be less than what is held
    if !whole && held.0 > ceiling {
        return Err(Refusal::TooLarge { limit: ceiling });
    }
    if upload.is_none() && !write.may_create {
        return Err(Refusal::Unknown);
    }
    // [ENG-8] the disk reserve is not touched
    let incoming = end.or(length).unwrap_or(from.0).saturating_sub(from.0);
    if limits.room.is_some_and(|room| room < incoming || room == 0) {
        return Err(Refusal::StorageFull);
    }
    let end = end.or(if whole { length } else { None });
    let stretch = Stretch { from, limit: end.unwrap_or(ceiling), end, length, whole };
    Ok(match upload {
        None => Plan::Create(stretch),
        // [ENG-9] byte 0 again supersedes
        Some(_) if whole => Plan::Restart(stretch),
        Some(_) => Plan::Continue(stretch),
    })
}

/// A strict append that would have ended where the complete upload ends is a repetition after a lost answer.
fn already_complete(length: u64, write: &Write) -> Result<Plan, Refusal> {
    let Start::At(at) = write.start else { return Err(Refusal::Complete) };
    if let Some(theirs) = write.length
        && theirs != length
    {
        return Err(Refusal::LengthMismatch { ours: length, theirs });
    }
    if at.0.saturating_add(write.body.unwrap_or_default()) == length {
        return Ok(Plan::Already);
    }
    Err(Refusal::OffsetMismatch { ours: Offset(length), theirs: at })
}

/// Whether a refusal might become a permission, or the other way round, by what an older writer still commits.
#[must_use]
pub fn is_about_progress(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::OffsetMismatch { .. } | Refusal::Unknown)
}
