//! What credentials and sessions open, against the built server: nothing beyond what they were given for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll::auth::{GrantClaims, Keyring, ResumeClaims, SlotClaims, mint, mint_grant, mint_resume};

use common::{
    http::Answer,
    server::{Server, Setup},
    slots::{SECRET, Slot},
};

const SESSION: &str = "x-session-id";
const HOUR_MS: i64 = 3_600_000;

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

/// The session itself, as its holder is told it.
#[track_caller]
fn document(server: &Server, id: &str) -> serde_json::Value {
    serde_json::from_slice(&ask(server, "GET", "/session", &[(SESSION, id)]).expect(200).body).expect("JSON")
}

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

fn now_ms() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "tokens are minted for the server's real clock")]
    let now = SystemTime::now();
    i64::try_from(now.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("before 9999")
}

fn keys() -> Keyring {
    Keyring::new(vec![SECRET.as_bytes().to_vec()]).expect("a secret")
}

/// A slot whose token names a subject.
fn slot_of(subject: &str, slot: &str, filename: &str) -> Slot {
    let claims = SlotClaims {
        subject: Some(subject.into()),
        slot: slot.into(),
        filename: filename.into(),
        size: 10,
        content_type: None,
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
        retain_until_ms: None,
    };
    let path = format!("/upload/{slot}/{filename}");
    let token = mint(&keys(), &claims).expect("a token");
    Slot { target: format!("{path}?token={token}"), path, size: 10 }
}

#[test]
fn a_session_in_the_query_joins_nothing() {
    // [SES-77] whoever hands out a link may have planted a session of their own
    let server = Setup::new().start();
    let (planted, victim) = (slot_of("romeo", "1", "a.jpg"), slot_of("romeo", "2", "b.jpg"));
    let id = session_of(&range(&server, &planted, 0, 5, &[]).expect(308));
    let linked = Slot { target: format!("{}&session_id={id}", victim.target), ..victim.clone() };
    let own = session_of(&range(&server, &linked, 0, 5, &[]).expect(308));
    assert_ne!(own, id);
    query(&server, &victim.path, victim.size, &[(SESSION, &id)]).expect(403);
    ask(&server, "DELETE", &victim.path, &[(SESSION, &id)]).expect(403);
    // It still names the session of an upload that the session covers.
    query(&server, &format!("{}?session_id={id}", planted.path), planted.size, &[]).expect(308);
    let seen = query(&server, &format!("{}&session_id={id}", planted.target), planted.size, &[]).expect(308);
    assert_eq!(session_of(&seen), id);
    // In a header, which a link cannot carry, it joins.
    assert_eq!(session_of(&query(&server, &victim.target, 10, &[(SESSION, &id)]).expect(308)), id);
}

#[test]
fn a_session_without_a_subject_covers_one_upload() {
    // [ENG-155]
    let server = Setup::new().start();
    let (one, two) = (Slot::new("1/a.jpg", 10), Slot::new("2/b.jpg", 10));
    let id = session_of(&range(&server, &one, 0, 5, &[]).expect(308));
    let other = session_of(&range(&server, &two, 0, 5, &[(SESSION, &id)]).expect(308));
    assert_ne!(other, id);
    query(&server, &two.path, two.size, &[(SESSION, &id)]).expect(403);
}

#[test]
fn a_session_that_is_ended_ends_the_tokens_that_it_gave() {
    // [ENG-154]
    let server = Setup::new().start();
    let slot = slot_of("romeo", "1", "a.jpg");
    let id = session_of(&range(&server, &slot, 0, 5, &[]).expect(308));
    let recovered = query(&server, &slot.path, slot.size, &[(SESSION, &id)]).expect(308);
    let token = recovered.header("x-session-token").expect("a fresh token").to_owned();
    let named = [("X-Session-Token", token.as_str())];
    query(&server, &slot.path, slot.size, &named).expect(308);
    ask(&server, "DELETE", "/session", &[(SESSION, &id)]).expect(204);
    for headers in [&named[..], &[("User-Agent", "Dino/0.4.5"), named[0]]] {
        query(&server, &slot.path, slot.size, headers).expect(401);
    }
    // What it was first given goes on.
    query(&server, &slot.target, slot.size, &[]).expect(308);
}

