use std::time::Duration;

use super::*;
use crate::upload::{About, BlobKey, BlobState, Generation, Gone, Kind, Offset, Phase, Upload};

const HOUR: i64 = 3_600_000;
pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

fn place(address: &str) -> Place {
    Place {
        address: address.parse().unwrap(),
        network: "other".into(),
        agent: "Dino/0.4".into(),
        class: AgentClass::Desktop,
    }
}

fn covered(name: &str) -> Covered {
    Covered {
        name: Name(name.into()),
        id: None,
        size: Some(5),
        max_size: None,
        filename: None,
        content_type: None,
        retain_until: None,
        token_until: None,
        is_complete: false,
    }
}

pub(super) fn session() -> Session {
    Session {
        key: SessionId::random().key(),
        version: 1,
        subject: Some("romeo".into()),
        created_at: NOW,
        expires_at: NOW.plus(hours(72)),
        seen_at: NOW,
        refreshes: 0,
        is_open: true,
        place: place("192.0.2.1"),
        uploads: vec![covered("/upload/a/b")],
        history: Vec::new(),
        changes: 0,
        told_again: false,
    }
}

fn policy() -> Policy {
    Policy {
        max_age: hours(72),
        max_refreshes: 10,
        token_lifetime: hours(1),
        max_uploads: 2,
        max_sessions: 10,
        unclaimed_age: hours(1),
    }
}

fn grace() -> Grace {
    Grace {
        enabled: true,
        desktop: hours(24),
        mobile: hours(12),
        other: Duration::ZERO,
        restoration: hours(48),
        ceiling: hours(72),
    }
}

fn upload(phase: Phase, offset: u64) -> Upload {
    Upload {
        name: Name("/upload/a/b".into()),
        id: UploadId("1".into()),
        phase,
        generation: Generation::FIRST,
        offset: Offset(offset),
        length: Some(5),
        blob: BlobKey("2".into()),
        blob_state: BlobState::default(),
        kind: Kind::Single,
        about: About::default(),
        created_at: NOW,
        updated_at: NOW,
        completed_at: None,
        expires_at: None,
    }
}

#[test]
fn an_id_has_256_bits_one_spelling_and_never_shows_itself() {
    let id = SessionId::random();
    assert_eq!(SessionId::parse(id.expose()), Some(id.clone()));
    assert!(!format!("{id:?}").contains(id.expose()));
    assert!(id.key().0 != id.expose() && id.key().0.len() == 64);
    let other = id.expose().replace(|c: char| c.is_ascii_digit(), "A");
    for bad in ["", "abc", &id.expose()[1..], &format!("{}0", id.expose()), &other, &"g".repeat(64)] {
        assert_eq!(SessionId::parse(bad), None, "{bad}");
    }
}

#[test]
fn refresh_number_eleven_is_refused_and_changes_nothing() {
    let mut session = session();
    let name = Name("/upload/a/b".into());
    for n in 1..=10 {
        let (until, is_refreshed) = session.refresh(&name, &policy(), true, NOW).unwrap();
        assert_eq!((until, is_refreshed, session.refreshes), (NOW.plus(hours(1)), true, n));
    }
    let before = session.clone();
    assert_eq!(session.refresh(&name, &policy(), true, NOW), Err(Refused::Exhausted));
    assert_eq!(session, before);
}

#[test]
fn a_token_that_still_lives_is_made_again_without_cost_until_it_ends() {
    let mut session = session();
    let name = Name("/upload/a/b".into());
    let (until, _) = session.refresh(&name, &policy(), false, NOW).unwrap();
    let later = Timestamp(NOW.0 + HOUR - 1);
    assert_eq!(session.refresh(&name, &policy(), false, later), Ok((until, false)));
    let (next, is_refreshed) = session.refresh(&name, &policy(), false, until).unwrap();
    assert!(is_refreshed && next > until && session.refreshes == 2);
}

#[test]
fn a_fresh_token_ends_with_its_session_and_is_for_what_the_session_covers() {
    let mut session = session();
    let late = Timestamp(session.expires_at.0 - 1);
    let (until, _) = session.refresh(&Name("/upload/a/b".into()), &policy(), false, late).unwrap();
    assert_eq!(until, session.expires_at);
    assert_eq!(session.refresh(&Name("/upload/a/c".into()), &policy(), false, NOW), Err(Refused::Foreign));
    assert!(session.is_live(late) && !session.is_live(session.expires_at));
}

#[test]
fn what_is_covered_keeps_what_its_first_credential_allowed_and_a_full_session_takes_no_more() {
    let mut session = session();
    assert!(session.cover(Covered { size: Some(500), ..covered("/upload/a/b") }, 2));
    assert_eq!(session.covered(&Name("/upload/a/b".into())).unwrap().size, Some(5));
    assert!(session.cover(covered("/upload/c/d"), 2) && !session.cover(covered("/upload/e/f"), 2));
    assert_eq!(session.uploads.len(), 2);
}

