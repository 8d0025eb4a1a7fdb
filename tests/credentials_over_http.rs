//! What credentials and sessions open, against the built server: nothing beyond what they were given for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use common::{
    http::Answer,
    server::{Server, Setup},
    slots::Slot,
};

const SESSION: &str = "x-session-id";

/// One request on a connection of its own, without a body.
#[track_caller]
fn ask(server: &Server, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut conn = server.connect();
    conn.head(method, target, headers).expect("the request is sent");
    conn.any_answer(method == "HEAD").expect("an answer")
}

/// How far is it? Asked with these headers beside `bytes */S`.
#[track_caller]
fn query(server: &Server, target: &str, size: u64, headers: &[(&str, &str)]) -> Answer {
    let range = format!("bytes */{size}");
    let all = [&[("Content-Length", "0"), ("Content-Range", range.as_str())], headers].concat();
    ask(server, "PUT", target, &all)
}

/// Bytes `first..end` of an upload of `size`.
#[track_caller]
fn range(server: &Server, slot: &Slot, first: u64, end: u64, headers: &[(&str, &str)]) -> Answer {
    let content_range = format!("bytes {first}-{}/{}", end - 1, slot.size);
    let length = (end - first).to_string();
    let all =
        [&[("Content-Length", length.as_str()), ("Content-Range", content_range.as_str())], headers].concat();
    let mut conn = server.connect();
    conn.head("PUT", &slot.target, &all).expect("the request is sent");
    conn.send(&vec![7; usize::try_from(end - first).expect("a small range")]).expect("the bytes are sent");
    conn.answer().expect("an answer")
}

#[track_caller]
fn session_of(answer: &Answer) -> String {
    answer.header(SESSION).unwrap_or_else(|| panic!("no session in {answer:?}")).to_owned()
}

#[test]
fn a_credential_for_one_upload_leads_to_no_other_upload_of_a_session() {
    // [SES-18] [SES-23]
    let server = Setup::new().start();
    let (one, two) = (Slot::new("1/photo.jpg", 10), Slot::new("2/video.mp4", 10));
    let owner = session_of(&range(&server, &one, 0, 5, &[]).expect(308));
    let joined = session_of(&range(&server, &two, 0, 5, &[(SESSION, &owner)]).expect(308));
    assert_eq!(joined, owner, "[SES-3]");
    // Somebody else has got hold of the credential for the first.
    let other = session_of(&query(&server, &one.target, one.size, &[]).expect(308));
    assert_ne!(other, owner, "a credential for one upload was told a session that covers two");
    query(&server, &two.path, two.size, &[(SESSION, &other)]).expect(403);
    query(&server, &two.path, two.size, &[(SESSION, &owner)]).expect(308);
}

#[test]
fn a_session_that_was_told_to_two_covers_no_further_upload() {
    // [SES-18] [SES-23]
    let server = Setup::new().start();
    let (one, two) = (Slot::new("1/photo.jpg", 10), Slot::new("2/video.mp4", 10));
    let planted = session_of(&query(&server, &one.target, one.size, &[]).expect(308));
    range(&server, &one, 0, 5, &[]).expect(308);
    let later = session_of(&query(&server, &one.target, one.size, &[]).expect(308));
    assert_eq!(later, planted, "a client that ignores ids has one session");
    // The owner uses what it was told; whoever was told it before gains nothing by that.
    let own = session_of(&range(&server, &two, 0, 5, &[(SESSION, &later)]).expect(308));
    query(&server, &two.path, two.size, &[(SESSION, &planted)]).expect(403);
    query(&server, &two.path, two.size, &[(SESSION, &own)]).expect(308);
}

#[test]
fn a_fresh_token_does_not_tell_its_session() {
    // [SES-11] [SES-22] [SES-23]
    let server = Setup::new().start();
    let slot = Slot::new("1/photo.jpg", 10);
    let id = session_of(&range(&server, &slot, 0, 5, &[]).expect(308));
    let recovered = query(&server, &slot.path, slot.size, &[(SESSION, &id)]).expect(308);
    let token = recovered.header("x-session-token").expect("a fresh token").to_owned();
    let alone = query(&server, &slot.path, slot.size, &[("X-Session-Token", &token)]).expect(308);
    assert_eq!(alone.header(SESSION), None, "{alone:?}");
    let named = [("X-Session-Token", token.as_str()), (SESSION, id.as_str())];
    let seen = query(&server, &slot.path, slot.size, &named).expect(308);
    assert_eq!(seen.header(SESSION), Some(id.as_str()), "its holder knows it anyway");
}