#[test]
fn a_complete_upload_opens_no_session_however_often_it_is_asked_for() {
    // [ENG-153]
    let server = Setup::new().with_metrics().start();
    let (slot, mine) = (Slot::new("1/a.jpg", 10), slot_of("romeo", "2", "b.jpg"));
    range(&server, &slot, 0, 10, &[]).expect(201);
    let own = session_of(&range(&server, &mine, 0, 5, &[]).expect(308));
    let opened = server.metric("plimsoll_session_steps_total{step=\"opened\"}");
    let whole = [("Content-Length", "10")];
    for _ in 0..3 {
        let answers = [
            query(&server, &slot.target, slot.size, &[]).expect(201),
            range(&server, &slot, 0, 10, &[]).expect(201),
            ask(&server, "PUT", &slot.target, &whole).expect(409),
            ask(&server, "HEAD", &slot.target, &[TUS]).expect(200),
            query(&server, &slot.target, slot.size, &[(SESSION, &own)]).expect(201),
        ];
        for answer in answers {
            assert_eq!(answer.header(SESSION), None, "{answer:?}");
        }
    }
    assert_eq!(server.metric("plimsoll_session_steps_total{step=\"opened\"}"), opened);
    assert_eq!(document(&server, &own)["uploads"].as_array().expect("a list").len(), 1);
}

#[test]
fn a_credential_that_is_shown_twice_is_malformed() {
    // [AUT-102]
    let server = Setup::new().start();
    let slot = slot_of("romeo", "1", "a.jpg");
    let token = slot.target.split_once("token=").expect("a token").1.to_owned();
    let bearer = format!("Bearer {token}");
    query(&server, &slot.path, 10, &[("Authorization", &bearer)]).expect(308);
    query(&server, &slot.path, 10, &[("Authorization", &bearer), ("Authorization", &bearer)]).expect(401);
    let other = [("Authorization", bearer.as_str()), ("Authorization", "Basic cm9tZW86cw==")];
    query(&server, &slot.path, 10, &other).expect(401);
    query(&server, &slot.path, 10, &[("X-Session-Token", &token), ("X-Session-Token", &token)]).expect(401);
    // Of two session ids neither is the one; a good credential needs none.
    let id = session_of(&range(&server, &slot, 0, 5, &[]).expect(308));
    query(&server, &slot.path, 10, &[(SESSION, &id), (SESSION, &id)]).expect(401);
    query(&server, &format!("{}?session_id={id}&session_id={id}", slot.path), 10, &[]).expect(401);
    query(&server, &slot.target, 10, &[(SESSION, &id), (SESSION, &id)]).expect(308);
}

