//! What the server permits, written a second time and in another form: not a sequence of checks that ends at the
//! first failure, but all the reasons that stand against a write. The engine must name one of them, and must
//! accept exactly when there is none.

use std::collections::BTreeSet;

use plimsoll::{
    engine::{Start, Write},
    upload::{Phase, Upload},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted(Accepted),
    Already,
    Refused(BTreeSet<&'static str>),
}

/// What an accepted write comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub from: u64,
    /// No byte behind this one is kept.
    pub limit: u64,
    /// The body has to end here.
    pub end: Option<u64>,
    /// The complete length.
    pub length: Option<u64>,
}

pub fn judge(row: Option<&Upload>, write: &Write, largest: u64, room: Option<u64>) -> Verdict {
    let mut against = BTreeSet::new();
    let known = row.and_then(|r| r.length);
    let differs = known.is_some_and(|ours| write.length.is_some_and(|theirs| theirs != ours));
    match row.map(|r| r.phase) {
        Some(Phase::Gone(_)) => return Verdict::Refused(BTreeSet::from(["gone"])),
        Some(Phase::Complete) => {
            let length = known.expect("complete uploads have a length");
            let Start::At(at) = write.start else { return Verdict::Refused(BTreeSet::from(["complete"])) };
            let ends_there = at.0 + write.body.unwrap_or(0) == length;
            if ends_there && !differs {
                return Verdict::Already;
            }
            if differs {
                against.insert("length-mismatch");
            }
            if !ends_there {
                against.insert("offset-mismatch");
            }
            return Verdict::Refused(against);
        }
        Some(Phase::Receiving) | None => {}
    }
    let whole = write.start == Start::Whole;
    let from = if let Start::At(at) = write.start { at.0 } else { 0 };
    let length = known.or(write.length).or(write.body.filter(|_| whole));
    let announced = write.body.map(|body| from + body);
    let ceiling = length.unwrap_or(largest);
    let mut count = |holds: bool, word: &'static str| {
        if holds {
            against.insert(word);
        }
    };
    count(differs, "length-mismatch");
    count(length.is_some_and(|l| l > largest), "too-large");
    count(announced.is_some_and(|end| end > ceiling), "too-large");
    count(!whole && row.is_some_and(|r| r.offset.0 > ceiling), "too-large");
    count(whole && announced.is_some_and(|end| length.is_some_and(|l| end != l)), "too-short");
    count(!whole && from != row.map_or(0, |r| r.offset.0), "offset-mismatch");
    count(row.is_none() && !write.may_create, "unknown");
    let coming = announced.or(length).unwrap_or(from).saturating_sub(from);
    count(room.is_some_and(|room| room == 0 || room < coming), "storage-full");
    if !against.is_empty() {
        return Verdict::Refused(against);
    }
    let end = announced.or(if whole { length } else { None });
    Verdict::Accepted(Accepted { from, limit: end.unwrap_or(ceiling), end, length })
}
