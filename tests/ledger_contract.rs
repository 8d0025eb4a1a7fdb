//! What every ledger must do. Each case is a function of a ledger, so that another implementation is one more
//! `suite!` line: SQLite on a file, and the ledger in memory that the model test believes in.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect, and its files are small"
)]

#[path = "model/rules.rs"]
#[allow(dead_code, reason = "the simulator's clients need it, and a ledger has none")]
mod rules;
#[path = "model/sim/mod.rs"]
mod sim;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use plimsoll::{
    clock::Timestamp,
    ledger::{Advance, Due, Extent, Ledger, Removal, Swap, sqlite::SqliteLedger},
    telemetry::Metrics,
    upload::{About, BlobKey, BlobState, Generation, Gone, Kind, Name, Offset, Phase, Upload, UploadId},
};
use sim::{Style, World, ledger::MemoryLedger};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// The largest size that a ledger must hold.
const LARGEST: u64 = i64::MAX as u64;

fn name(text: impl Into<String>) -> Name {
    Name(text.into())
}

/// A receiving upload of 100 bytes, of which 10 are there.
fn row(name: &Name) -> Upload {
    let hex =
        format!("{:032x}", name.0.bytes().fold(7u128, |sum, b| sum.wrapping_mul(257).wrapping_add(b.into())));
    Upload {
        name: name.clone(),
        id: UploadId(hex.clone()),
        phase: Phase::Receiving,
        generation: Generation::FIRST,
        offset: Offset(10),
        length: Some(100),
        blob: BlobKey(hex),
        blob_state: BlobState("at ten".into()),
        kind: Kind::Single,
        about: About {
            filename: Some("photo.jpg".into()),
            content_type: Some("image/jpeg".into()),
            owner: Some("romeo@montague.example".into()),
            retain_until: Some(Timestamp(NOW.0 + 5)),
            metadata: Some("filename cGhvdG8=,is_draft".into()),
            concat: None,
        },
        created_at: NOW,
        updated_at: NOW,
        completed_at: None,
        expires_at: Some(Timestamp(NOW.0 + 1_000)),
    }
}

/// What `row` becomes with twenty bytes more.
fn progress(row: &Upload, generation: Generation) -> Advance {
    Advance {
        name: row.name.clone(),
        generation,
        offset: Offset(row.offset.0 + 20),
        length: row.length,
        phase: Phase::Receiving,
        blob: row.blob.clone(),
        blob_state: BlobState("further".into()),
        content_type: None,
        at: Timestamp(NOW.0 + 1),
        expires_at: Some(Timestamp(NOW.0 + 2_000)),
    }
}

fn completion(row: &Upload, generation: Generation) -> Advance {
    Advance {
        offset: Offset(100),
        length: Some(100),
        phase: Phase::Complete,
        expires_at: None,
        ..progress(row, generation)
    }
}

/// The removal of a receiving row that somebody asked for.
fn removal(name: &Name, generation: Generation, why: Gone, at: Timestamp) -> Removal {
    Removal { name: name.clone(), generation, phase: Phase::Receiving, due: None, why, at, forget_at: None }
}

async fn recorded(ledger: &dyn Ledger, text: &str) -> Upload {
    let new = row(&name(text));
    assert_eq!(ledger.record(new.clone()).await.unwrap(), Swap::Done);
    new
}

async fn found(ledger: &dyn Ledger, row: &Upload) -> Upload {
    ledger.find(&row.name).await.unwrap().expect("the row is there")
}

pub async fn a_recorded_row_is_found_as_it_was_written(ledger: &dyn Ledger) {
    let full = recorded(ledger, "/upload/full").await;
    assert_eq!(found(ledger, &full).await, full);
    let bare = Upload {
        length: None,
        about: About::default(),
        expires_at: None,
        offset: Offset::ZERO,
        blob_state: BlobState::default(),
        ..row(&name("/upload/bare"))
    };
    assert_eq!(ledger.record(bare.clone()).await.unwrap(), Swap::Done);
    assert_eq!(found(ledger, &bare).await, bare);
    assert_eq!(ledger.find(&name("/upload/none")).await.unwrap(), None);
}

// [ENG-13] an upload that arrives whole in one request is one row, written once
pub async fn a_complete_upload_can_be_recorded_at_once(ledger: &dyn Ledger) {
    let whole = Upload {
        phase: Phase::Complete,
        offset: Offset(100),
        completed_at: Some(NOW),
        ..row(&name("/upload/whole"))
    };
    assert_eq!(ledger.record(whole.clone()).await.unwrap(), Swap::Done);
    assert_eq!(found(ledger, &whole).await, whole);
}