#[test]
fn the_url_of_a_download_removes_nothing_that_a_grant_created_and_names_nobody() {
    // [AUT-101] [AUT-103]
    let server = Setup::new().start();
    let grant = |subject: &str| {
        let claims = GrantClaims {
            subject: subject.into(),
            max_size: None,
            issued_at_ms: now_ms(),
            expires_at_ms: now_ms() + HOUR_MS,
        };
        format!("Bearer {}", mint_grant(&keys(), &claims).expect("a grant"))
    };
    let (romeo, mercutio) = (grant("romeo"), grant("mercutio"));
    let create = || {
        let headers =
            [TUS, ("Authorization", romeo.as_str()), ("Upload-Length", "10"), ("Content-Length", "0")];
        let created = ask(&server, "POST", "/files", &headers).expect(201);
        let path = created.header("location").expect("a URL").to_owned();
        (Slot { target: path.clone(), path, size: 10 }, session_of(&created))
    };
    for (what, headers) in
        [("grant", [TUS, ("Authorization", romeo.as_str())]), ("session", [TUS, (SESSION, "")])]
    {
        let (upload, id) = create();
        let told = range(&server, &upload, 0, 10, &[("Accept", "application/json")]).expect(201);
        let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
        assert_eq!((&told["size"], &told["user"]), (&10.into(), &serde_json::Value::Null));
        ask(&server, "DELETE", &upload.path, &[]).expect(401);
        ask(&server, "DELETE", &upload.path, &[TUS]).expect(401);
        ask(&server, "DELETE", &upload.path, &[TUS, ("Authorization", &mercutio)]).expect(403);
        ask(&server, "GET", &upload.path, &[]).expect(200);
        let headers = headers.map(|(name, value)| (name, if value.is_empty() { id.as_str() } else { value }));
        assert_eq!(ask(&server, "DELETE", &upload.path, &headers).status, 204, "{what}");
        ask(&server, "GET", &upload.path, &[]).expect(410);
    }
    // What is incomplete is its uploader's, who knows the URL alone where a stock client sends no more.
    let (upload, _) = create();
    range(&server, &upload, 0, 5, &[]).expect(308);
    ask(&server, "DELETE", &upload.path, &[TUS]).expect(204);
}