#[test]
fn a_hundred_changes_of_place_are_listed_and_all_are_counted() {
    let mut session = session();
    assert_eq!(session.seen_at(&place("192.0.2.1"), NOW), None);
    for n in 2..=150 {
        let change = session.seen_at(&place(&format!("192.0.2.{n}")), NOW).unwrap();
        assert_eq!(change.from, place(&format!("192.0.2.{}", n - 1)));
    }
    assert_eq!((session.history.len(), session.changes), (100, 149));
    assert_eq!(session.history.last().unwrap().to, place("192.0.2.150"));
}

/// [SES-36] The answer to an old socket's request is written when a newer one ends it.
#[test]
fn a_request_that_arrived_before_the_latest_change_changes_no_place() {
    let mut session = session();
    let (old, new) = (Timestamp(NOW.0 + 1), Timestamp(NOW.0 + 2));
    assert!(session.seen_at(&place("192.0.2.2"), new).is_some());
    assert_eq!(session.seen_at(&place("192.0.2.1"), old), None);
    assert_eq!((&session.place, session.changes), (&place("192.0.2.2"), 1));
    assert!(session.seen_at(&place("192.0.2.1"), new).is_some());
}

#[test]
fn grace_is_as_long_as_the_class_of_the_client_says() {
    let ago = |h: i64| Timestamp(NOW.0 - h * HOUR);
    let good = |class, upload: Option<&Upload>, h| grace().until(class, upload, ago(h), NOW).is_some();
    assert!(good(AgentClass::Desktop, None, 23) && !good(AgentClass::Desktop, None, 24));
    assert!(good(AgentClass::Mobile, None, 11) && !good(AgentClass::Mobile, None, 12));
    assert!(!good(AgentClass::Other, None, 0));
    let begun = upload(Phase::Receiving, 1);
    assert!(good(AgentClass::Mobile, Some(&begun), 47) && !good(AgentClass::Mobile, Some(&begun), 49));
    assert!(!good(AgentClass::Desktop, Some(&begun), 49) && !good(AgentClass::Other, Some(&begun), 1));
    assert!(!good(AgentClass::Mobile, Some(&upload(Phase::Receiving, 0)), 13), "no byte, no restoration");
}

#[test]
fn a_complete_upload_a_ceiling_and_the_switch_end_all_grace() {
    let hour_ago = Timestamp(NOW.0 - HOUR);
    for phase in [Phase::Complete, Phase::Gone(Gone::Deleted)] {
        assert_eq!(grace().until(AgentClass::Desktop, Some(&upload(phase, 5)), hour_ago, NOW), None);
    }
    let low = Grace { ceiling: Duration::from_secs(1800), ..grace() };
    assert_eq!(low.until(AgentClass::Desktop, None, hour_ago, NOW), None);
    assert_eq!(low.last(hour_ago), Timestamp(hour_ago.0 + HOUR / 2));
    let off = Grace { enabled: false, ..grace() };
    assert_eq!(off.until(AgentClass::Desktop, None, hour_ago, NOW), None);
}

#[test]
fn a_session_is_open_until_every_upload_that_it_covers_was_seen_complete() {
    let mut session = session();
    let names = ["/upload/a/b", "/upload/c/d"].map(|name| Name(name.into()));
    assert!(session.cover(covered("/upload/c/d"), 2) && session.is_open);
    session.finish(&names[0]);
    assert!(session.is_open);
    session.finish(&names[1]);
    assert!(!session.is_open);
    assert!(session.cover(covered("/upload/c/d"), 2) && !session.is_open, "what was complete stays so");
    session.finish(&Name("/upload/unknown".into()));
    assert!(!session.is_open);
}

#[test]
fn a_session_holds_no_more_of_its_uploads_than_can_be_written_each_time() {
    // [ENG-157]
    let mut one = session();
    let long = |n: usize| Covered {
        name: Name(format!("/upload/{n}/{}", "x".repeat(4000))),
        ..one.uploads[0].clone()
    };
    let many: Vec<Covered> = (0..100).map(long).collect();
    let taken = many.into_iter().filter(|upload| one.cover(upload.clone(), 1000)).count();
    assert!((5..=8).contains(&taken), "{taken}");
    assert!(serde_json::to_string(&one).unwrap().len() < 64 * 1024);
}

#[test]
fn a_full_history_is_stored_once_and_read_as_it_was() {
    // [ENG-157]
    let mut one = session();
    for n in 0..120 {
        let place = Place { agent: format!("{n} {}", "x".repeat(190)), ..one.place.clone() };
        assert!(one.seen_at(&place, NOW).is_some());
    }
    let written = serde_json::to_string(&one).unwrap();
    assert!(written.len() < 40 * 1024, "{}", written.len());
    assert_eq!(serde_json::from_str::<Session>(&written).unwrap(), one);
}