pub async fn record_is_exclusive(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    let second = Upload { blob: BlobKey("another".into()), offset: Offset(50), ..first.clone() };
    assert_eq!(ledger.record(second).await.unwrap(), Swap::Fenced);
    assert_eq!(found(ledger, &first).await, first);
}

pub async fn fence_takes_the_next_generation_and_changes_nothing_else(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    assert_eq!(ledger.fence(&first.name, first.generation, first.offset).await.unwrap(), Swap::Done);
    let fenced = Upload { generation: first.generation.next(), ..first.clone() };
    assert_eq!(found(ledger, &first).await, fenced);
}

// [ENG-12] compare-and-set on the generation
pub async fn fence_fails_for_a_generation_that_is_not_the_rows(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    let fence = async |seen| ledger.fence(&first.name, seen, first.offset).await.unwrap();
    assert_eq!(fence(Generation(2)).await, Swap::Fenced);
    assert_eq!(fence(Generation(1)).await, Swap::Done);
    assert_eq!(fence(Generation(1)).await, Swap::Fenced);
    assert_eq!(found(ledger, &first).await.generation, Generation(2));
    let nobody = name("/upload/nobody");
    assert_eq!(ledger.fence(&nobody, Generation(1), Offset(10)).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.find(&nobody).await.unwrap(), None);
}