#[test]
fn a_credential_for_one_upload_leads_to_no_other_upload_of_a_session() {
    // [SES-18] [SES-23]
    let server = Setup::new().start();
    let (one, two) = (slot_of("romeo", "1", "photo.jpg"), slot_of("romeo", "2", "video.mp4"));
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
    let (one, two) = (slot_of("romeo", "1", "photo.jpg"), slot_of("romeo", "2", "video.mp4"));
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

#[test]
fn an_expired_fresh_token_has_no_grace() {
    // [SES-15] [SES-40] its session is what goes on, and ends
    let server = Setup::new().start();
    let slot = Slot::new("1/photo.jpg", 10);
    let claims = ResumeClaims {
        session: "0".repeat(64),
        subject: None,
        path: slot.path.clone(),
        size: Some(slot.size),
        max_size: None,
        filename: None,
        content_type: None,
        retain_until_ms: None,
        issued_at_ms: now_ms() - 2 * HOUR_MS,
        expires_at_ms: now_ms() - HOUR_MS,
    };
    let bearer = format!("Bearer {}", mint_resume(&keys(), &claims).expect("a token"));
    let headers = [("Authorization", bearer.as_str()), ("User-Agent", "Dino/0.4.5")];
    query(&server, &slot.path, slot.size, &headers).expect(401);
}

/// An address, a target, and headers.
type Guess<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn what_any_page_can_have_a_browser_send_bans_nobody() {
    // [SES-71]
    let guarded = Setup::new().key("SERVER__TRUSTED_PROXIES", "127.0.0.1/32").key("ABUSE__MAX_FAILURES", "3");
    let server = guarded.start();
    let slot = Slot::new("1/photo.jpg", 10);
    range(&server, &slot, 0, 5, &[]).expect(308);
    let wrong = format!("{}?v={}", slot.path, "0".repeat(64));
    let unknown = "0".repeat(64);
    let tus = ("Tus-Resumable", "1.0.0");
    let guesses: [Guess<'_>; 4] = [
        ("192.0.2.1", &wrong, &[]),
        ("192.0.2.2", &wrong, &[tus]),
        ("192.0.2.3", &slot.path, &[(SESSION, &unknown)]),
        ("192.0.2.4", &slot.path, &[tus, (SESSION, &unknown)]),
    ];
    for (address, target, headers) in guesses {
        let from = ("X-Forwarded-For", address);
        let all = [&[from], headers].concat();
        for _ in 0..8 {
            let told = ask(&server, "HEAD", target, &all);
            assert_eq!(told.offset(), Some(5), "the state is open to whoever knows the URL: {told:?}");
            ask(&server, "GET", target, &all).expect(404);
            ask(&server, "GET", "/session", &[from, (SESSION, &unknown)]).expect(401);
        }
        query(&server, &slot.path, 10, &[from]).expect(401);
    }
}

/// PUT with a token that is none of ours.
fn guess(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let target = format!("/upload/1/photo.jpg?v={}", "0".repeat(64));
    query(server, &target, 10, headers)
}

#[test]
fn a_ban_turns_nobody_away_who_shows_what_is_good_or_asks_for_what_is_public() {
    // [SES-51]
    let server = Setup::new().key("ABUSE__ALLOW", "").key("ABUSE__MAX_FAILURES", "3").start();
    let public = Slot::new("1/public.jpg", 10);
    range(&server, &public, 0, 10, &[]).expect(201);
    for _ in 0..3 {
        guess(&server, &[]).expect(403);
    }
    let banned = guess(&server, &[]).expect(429);
    assert!(banned.header("retry-after").is_some(), "{banned:?}");
    query(&server, "/upload/1/photo.jpg", 10, &[]).expect(429);
    ask(&server, "GET", "/session", &[(SESSION, &"0".repeat(64))]).expect(429);
    ask(&server, "GET", &public.path, &[]).expect(200);
    ask(&server, "GET", "/upload/1/none.jpg", &[]).expect(404);
    let slot = Slot::new("2/photo.jpg", 10);
    let id = session_of(&range(&server, &slot, 0, 5, &[]).expect(308));
    query(&server, &slot.path, 10, &[(SESSION, &id)]).expect(308);
    range(&server, &slot, 5, 10, &[]).expect(201);
}

#[test]
fn what_is_genuine_and_does_not_fit_bans_nobody() {
    // [SES-70] [AUT-100]
    let server = Setup::new().key("ABUSE__ALLOW", "").key("ABUSE__MAX_FAILURES", "3").start();
    let claims = SlotClaims {
        subject: Some("juliet@example.org".into()),
        slot: "1".into(),
        filename: "photo.jpg".into(),
        size: 10,
        content_type: None,
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
        retain_until_ms: None,
    };
    let token = mint(&keys(), &claims).expect("a token");
    let typed = format!("/upload/1/a.bin?v2={}", "0".repeat(64));
    for _ in 0..8 {
        query(&server, &format!("/upload/1/photo.jpg?token={token}"), 11, &[]).expect(403);
        query(&server, &format!("/upload/2/photo.jpg?token={token}"), 10, &[]).expect(403);
        query(&server, "/upload/1/photo.jpg?token=a.b.c", 10, &[]).expect(403);
        query(&server, &typed, 10, &[("Content-Type", "application/x-unheard-of")]).expect(403);
    }
}

#[test]
fn a_proxy_is_not_banned_for_clients_that_it_does_not_name() {
    // [ENG-150]
    let proxied = Setup::new()
        .key("SERVER__TRUSTED_PROXIES", "127.0.0.1/32")
        .key("ABUSE__ALLOW", "")
        .key("ABUSE__MAX_FAILURES", "3");
    let server = proxied.start();
    for unreadable in [&[][..], &[("X-Forwarded-For", "unknown")], &[("X-Forwarded-For", "")]] {
        for _ in 0..8 {
            guess(&server, unreadable).expect(403);
        }
    }
    // [ENG-152] nor is one client told for another
    let forged = [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.8")];
    for _ in 0..8 {
        guess(&server, &forged).expect(403);
    }
    for address in ["192.0.2.7", "192.0.2.8"] {
        guess(&server, &[("X-Forwarded-For", address)]).expect(403);
    }
}

#[test]
fn a_recovery_costs_no_refresh_that_brings_no_token() {
    // [SES-19] a plain PUT of what is complete
    let server = Setup::new().start();
    let slot = Slot::new("1/photo.jpg", 10);
    let id = session_of(&range(&server, &slot, 0, 10, &[]).expect(201));
    for _ in 0..2 {
        let again = ask(&server, "PUT", &slot.path, &[(SESSION, &id), ("Content-Length", "10")]);
        assert_eq!((again.status, again.header("x-session-token")), (409, None), "{again:?}");
    }
    assert_eq!(document(&server, &id)["refreshes_used"], 0);
}

#[test]
fn a_recovery_that_comes_too_often_costs_no_refresh() {
    // [SES-12] [SES-52]
    let server = Setup::new().key("ABUSE__SUBJECT_REQUESTS_PER_MINUTE", "1").start();
    let claims = SlotClaims {
        subject: Some("juliet@example.org".into()),
        slot: "1".into(),
        filename: "photo.jpg".into(),
        size: 10,
        content_type: None,
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
        retain_until_ms: None,
    };
    let token = mint(&keys(), &claims).expect("a token");
    let path = "/upload/1/photo.jpg";
    let id = session_of(&query(&server, &format!("{path}?token={token}"), 10, &[]).expect(308));
    query(&server, path, 10, &[(SESSION, &id)]).expect(429);
    assert_eq!(document(&server, &id)["refreshes_used"], 0);
}

#[test]
fn a_grant_opens_no_session_for_what_does_not_exist() {
    // [SES-1]
    let server = Setup::new().key("TUS__ACCESS", "grant").key("TUS__SECRET", SECRET).start();
    let claims = GrantClaims {
        subject: "juliet".into(),
        max_size: None,
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
    };
    let bearer = format!("Bearer {}", mint_grant(&keys(), &claims).expect("a grant"));
    let answer = query(&server, "/files/0123", 10, &[("Authorization", &bearer)]).expect(404);
    assert_eq!(answer.header(SESSION), None, "{answer:?}");
}

#[test]
fn a_store_that_is_away_is_no_missing_credential_to_a_head() {
    // [ENG-31]
    let away = Setup::new().key("SESSION__BACKEND", "redis").key("REDIS__URL", "redis://127.0.0.1:1/");
    let server = away.start();
    let id = "0".repeat(64);
    for headers in [&[(SESSION, id.as_str())][..], &[(SESSION, id.as_str()), ("Tus-Resumable", "1.0.0")]] {
        let answer = ask(&server, "HEAD", "/upload/1/photo.jpg", headers).expect(503);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
}

#[test]
fn a_grant_in_x_session_token_counts_where_creation_is_open() {
    // [AUT-14] the upload has an owner then, as with the same grant in Authorization
    let open = Setup::new().key("TUS__ACCESS", "grant").key("TUS__CREATE", "open").key("TUS__SECRET", SECRET);
    let server = open.start();
    let claims = GrantClaims {
        subject: "juliet".into(),
        max_size: None,
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
    };
    let token = mint_grant(&keys(), &claims).expect("a grant");
    let tus = ("Tus-Resumable", "1.0.0");
    let create = [tus, ("X-Session-Token", &token), ("Upload-Length", "10"), ("Content-Length", "0")];
    let created = ask(&server, "POST", "/files", &create).expect(201);
    let location = created.header("location").expect("a place").to_owned();
    ask(&server, "HEAD", &location, &[tus, ("X-Session-Token", &token)]).expect(200);
}

#[test]
fn the_bound_of_a_grant_is_not_left_behind_by_deferring_or_concatenating() {
    // [AUT-42]
    let server = Setup::new().key("TUS__SECRET", SECRET).start();
    let bounded = |max_size| {
        let claims = GrantClaims {
            subject: "juliet".into(),
            max_size,
            issued_at_ms: now_ms(),
            expires_at_ms: now_ms() + HOUR_MS,
        };
        format!("Bearer {}", mint_grant(&keys(), &claims).expect("a grant"))
    };
    let create = |grant: &str, headers: &[(&str, &str)]| {
        let all = [&[TUS, ("Authorization", grant), ("Content-Length", "0")], headers].concat();
        ask(&server, "POST", "/files", &all)
    };
    let deferred = ("Upload-Defer-Length", "1");
    let (five, any) = (bounded(Some(5)), bounded(None));
    create(&five, &[deferred]).expect(400);
    create(&any, &[deferred]).expect(201);

    let partial = ("Upload-Concat", "partial");
    let part = |grant: &str, length| {
        let created = create(grant, &[partial, length]).expect(201);
        created.header("location").expect("a place").to_owned()
    };
    let (three, two) = (part(&five, ("Upload-Length", "3")), part(&five, ("Upload-Length", "2")));
    let unknown = part(&any, deferred);
    let joined = |grant: &str, parts: &[&str]| {
        create(grant, &[("Upload-Concat", format!("final;{}", parts.join(" ")).as_str())])
    };
    joined(&five, &[&three, &three]).expect(413);
    joined(&five, &[&two, &unknown]).expect(400);
    joined(&five, &[&three, &two]).expect(201);
    joined(&any, &[&three, &three]).expect(201);
}

/// A whole file by plain PUT, in a path of its own.
#[track_caller]
fn put_at(server: &Server, target: &str, size: u64) -> Answer {
    let mut conn = server.connect();
    conn.head("PUT", target, &[("Content-Length", &size.to_string())]).expect("the request is sent");
    conn.send(&vec![7; usize::try_from(size).expect("a small file")]).expect("the bytes are sent");
    conn.answer().expect("an answer")
}

#[test]
fn below_the_download_path_files_are_read_and_nothing_else() {
    // [XEP-142]
    let server = Setup::new().key("SLOTS__DOWNLOAD_PATH", "/download").start();
    let slot = Slot::new("a/photo.jpg", 10);
    let alias = "/download/a/photo.jpg";
    let with_token = slot.target.replace("/upload/", "/download/");
    put_at(&server, &with_token, 10).expect(405);
    ask(&server, "GET", alias, &[]).expect(404);
    range(&server, &slot, 0, 5, &[]).expect(308);
    ask(&server, "GET", alias, &[]).expect(404);
    ask(&server, "HEAD", &with_token, &[("Tus-Resumable", "1.0.0")]).expect(404);
    range(&server, &slot, 5, 10, &[]).expect(201);
    assert_eq!(ask(&server, "GET", alias, &[]).expect(200).body, [7; 10]);
    assert_eq!(ask(&server, "GET", alias, &[("Range", "bytes=8-")]).expect(206).body, [7; 2]);
    ask(&server, "HEAD", alias, &[]).expect(200);
    for method in ["DELETE", "PATCH", "POST"] {
        ask(&server, method, &with_token, &[("Tus-Resumable", "1.0.0")]).expect(405);
    }
    ask(&server, "GET", "/downloads/a/photo.jpg", &[]).expect(404);
    ask(&server, "GET", &slot.path, &[]).expect(200);
}

#[test]
fn the_root_may_be_the_base_path_and_the_servers_own_pages_stay() {
    // [XEP-143]
    let server = Setup::new().key("SLOTS__BASE_PATH", "/").key("SLOTS__DOWNLOAD_PATH", "/get").start();
    let at_root = |name: &str| Slot::new(name, 10).target.replacen("/upload", "", 1);
    for name in ["a/photo.jpg", "healthz/photo.jpg", "upload/a/b", "session/photo.jpg"] {
        put_at(&server, &at_root(name), 10).expect(201);
        assert_eq!(ask(&server, "GET", &format!("/{name}"), &[]).expect(200).body, [7; 10]);
        assert_eq!(ask(&server, "GET", &format!("/get/{name}"), &[]).expect(200).body, [7; 10]);
    }
    for page in ["healthz", "readyz"] {
        ask(&server, "GET", &format!("/{page}"), &[]).expect(200);
        put_at(&server, &at_root(page), 10).expect(405);
    }
    let session = ask(&server, "GET", "/session", &[]);
    assert!(session.text().contains("session"), "{session:?}");
    // What lies below another base path belongs to that one.
    put_at(&server, &at_root("files/photo.jpg"), 10).expect(404);
}
