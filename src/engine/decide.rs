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
        // [ENG-16] a tombstone keeps its name used
        Some(Phase::Gone(why)) => return Err(Refusal::Gone(why)),
        // [ENG-4] complete is for ever
        Some(Phase::Complete) => return already_complete(known.unwrap_or_default(), write),
        Some(Phase::Receiving) | None => {}
    }
    // [TUS-26] what is not there has no offset to be wrong about
    if upload.is_none() && !write.may_create {
        return Err(Refusal::Unknown);
    }
    // [ENG-24] the length that was announced first binds every later request
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
    // [TUS-25] a wrong offset is told first: the client's idea of the rest follows from it
    let held = upload.map_or(Offset::ZERO, |u| u.offset);
    if !whole && from != held {
        return Err(Refusal::OffsetMismatch { ours: held, theirs: from });
    }
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
    // [ENG-24] a length that is named late cannot be less than what is held
    if !whole && held.0 > ceiling {
        return Err(Refusal::TooLarge { limit: ceiling });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        upload::{About, BlobKey, BlobState, Generation, Gone, Name, UploadId},
    };

    const ROOMY: Limits = Limits { max_size: 1_000, room: None };

    /// A row that holds `offset` bytes.
    fn row(phase: Phase, offset: u64, length: Option<u64>) -> Option<Upload> {
        Some(Upload {
            name: Name("/upload/a".into()),
            id: UploadId(String::new()),
            phase,
            generation: Generation::FIRST,
            offset: Offset(offset),
            length,
            kind: Kind::Single,
            blob: BlobKey(String::new()),
            blob_state: BlobState::default(),
            about: About::default(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            completed_at: None,
            expires_at: None,
        })
    }

    fn receiving(offset: u64, length: u64) -> Option<Upload> {
        row(Phase::Receiving, offset, Some(length))
    }

    fn unknown_length(offset: u64) -> Option<Upload> {
        row(Phase::Receiving, offset, None)
    }

    fn complete(length: u64) -> Option<Upload> {
        row(Phase::Complete, length, Some(length))
    }

    /// A plain PUT with a body of announced size.
    fn put(size: u64) -> Write {
        Write { start: Start::Whole, body: Some(size), length: Some(size), may_create: true }
    }

    /// A strict append of `body` bytes at `at` to an upload of `length`.
    fn append(at: u64, body: u64, length: u64) -> Write {
        Write { start: Start::At(Offset(at)), body: Some(body), length: Some(length), may_create: true }
    }

    fn chunked(write: Write) -> Write {
        Write { body: None, ..write }
    }

    fn unmeasured(write: Write) -> Write {
        Write { length: None, ..write }
    }

    fn stretch(from: u64, limit: u64, end: Option<u64>, length: Option<u64>, whole: bool) -> Stretch {
        Stretch { from: Offset(from), limit, end, length, whole }
    }

    fn mismatch(ours: u64, theirs: u64) -> Result<Plan, Refusal> {
        Err(Refusal::OffsetMismatch { ours: Offset(ours), theirs: Offset(theirs) })
    }

    fn other_length(ours: u64, theirs: u64) -> Result<Plan, Refusal> {
        Err(Refusal::LengthMismatch { ours, theirs })
    }

    fn too_large(limit: u64) -> Result<Plan, Refusal> {
        Err(Refusal::TooLarge { limit })
    }

    fn too_short(expected: u64) -> Result<Plan, Refusal> {
        Err(Refusal::TooShort { received: Offset::ZERO, expected })
    }

    type Row = (&'static str, Option<Upload>, Write, Result<Plan, Refusal>);

    fn holds(limits: Limits, rows: Vec<Row>) {
        for (sentence, upload, write, expected) in rows {
            assert_eq!(decide(upload.as_ref(), &write, &limits), expected, "{sentence}");
        }
    }

    #[test]
    fn a_name_that_is_not_in_the_ledger() {
        let nobody = || None;
        let stranger = |write| Write { may_create: false, ..write };
        holds(
            ROOMY,
            vec![
                (
                    "a plain PUT creates it",
                    nobody(),
                    put(10),
                    Ok(Plan::Create(stretch(0, 10, Some(10), Some(10), true))),
                ),
                (
                    "a plain PUT of nothing creates it",
                    nobody(),
                    put(0),
                    Ok(Plan::Create(stretch(0, 0, Some(0), Some(0), true))),
                ),
                (
                    "a plain PUT's body tells the length where nothing else does",
                    nobody(),
                    unmeasured(put(10)),
                    Ok(Plan::Create(stretch(0, 10, Some(10), Some(10), true))),
                ),
                (
                    "a chunked plain PUT of known length ends there",
                    nobody(),
                    chunked(put(10)),
                    Ok(Plan::Create(stretch(0, 10, Some(10), Some(10), true))),
                ),
                (
                    "a chunked plain PUT of unknown length ends at the largest size",
                    nobody(),
                    unmeasured(chunked(put(10))),
                    Ok(Plan::Create(stretch(0, 1_000, None, None, true))),
                ),
                (
                    "an append at byte 0 creates it",
                    nobody(),
                    append(0, 4, 10),
                    Ok(Plan::Create(stretch(0, 4, Some(4), Some(10), false))),
                ),
                (
                    "a chunked append of known length may go up to it",
                    nobody(),
                    chunked(append(0, 4, 10)),
                    Ok(Plan::Create(stretch(0, 10, None, Some(10), false))),
                ),
                (
                    "an append elsewhere finds nothing to go on from",
                    nobody(),
                    append(4, 6, 10),
                    mismatch(0, 4),
                ),
                ("who may not create learns nothing", nobody(), stranger(put(10)), Err(Refusal::Unknown)),
                (
                    "who may not create learns nothing by appending",
                    nobody(),
                    stranger(append(0, 10, 10)),
                    Err(Refusal::Unknown),
                ),
            ],
        );
    }

    #[test]
    fn an_upload_that_is_receiving() {
        holds(
            ROOMY,
            vec![
                (
                    "an append at the offset goes on",
                    receiving(4, 10),
                    append(4, 3, 10),
                    Ok(Plan::Continue(stretch(4, 7, Some(7), Some(10), false))),
                ),
                (
                    "an append that names no length keeps the one on record",
                    receiving(4, 10),
                    unmeasured(append(4, 6, 0)),
                    Ok(Plan::Continue(stretch(4, 10, Some(10), Some(10), false))),
                ),
                (
                    "an append of nothing at the end goes on, to complete it",
                    unknown_length(10),
                    append(10, 0, 10),
                    Ok(Plan::Continue(stretch(10, 10, Some(10), Some(10), false))),
                ),
                (
                    "a length that is named late counts",
                    unknown_length(4),
                    append(4, 1, 10),
                    Ok(Plan::Continue(stretch(4, 5, Some(5), Some(10), false))),
                ),
                (
                    "an append before the offset is refused",
                    receiving(4, 10),
                    append(3, 7, 10),
                    mismatch(4, 3),
                ),
                (
                    "an append behind the offset is refused",
                    receiving(4, 10),
                    append(5, 5, 10),
                    mismatch(4, 5),
                ),
                (
                    "byte 0 again restarts under a new blob",
                    receiving(4, 10),
                    put(10),
                    Ok(Plan::Restart(stretch(0, 10, Some(10), Some(10), true))),
                ),
                (
                    "a restart may be of another size where none is on record, even a smaller one than is held",
                    unknown_length(40),
                    put(10),
                    Ok(Plan::Restart(stretch(0, 10, Some(10), Some(10), true))),
                ),
                (
                    "who may not create may go on",
                    receiving(4, 10),
                    Write { may_create: false, ..append(4, 6, 10) },
                    Ok(Plan::Continue(stretch(4, 10, Some(10), Some(10), false))),
                ),
                ("another length is refused", receiving(4, 10), append(4, 6, 11), other_length(10, 11)),
                ("another length is refused of a restart", receiving(4, 10), put(9), other_length(10, 9)),
                (
                    "a late length that is less than what is held is refused",
                    unknown_length(40),
                    chunked(append(40, 0, 39)),
                    too_large(39),
                ),
            ],
        );
    }

    #[test]
    fn an_upload_that_is_complete() {
        holds(
            ROOMY,
            vec![
                ("a plain PUT is refused", complete(10), put(10), Err(Refusal::Complete)),
                (
                    "a plain PUT of another size is refused alike",
                    complete(10),
                    put(9),
                    Err(Refusal::Complete),
                ),
                (
                    "an append that would have ended there is answered again",
                    complete(10),
                    append(4, 6, 10),
                    Ok(Plan::Already),
                ),
                ("and so is the whole of it", complete(10), append(0, 10, 10), Ok(Plan::Already)),
                (
                    "and so is one that names no length",
                    complete(10),
                    unmeasured(append(4, 6, 0)),
                    Ok(Plan::Already),
                ),
                (
                    "an append of nothing at the end is answered again",
                    complete(10),
                    append(10, 0, 10),
                    Ok(Plan::Already),
                ),
                ("an append that ends before is refused", complete(10), append(4, 5, 10), mismatch(10, 4)),
                ("an append that ends behind is refused", complete(10), append(4, 7, 10), mismatch(10, 4)),
                ("an append from the end on is refused", complete(10), append(10, 1, 10), mismatch(10, 10)),
                ("another length is refused", complete(10), append(4, 7, 11), other_length(10, 11)),
                (
                    "an offset at the end of the range overflows nothing",
                    complete(10),
                    append(u64::MAX, u64::MAX, 10),
                    mismatch(10, u64::MAX),
                ),
            ],
        );
    }

    #[test]
    fn an_upload_that_is_gone() {
        for why in [Gone::Deleted, Gone::Expired, Gone::Retention] {
            let gone = || row(Phase::Gone(why), 4, Some(10));
            for write in [put(10), put(11), append(4, 6, 10), append(0, 10, 10), chunked(append(9, 0, 99))] {
                assert_eq!(decide(gone().as_ref(), &write, &ROOMY), Err(Refusal::Gone(why)), "{write:?}");
            }
        }
    }

    #[test]
    fn sizes() {
        let limits = Limits { max_size: 100, room: None };
        holds(
            limits,
            vec![
                (
                    "the largest size is allowed",
                    None,
                    put(100),
                    Ok(Plan::Create(stretch(0, 100, Some(100), Some(100), true))),
                ),
                ("a byte more is refused", None, put(101), too_large(100)),
                (
                    "a byte more is refused when only the body tells",
                    None,
                    unmeasured(put(101)),
                    too_large(100),
                ),
                (
                    "a length beyond it is refused before its bytes come",
                    None,
                    append(0, 1, 101),
                    too_large(100),
                ),
                ("a body beyond the length is refused", receiving(4, 10), append(4, 7, 10), too_large(10)),
                (
                    "a body beyond the largest size is refused where no length is known",
                    unknown_length(60),
                    unmeasured(append(60, 41, 0)),
                    too_large(100),
                ),
                (
                    "a plain PUT that is shorter than its length is refused before it begins",
                    None,
                    Write { body: Some(9), ..put(10) },
                    too_short(10),
                ),
                (
                    "a plain PUT that is longer than its length is refused before it begins",
                    None,
                    Write { body: Some(11), ..put(10) },
                    too_large(10),
                ),
                (
                    "sizes at the end of the range overflow nothing",
                    row(Phase::Receiving, 1, None),
                    unmeasured(append(1, u64::MAX, 0)),
                    too_large(100),
                ),
                (
                    "a wrong offset is told before a size that follows from it",
                    row(Phase::Receiving, 1, None),
                    unmeasured(append(90, 20, 0)),
                    mismatch(1, 90),
                ),
            ],
        );
    }

    #[test]
    fn room() {
        let with = |room| Limits { max_size: 1_000, room: Some(room) };
        let full = || Err(Refusal::StorageFull);
        let fits = || Ok(Plan::Create(stretch(0, 10, Some(10), Some(10), true)));
        holds(with(10), vec![("what fits exactly is taken", None, put(10), fits())]);
        holds(
            with(9),
            vec![
                ("what does not fit is refused", None, put(10), full()),
                ("the announced body counts before the length", None, append(0, 9, 100), {
                    Ok(Plan::Create(stretch(0, 9, Some(9), Some(100), false)))
                }),
                (
                    "a chunked body counts with all that is missing",
                    receiving(4, 14),
                    chunked(append(4, 0, 14)),
                    full(),
                ),
                (
                    "bytes that are there already need no room",
                    receiving(4, 13),
                    chunked(append(4, 0, 13)),
                    Ok(Plan::Continue(stretch(4, 13, None, Some(13), false))),
                ),
            ],
        );
        holds(
            with(0),
            vec![
                ("a disk at its reserve takes nothing", None, put(0), full()),
                (
                    "and no body of unknown size",
                    unknown_length(4),
                    unmeasured(chunked(append(4, 0, 0))),
                    full(),
                ),
                ("what is complete needs no room", complete(10), append(4, 6, 10), Ok(Plan::Already)),
            ],
        );
    }

    #[test]
    fn only_what_an_older_writer_may_still_change_is_about_progress() {
        let progress = [Refusal::OffsetMismatch { ours: Offset(1), theirs: Offset(2) }, Refusal::Unknown];
        let settled = [
            Refusal::Gone(Gone::Deleted),
            Refusal::Complete,
            Refusal::LengthMismatch { ours: 1, theirs: 2 },
            Refusal::TooLarge { limit: 1 },
            Refusal::TooShort { received: Offset(0), expected: 1 },
            Refusal::StorageFull,
        ];
        assert!(progress.iter().all(is_about_progress));
        assert!(!settled.iter().any(is_about_progress));
    }
}
