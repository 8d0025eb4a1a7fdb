//! Slots of our own.

use super::*;

pub(super) fn claims() -> SlotClaims {
    SlotClaims {
        subject: Some("juliet@capulet.tld".into()),
        slot: "foo".into(),
        filename: "bar.jpg".into(),
        size: MIB,
        content_type: Some("image/jpeg".into()),
        issued_at_ms: NOW,
        expires_at_ms: NOW + 300_999,
        retain_until_ms: Some(NOW + 1),
    }
}

#[test]
fn a_minted_token_is_granted_what_it_was_minted_for() {
    let token = mint(&ring(), &claims()).unwrap();
    let grant = ask().bearer(&token).ask().unwrap();
    assert_eq!(grant.subject.as_deref(), Some("juliet@capulet.tld"));
    assert_eq!((grant.size, grant.filename.as_deref()), (Some(MIB), Some("bar.jpg")));
    assert_eq!(grant.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(grant.issued_at_ms, Some(NOW));
    assert_eq!(grant.expires_at_ms, Some(NOW + 300_000), "whole seconds, never more than asked for");
    assert_eq!(grant.retain_until_ms, Some(NOW));
    assert_eq!(ask().query(format!("token={token}")).ask(), Ok(grant));
}

#[test]
fn absent_claims_stay_absent() {
    let bare = SlotClaims { subject: None, content_type: None, retain_until_ms: None, ..claims() };
    let grant = ask().bearer(&mint(&ring(), &bare).unwrap()).ask().unwrap();
    assert_eq!((grant.subject, grant.content_type, grant.retain_until_ms), (None, None, None));
}

#[test]
fn sizes_beyond_the_exact_floats_survive() {
    let huge = SlotClaims { size: u64::MAX, ..claims() };
    let token = mint(&ring(), &huge).unwrap();
    assert_eq!(ask().length(u64::MAX).bearer(&token).ask().unwrap().size, Some(u64::MAX));
    let wrong = Err(Denied::WrongSize { signed: u64::MAX, claimed: u64::MAX - 1 });
    assert_eq!(ask().length(u64::MAX - 1).bearer(&token).ask(), wrong);
}

#[test]
fn a_slot_that_could_never_be_used_is_not_minted() {
    for slot in ["", "a/b", "/", "a\0"] {
        assert_eq!(mint(&ring(), &SlotClaims { slot: slot.into(), ..claims() }), Err(MintError::Slot));
    }
    for filename in ["", "a\0"] {
        let claims = SlotClaims { filename: filename.into(), ..claims() };
        assert_eq!(mint(&ring(), &claims), Err(MintError::Filename));
    }
    for time in [-1, i64::MIN, i64::MAX] {
        assert_eq!(mint(&ring(), &SlotClaims { expires_at_ms: time, ..claims() }), Err(MintError::Time));
    }
}