// [ENG-12] and on the offset: a writer elsewhere may have committed since the look
pub async fn fence_fails_when_the_offset_moved_since_the_look(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    assert_eq!(ledger.advance(progress(&first, Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(ledger.fence(&first.name, Generation(1), Offset(10)).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.fence(&first.name, Generation(1), Offset(30)).await.unwrap(), Swap::Done);
}

pub async fn advance_commits_offset_blob_and_state_together(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    let step = Advance {
        blob: BlobKey("another".into()),
        content_type: Some("text/plain".into()),
        length: Some(200),
        ..progress(&first, Generation(1))
    };
    assert_eq!(ledger.advance(step).await.unwrap(), Swap::Done);
    let expected = Upload {
        offset: Offset(30),
        length: Some(200),
        blob: BlobKey("another".into()),
        blob_state: BlobState("further".into()),
        about: About { content_type: Some("text/plain".into()), ..first.about.clone() },
        updated_at: Timestamp(NOW.0 + 1),
        expires_at: Some(Timestamp(NOW.0 + 2_000)),
        ..first.clone()
    };
    assert_eq!(found(ledger, &first).await, expected);
    // A media type that nobody names again stays.
    assert_eq!(ledger.advance(progress(&expected, Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(found(ledger, &first).await.about.content_type.as_deref(), Some("text/plain"));
}

// [ENG-3] a commit of an older generation changes nothing
pub async fn advance_of_another_generation_changes_nothing(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    assert_eq!(ledger.fence(&first.name, Generation(1), first.offset).await.unwrap(), Swap::Done);
    let fenced = found(ledger, &first).await;
    for generation in [Generation(1), Generation(3)] {
        assert_eq!(ledger.advance(progress(&first, generation)).await.unwrap(), Swap::Fenced);
        assert_eq!(ledger.advance(completion(&first, generation)).await.unwrap(), Swap::Fenced);
        assert_eq!(found(ledger, &first).await, fenced);
    }
    assert_eq!(ledger.advance(progress(&first, Generation(2))).await.unwrap(), Swap::Done);
}

// [ENG-4] complete is for ever
pub async fn a_complete_row_is_neither_advanced_nor_fenced(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    assert_eq!(ledger.advance(completion(&first, Generation(1))).await.unwrap(), Swap::Done);
    let complete = found(ledger, &first).await;
    assert_eq!(complete.phase, Phase::Complete);
    assert_eq!(complete.completed_at, Some(Timestamp(NOW.0 + 1)));
    assert_eq!(ledger.advance(progress(&first, Generation(1))).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.advance(completion(&first, Generation(1))).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.fence(&first.name, Generation(1), Offset(100)).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.record(first.clone()).await.unwrap(), Swap::Fenced);
    assert_eq!(found(ledger, &first).await, complete);
}

// [ENG-16] a tombstone keeps the name used
pub async fn a_tombstone_keeps_the_name_used_and_fences_the_writer(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    let at = Timestamp(NOW.0 + 7);
    assert_eq!(
        ledger.tombstone(removal(&first.name, Generation(2), Gone::Deleted, at)).await.unwrap(),
        Swap::Fenced
    );
    assert_eq!(found(ledger, &first).await, first);
    assert_eq!(
        ledger.tombstone(removal(&first.name, Generation(1), Gone::Deleted, at)).await.unwrap(),
        Swap::Done
    );
    let grave = found(ledger, &first).await;
    assert_eq!(grave.phase, Phase::Gone(Gone::Deleted));
    assert_eq!((grave.generation, grave.updated_at, grave.expires_at), (Generation(2), at, None));
    // [ENG-86] nothing stays that a client said of it
    assert_eq!((grave.about.clone(), grave.kind.clone()), (About::default(), Kind::Single));
    for generation in [Generation(1), Generation(2)] {
        assert_eq!(ledger.advance(progress(&first, generation)).await.unwrap(), Swap::Fenced);
        assert_eq!(ledger.fence(&first.name, generation, first.offset).await.unwrap(), Swap::Fenced);
        assert_eq!(
            ledger.tombstone(removal(&first.name, generation, Gone::Expired, at)).await.unwrap(),
            Swap::Fenced
        );
    }
    assert_eq!(ledger.record(first.clone()).await.unwrap(), Swap::Fenced);
    assert_eq!(found(ledger, &first).await, grave);
}

pub async fn a_complete_row_can_become_a_tombstone(ledger: &dyn Ledger) {
    for why in [Gone::Deleted, Gone::Retention, Gone::Expired] {
        let first = recorded(ledger, &format!("/upload/{}", why.word())).await;
        assert_eq!(ledger.advance(completion(&first, Generation(1))).await.unwrap(), Swap::Done);
        assert_eq!(
            ledger
                .tombstone(Removal {
                    phase: Phase::Complete,
                    ..removal(&first.name, Generation(1), why, NOW)
                })
                .await
                .unwrap(),
            Swap::Done
        );
        assert_eq!(found(ledger, &first).await.phase, Phase::Gone(why));
    }
}

// [ENG-80] between the look and the removal a writer may have committed and let go
pub async fn a_removal_takes_only_what_is_still_as_it_was_seen(ledger: &dyn Ledger) {
    let expired = |name: &Name, by: i64| Removal {
        due: Some(Due::Expired(Timestamp(by))),
        ..removal(name, Generation(1), Gone::Expired, NOW)
    };
    let retired = |name: &Name, by: i64| Removal {
        phase: Phase::Complete,
        due: Some(Due::Retired(Timestamp(by))),
        ..removal(name, Generation(1), Gone::Retention, NOW)
    };
    // Completed in the same generation.
    let done = recorded(ledger, "/done").await;
    assert_eq!(ledger.advance(completion(&done, Generation(1))).await.unwrap(), Swap::Done);
    let complete = found(ledger, &done).await;
    assert_eq!(ledger.tombstone(expired(&done.name, i64::MAX)).await.unwrap(), Swap::Fenced);
    assert_eq!(
        ledger.tombstone(removal(&done.name, Generation(1), Gone::Deleted, NOW)).await.unwrap(),
        Swap::Fenced
    );
    assert_eq!(found(ledger, &done).await, complete);
    // Renewed in the same generation.
    let renewed = recorded(ledger, "/renewed").await;
    assert_eq!(ledger.advance(progress(&renewed, Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(ledger.tombstone(expired(&renewed.name, NOW.0 + 1_999)).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.tombstone(expired(&renewed.name, NOW.0 + 2_000)).await.unwrap(), Swap::Done);
    // Completed at NOW + 1, without an end of its own.
    assert_eq!(ledger.tombstone(retired(&done.name, NOW.0)).await.unwrap(), Swap::Fenced);
    assert_eq!(ledger.tombstone(retired(&done.name, NOW.0 + 1)).await.unwrap(), Swap::Done);
}

// [ENG-15]
pub async fn due_lists_the_oldest_first_up_to_its_limit(ledger: &dyn Ledger) {
    for (text, expires) in
        [("c", Some(3)), ("a", Some(1)), ("never", None), ("b", Some(2)), ("later", Some(9))]
    {
        let new = Upload { expires_at: expires.map(Timestamp), ..row(&name(text)) };
        assert_eq!(ledger.record(new).await.unwrap(), Swap::Done);
    }
    let due = async |now, skip, limit| {
        let rows = ledger.due(Due::Expired(Timestamp(now)), skip, limit).await.unwrap();
        rows.into_iter().map(|row| row.name.0).collect::<Vec<_>>()
    };
    assert!(due(0, 0, 10).await.is_empty());
    assert_eq!(due(1, 0, 10).await, ["a"]);
    assert_eq!(due(8, 0, 10).await, ["a", "b", "c"]);
    assert_eq!(due(8, 0, 2).await, ["a", "b"]);
    assert_eq!(due(8, 1, 2).await, ["b", "c"]);
    let gone =
        Removal { forget_at: Some(Timestamp(1)), ..removal(&name("a"), Generation(1), Gone::Expired, NOW) };
    assert_eq!(ledger.tombstone(gone).await.unwrap(), Swap::Done);
    assert_eq!(due(9, 0, 10).await, ["b", "c", "later"]);
}

// [ENG-82]
pub async fn retention_is_asked_by_the_time_of_completion(ledger: &dyn Ledger) {
    for (text, at) in [("third", 30), ("first", 10), ("second", 20)] {
        let new = recorded(ledger, text).await;
        let done = Advance { at: Timestamp(at), ..completion(&new, Generation(1)) };
        assert_eq!(ledger.advance(done).await.unwrap(), Swap::Done);
    }
    recorded(ledger, "receiving").await;
    let names = |rows: Vec<Upload>| rows.into_iter().map(|row| row.name.0).collect::<Vec<_>>();
    let retired = async |by, skip| names(ledger.due(Due::Retired(Timestamp(by)), skip, 10).await.unwrap());
    assert!(retired(9, 0).await.is_empty());
    assert_eq!(retired(20, 0).await, ["first", "second"]);
    assert_eq!(retired(99, 1).await, ["second", "third"]);
    let between =
        async |after: Option<i64>, by| ledger.completed(after.map(Timestamp), Timestamp(by)).await.unwrap();
    assert_eq!(between(None, 20).await, Extent { uploads: 2, bytes: 200 });
    assert_eq!(between(Some(10), 20).await, Extent { uploads: 1, bytes: 100 });
    assert_eq!(between(Some(30), 99).await, Extent::default());
    assert_eq!(names(ledger.completed_since(Timestamp(20), 0, 1).await.unwrap()), ["second"]);
    assert_eq!(names(ledger.completed_since(Timestamp(20), 1, 9).await.unwrap()), ["third"]);
}

// [ENG-87]
pub async fn tombstones_are_forgotten_when_their_time_has_come(ledger: &dyn Ledger) {
    for (text, forget_at) in [("ours", Some(50)), ("later", Some(60)), ("slot", None)] {
        let new = recorded(ledger, text).await;
        let gone = Removal {
            forget_at: forget_at.map(Timestamp),
            ..removal(&new.name, Generation(1), Gone::Deleted, NOW)
        };
        assert_eq!(ledger.tombstone(gone).await.unwrap(), Swap::Done);
    }
    let alive = recorded(ledger, "alive").await;
    assert_eq!(ledger.forget(Timestamp(49), 10).await.unwrap(), 0);
    assert_eq!(ledger.forget(Timestamp(i64::MAX), 1).await.unwrap(), 1);
    assert_eq!(ledger.find(&name("ours")).await.unwrap(), None);
    assert_eq!(ledger.forget(Timestamp(i64::MAX), 10).await.unwrap(), 1);
    assert_eq!(ledger.forget(Timestamp(i64::MAX), 10).await.unwrap(), 0);
    assert!(ledger.find(&name("slot")).await.unwrap().is_some());
    assert_eq!(found(ledger, &alive).await, alive);
}

pub async fn a_note_replaces_the_one_before_it(ledger: &dyn Ledger) {
    assert_eq!(ledger.note("a").await.unwrap(), None);
    ledger.take_note("a", "one \"1\"").await.unwrap();
    ledger.take_note("b", "other").await.unwrap();
    ledger.take_note("a", "two").await.unwrap();
    assert_eq!(ledger.note("a").await.unwrap().as_deref(), Some("two"));
}

// [ENG-17]
pub async fn receiving_pages_through_incomplete_rows_by_name(ledger: &dyn Ledger) {
    let names = ["/a", "/b/ü", "/b/z", "/c", "/d", "/e"];
    for text in names {
        recorded(ledger, text).await;
    }
    let done = row(&name("/d"));
    assert_eq!(ledger.advance(completion(&done, Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(
        ledger.tombstone(removal(&name("/a"), Generation(1), Gone::Deleted, NOW)).await.unwrap(),
        Swap::Done
    );
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = ledger.receiving(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        seen.extend(page.into_iter().map(|row| row.name.0));
    }
    assert_eq!(seen, ["/b/z", "/b/ü", "/c", "/e"]);
}

// [ENG-14]
pub async fn referenced_names_the_blobs_of_rows_that_are_not_gone(ledger: &dyn Ledger) {
    let receiving = recorded(ledger, "/receiving").await;
    let complete = recorded(ledger, "/complete").await;
    let gone = recorded(ledger, "/gone").await;
    assert_eq!(ledger.advance(completion(&complete, Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(
        ledger.tombstone(removal(&gone.name, Generation(1), Gone::Deleted, NOW)).await.unwrap(),
        Swap::Done
    );
    let asked = [&gone.blob, &complete.blob, &BlobKey("stray".into()), &receiving.blob].map(Clone::clone);
    let answer: BTreeSet<String> =
        ledger.referenced(&asked).await.unwrap().into_iter().map(|key| key.0).collect();
    assert_eq!(answer, BTreeSet::from([complete.blob.0, receiving.blob.0]));
    assert!(ledger.referenced(&[]).await.unwrap().is_empty());
}

pub async fn a_final_upload_waits_for_its_parts(ledger: &dyn Ledger) {
    let (one, two) = (name("/files/one"), name("/files/zwei \"2\""));
    for part in [&one, &two] {
        let part = Upload { kind: Kind::Partial, ..row(part) };
        assert_eq!(ledger.record(part.clone()).await.unwrap(), Swap::Done);
        assert_eq!(found(ledger, &part).await, part);
    }
    let of = |text: &str, parts: &[&Name]| {
        let parts = Kind::Final(parts.iter().map(|part| (*part).clone()).collect());
        let about = About { concat: Some("final;/files/one /files/two".into()), ..About::default() };
        Upload { kind: parts, about, offset: Offset::ZERO, length: None, ..row(&name(text)) }
    };
    let both = of("/files/both", &[&two, &one, &two]);
    let single = of("/files/single", &[&one]);
    for new in [&both, &single] {
        assert_eq!(ledger.record(new.clone()).await.unwrap(), Swap::Done);
        assert_eq!(found(ledger, new).await, *new);
    }
    let pending = async |part: &Name| {
        let rows = ledger.pending_finals(part).await.unwrap();
        rows.into_iter().map(|row| row.name.0).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    // [ENG-89] while a part is receiving nobody has to look at the others
    assert_eq!(pending(&one).await, set(&[]));
    assert_eq!(ledger.advance(completion(&row(&one), Generation(1))).await.unwrap(), Swap::Done);
    assert_eq!(pending(&one).await, set(&["/files/single"]));
    assert_eq!(pending(&two).await, set(&[]));
    // One that is gone is waited for no longer either: whoever looks finds out.
    let gone = removal(&two, Generation(1), Gone::Deleted, NOW);
    assert_eq!(ledger.tombstone(gone).await.unwrap(), Swap::Done);
    assert_eq!(pending(&one).await, set(&["/files/both", "/files/single"]));
    assert_eq!(pending(&two).await, set(&["/files/both"]));
    assert_eq!(pending(&name("/files/zwei")).await, set(&[]));
    let late = of("/files/late", &[&one]);
    assert_eq!(ledger.record(late.clone()).await.unwrap(), Swap::Done);
    assert_eq!(pending(&one).await, set(&["/files/both", "/files/late", "/files/single"]));
    let done = Advance { length: Some(100), ..completion(&both, Generation(1)) };
    assert_eq!(ledger.advance(done).await.unwrap(), Swap::Done);
    let gone = removal(&late.name, Generation(1), Gone::Expired, NOW);
    assert_eq!(ledger.tombstone(gone).await.unwrap(), Swap::Done);
    assert_eq!(pending(&one).await, set(&["/files/single"]));
    assert_eq!(found(ledger, &both).await.kind, both.kind);
}

pub async fn find_all_leaves_out_what_is_not_there(ledger: &dyn Ledger) {
    let mut expected = BTreeSet::new();
    for text in ["/a", "/b ü\"", "/c"] {
        recorded(ledger, text).await;
        expected.insert(text.to_owned());
    }
    expected.remove("/c");
    let asked = ["/a", "/nobody", "/b ü\"", "/a"].map(name);
    let rows = ledger.find_all(&asked).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows.into_iter().map(|row| row.name.0).collect::<BTreeSet<_>>(), expected);
    assert!(ledger.find_all(&[]).await.unwrap().is_empty());
}

pub async fn concurrent_commits_one_wins(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    let fences = join_all((0..40).map(|_| ledger.fence(&first.name, Generation(1), first.offset))).await;
    assert_eq!(fences.into_iter().filter(|swap| matches!(swap, Ok(Swap::Done))).count(), 1);
    assert_eq!(found(ledger, &first).await.generation, Generation(2));
    let new = row(&name("/upload/b"));
    let records = (0..40).map(|n| ledger.record(Upload { offset: Offset(n), ..new.clone() }));
    let records = join_all(records).await;
    let won: Vec<usize> =
        records.iter().enumerate().filter(|(_, s)| matches!(s, Ok(Swap::Done))).map(|(n, _)| n).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(found(ledger, &new).await.offset, Offset(won[0] as u64));
}

/// 500 changes at once, of 100 names: whatever batches they fall into, each is answered for itself, and changes of
/// one name take effect in the order in which they were asked for.
pub async fn changes_of_one_batch_are_answered_one_by_one(ledger: &dyn Ledger) {
    let rows: Vec<Upload> = (0..100).map(|n| row(&name(format!("/upload/{n}")))).collect();
    let changes = rows.iter().enumerate().map(|(n, new)| async move {
        let stale = n % 3 == 0;
        let generation = if stale { Generation(1) } else { Generation(2) };
        let answers = tokio::join!(
            biased;
            ledger.record(new.clone()),
            ledger.fence(&new.name, Generation(1), new.offset),
            ledger.advance(progress(new, generation)),
            ledger.record(new.clone()),
            ledger.tombstone(removal(&new.name, Generation(if n % 5 == 0 { 2 } else { 9 }), Gone::Deleted, NOW)),
        );
        let (recorded, fenced, advanced, again, buried) = answers;
        assert_eq!(recorded.unwrap(), Swap::Done);
        assert_eq!(fenced.unwrap(), Swap::Done);
        assert_eq!(advanced.unwrap(), if stale { Swap::Fenced } else { Swap::Done });
        assert_eq!(again.unwrap(), Swap::Fenced);
        assert_eq!(buried.unwrap(), if n % 5 == 0 { Swap::Done } else { Swap::Fenced });
        let after = found(ledger, new).await;
        assert_eq!(after.offset, Offset(if stale { 10 } else { 30 }));
        assert_eq!(after.phase, if n % 5 == 0 { Phase::Gone(Gone::Deleted) } else { Phase::Receiving });
    });
    join_all(changes).await;
}

/// One change that the ledger cannot take fails alone.
pub async fn a_change_that_breaks_a_rule_fails_alone(ledger: &dyn Ledger) {
    let bad = [
        Upload { length: Some(5), ..row(&name("/bad/offset-behind-length")) },
        Upload { phase: Phase::Complete, ..row(&name("/bad/complete-too-early")) },
        Upload { length: Some(LARGEST + 1), ..row(&name("/bad/too-large")) },
        Upload { length: Some(u64::MAX), ..row(&name("/bad/largest")) },
    ];
    let good: Vec<Upload> = (0..20).map(|n| row(&name(format!("/good/{n}")))).collect();
    let all = good.iter().take(10).chain(&bad).chain(good.iter().skip(10));
    let answers = join_all(all.map(|new| async move { (new, ledger.record(new.clone()).await) })).await;
    for (new, answer) in answers {
        if new.name.0.starts_with("/bad/") {
            assert!(answer.is_err(), "{}: {answer:?}", new.name.0);
            assert_eq!(ledger.find(&new.name).await.unwrap(), None);
        } else {
            assert_eq!(answer.unwrap(), Swap::Done);
            assert_eq!(found(ledger, new).await, *new);
        }
    }
}

pub async fn reads_see_what_was_committed_before(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    for step in 1..50u64 {
        let next = Advance { offset: Offset(10 + step), ..progress(&first, Generation(1)) };
        assert_eq!(ledger.advance(next).await.unwrap(), Swap::Done);
        let reads = join_all((0..8).map(|_| ledger.find(&first.name))).await;
        assert!(reads.into_iter().all(|row| row.unwrap().unwrap().offset == Offset(10 + step)));
    }
}

// [ENG-7] names are data
pub async fn names_are_data(ledger: &dyn Ledger) {
    let long = "/upload/".to_owned() + &"long ".repeat(2_000);
    let names = [
        "/upload/très cool.jpg",
        "/upload/\u{1f6a2} ship",
        "/upload/u\u{308}",
        "/upload/\u{fc}",
        "/upload/'; DROP TABLE uploads; --",
        r#"/upload/"quoted" \ and \u0041 {"a":1}"#,
        "/upload/%00 %2e%2e",
        "/upload/../../etc/passwd",
        "/upload/A",
        "/upload/a",
        "/upload/a ",
        "/upload/tab\tnew\nline\r\u{7f}\u{1}",
        "/upload/a%_",
        "/upload/?*",
        &long,
    ];
    for text in names {
        recorded(ledger, text).await;
    }
    for (n, text) in names.iter().enumerate() {
        let step = Advance { offset: Offset(20 + n as u64), ..progress(&row(&name(*text)), Generation(1)) };
        assert_eq!(ledger.advance(step).await.unwrap(), Swap::Done);
    }
    for (n, text) in names.iter().enumerate() {
        let row = ledger.find(&name(*text)).await.unwrap().expect("found");
        assert_eq!((row.name.0.as_str(), row.offset), (*text, Offset(20 + n as u64)));
    }
    assert_eq!(ledger.receiving(None, 100).await.unwrap().len(), names.len());
}

/// A path cannot hold one in XML, but a URL can (`%00`), and two names that differ behind it are two names.
pub async fn a_nul_does_not_end_a_name(ledger: &dyn Ledger) {
    let (short, one, two) = (name("/upload/a"), name("/upload/a\0b"), name("/upload/a\0c"));
    for (n, text) in [&short, &one, &two].into_iter().enumerate() {
        let new = Upload { offset: Offset(n as u64), ..row(text) };
        assert_eq!(ledger.record(new).await.unwrap(), Swap::Done, "{text:?}");
    }
    for (n, text) in [&short, &one, &two].into_iter().enumerate() {
        let row = ledger.find(text).await.unwrap().expect("found");
        assert_eq!((row.name, row.offset), (text.clone(), Offset(n as u64)));
    }
}

pub async fn sizes_go_up_to_63_bits(ledger: &dyn Ledger) {
    let huge = Upload { offset: Offset(LARGEST - 1), length: Some(LARGEST), ..row(&name("/upload/huge")) };
    assert_eq!(ledger.record(huge.clone()).await.unwrap(), Swap::Done);
    assert_eq!(found(ledger, &huge).await, huge);
    assert_eq!(ledger.fence(&huge.name, Generation(1), huge.offset).await.unwrap(), Swap::Done);
    let done = Advance { offset: Offset(LARGEST), length: Some(LARGEST), ..completion(&huge, Generation(2)) };
    assert_eq!(ledger.advance(done).await.unwrap(), Swap::Done);
    let complete = found(ledger, &huge).await;
    assert_eq!((complete.offset, complete.length), (Offset(LARGEST), Some(LARGEST)));
}

pub async fn a_closed_ledger_takes_no_change(ledger: &dyn Ledger) {
    let first = recorded(ledger, "/upload/a").await;
    ledger.ping().await.unwrap();
    ledger.close().await;
    assert!(ledger.record(row(&name("/upload/b"))).await.is_err());
    assert!(ledger.fence(&first.name, Generation(1), first.offset).await.is_err());
    assert!(ledger.advance(progress(&first, Generation(1))).await.is_err());
    assert!(ledger.tombstone(removal(&first.name, Generation(1), Gone::Deleted, NOW)).await.is_err());
}

/// Every case above, for one implementation: `open` yields a fresh ledger and what must outlive it.
macro_rules! suite {
    ($implementation:ident, $open:expr) => {
        suite!($implementation, $open,
            a_recorded_row_is_found_as_it_was_written,
            a_complete_upload_can_be_recorded_at_once,
            record_is_exclusive,
            fence_takes_the_next_generation_and_changes_nothing_else,
            fence_fails_for_a_generation_that_is_not_the_rows,
            fence_fails_when_the_offset_moved_since_the_look,
            advance_commits_offset_blob_and_state_together,
            advance_of_another_generation_changes_nothing,
            a_complete_row_is_neither_advanced_nor_fenced,
            a_tombstone_keeps_the_name_used_and_fences_the_writer,
            a_complete_row_can_become_a_tombstone,
            a_removal_takes_only_what_is_still_as_it_was_seen,
            due_lists_the_oldest_first_up_to_its_limit,
            retention_is_asked_by_the_time_of_completion,
            tombstones_are_forgotten_when_their_time_has_come,
            a_note_replaces_the_one_before_it,
            receiving_pages_through_incomplete_rows_by_name,
            referenced_names_the_blobs_of_rows_that_are_not_gone,
            a_final_upload_waits_for_its_parts,
            find_all_leaves_out_what_is_not_there,
            concurrent_commits_one_wins,
            changes_of_one_batch_are_answered_one_by_one,
            a_change_that_breaks_a_rule_fails_alone,
            reads_see_what_was_committed_before,
            names_are_data,
            a_nul_does_not_end_a_name,
            sizes_go_up_to_63_bits,
            a_closed_ledger_takes_no_change,
        );
    };
    ($implementation:ident, $open:expr, $($case:ident),+ $(,)?) => {
        mod $implementation {
            $(
                #[tokio::test]
                async fn $case() {
                    let (ledger, _keep) = $open.await;
                    super::$case(&ledger).await;
                }
            )+
        }
    };
}

async fn sqlite() -> (SqliteLedger, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open_sqlite(&folder).await, folder)
}

async fn open_sqlite(folder: &tempfile::TempDir) -> SqliteLedger {
    let url = format!("sqlite:{}", folder.path().join("sub folder/ledger.db").display());
    SqliteLedger::open(&url, Metrics::new()).await.unwrap()
}

async fn memory() -> (MemoryLedger, ()) {
    (MemoryLedger(World::new(Style::Files)), ())
}

suite!(in_sqlite, super::sqlite());
suite!(in_memory, super::memory());

#[tokio::test]
async fn sqlite_rows_survive_reopening() {
    let (ledger, folder) = sqlite().await;
    let first = recorded(&ledger, "/upload/a").await;
    assert_eq!(ledger.fence(&first.name, Generation(1), first.offset).await.unwrap(), Swap::Done);
    let second = recorded(&ledger, "/upload/b").await;
    assert_eq!(ledger.advance(completion(&second, Generation(1))).await.unwrap(), Swap::Done);
    let before = (found(&ledger, &first).await, found(&ledger, &second).await);
    ledger.close().await;
    drop(ledger);
    let ledger = open_sqlite(&folder).await;
    assert_eq!((found(&ledger, &first).await, found(&ledger, &second).await), before);
}

/// What was answered is on disk: a copy of the files, as a kill would leave them, holds it.
#[tokio::test]
async fn sqlite_answers_after_the_commit() {
    let (ledger, folder) = sqlite().await;
    let rows: Vec<Upload> = (0..50).map(|n| row(&name(format!("/upload/{n}")))).collect();
    for swap in join_all(rows.iter().map(|new| ledger.record(new.clone()))).await {
        assert_eq!(swap.unwrap(), Swap::Done);
    }
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("sub folder")).unwrap();
    for file in ["ledger.db", "ledger.db-wal"] {
        let at = |root: &tempfile::TempDir| root.path().join("sub folder").join(file);
        std::fs::copy(at(&folder), at(&copy)).unwrap();
    }
    let survivor = open_sqlite(&copy).await;
    for new in &rows {
        assert_eq!(found(&survivor, new).await, *new);
    }
    survivor.close().await;
    ledger.close().await;
}

#[tokio::test]
async fn sqlite_finishes_what_is_queued_before_it_closes() {
    let (ledger, folder) = sqlite().await;
    let ledger = Arc::new(ledger);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.record(row(&name(format!("/upload/{n:03}")))).await })
        })
        .collect();
    // Each has asked; none has been waited for.
    tokio::task::yield_now().await;
    ledger.close().await;
    let mut taken = Vec::new();
    for (n, task) in tasks.into_iter().enumerate() {
        if task.await.unwrap().is_ok() {
            taken.push(format!("/upload/{n:03}"));
        }
    }
    assert!(!taken.is_empty());
    let ledger = open_sqlite(&folder).await;
    let kept: Vec<String> =
        ledger.receiving(None, 1_000).await.unwrap().into_iter().map(|row| row.name.0).collect();
    assert_eq!(kept, taken);
}
