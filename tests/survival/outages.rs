//! Sessions in Redis: they outlive the server, and the server outlives Redis.

use std::time::Duration;

use plimsoll::{
    clock::{Clock as _, SystemClock},
    session::SessionId,
};

use crate::{
    common::{
        eventually,
        http::Answer,
        redis::Redis,
        server::{Server, Setup},
    },
    site::{self, File, id_of, refused},
    tokens::ROMEO,
};

const DEGRADED: &str = r#"plimsoll_redis_degraded{part="sessions"}"#;
const OUTAGES: &str = r#"plimsoll_redis_outages_total{part="sessions"}"#;

fn server(redis: &Redis) -> Server {
    let setup = Setup::new().with_metrics().key("SESSION__BACKEND", "redis").key("REDIS__URL", redis.url());
    setup.key("ABUSE__ALLOW", "").key("ABUSE__MAX_FAILURES", "3").start()
}

fn query(server: &Server, file: &File, headers: &[(&str, &str)]) -> Answer {
    let range = format!("bytes */{}", file.size());
    site::ask(
        server.address,
        "PUT",
        &file.path,
        &[headers, &[("Content-Range", range.as_str())]].concat(),
        b"",
    )
}

fn part(server: &Server, file: &File, headers: &[(&str, &str)], first: usize, end: usize) -> Answer {
    let range = format!("bytes {first}-{}/{}", end - 1, file.size());
    let headers = [headers, &[("Content-Range", range.as_str())]].concat();
    site::ask(server.address, "PUT", &file.path, &headers, &file.body[first..end])
}

/// A session of an upload that has five bytes, by a token that lives a second or more.
fn begun(server: &Server, name: &str) -> (File, String, String) {
    let file = File::new(name);
    let token = file.bearer(ROMEO, SystemClock.now().plus(Duration::from_secs(2)));
    let answer = part(server, &file, &[("Authorization", &token)], 0, 5).expect(308);
    (file, id_of(&answer), token)
}

fn has_expired(server: &Server, token: &str, file: &File) -> bool {
    let answer = query(server, file, &[("Authorization", token)]);
    answer.status == 401 && answer.text().contains("credential-expired")
}

#[test]
fn a_session_in_redis_outlives_the_server() {
    // [SES-10]
    let redis = Redis::start();
    let server = server(&redis);
    let (file, id, token) = begun(&server, "outlives");
    let server = server.kill().start();
    let headers = [("X-Session-ID", id.as_str()), ("Authorization", token.as_str())];
    eventually("the token expires", || has_expired(&server, &token, &file));
    assert_eq!(query(&server, &file, &headers).expect(308).offset(), Some(5));
    let (server, headers) = (server.kill().start(), &headers[..1]);
    part(&server, &file, headers, 5, file.body.len()).expect(201);
    assert_eq!(site::ask(server.address, "GET", &file.path, &[], b"").expect(200).body, file.body);
    // And what its holder ended stays ended.
    site::ask(server.address, "DELETE", "/session", headers, b"").expect(204);
    let server = server.kill().start();
    refused(&site::ask(server.address, "GET", "/session", headers, b""), 401, "session-unknown");
}

#[test]
fn an_upload_goes_on_while_redis_is_away() {
    // [SES-10] [ENG-31]
    let mut redis = Redis::start();
    let server = server(&redis);
    let (file, id, token) = begun(&server, "goes-on");
    let headers = [("X-Session-ID", id.as_str()), ("Authorization", token.as_str())];
    assert_eq!(server.metric(DEGRADED), 0.0);
    eventually("the token expires", || has_expired(&server, &token, &file));

    redis.kill();
    assert_eq!(part(&server, &file, &headers, 5, 10).expect(308).offset(), Some(10));
    assert_eq!((server.metric(DEGRADED), server.metric(OUTAGES)), (1.0, 1.0));
    // Another session may begin, and is good at once.
    let (other, other_id, _) = begun(&server, "begins");
    query(&server, &other, &[("X-Session-ID", &other_id)]).expect(308);

    // One that this node does not know may exist elsewhere: neither a refusal nor a guess, however often.
    let unknown = SessionId::random();
    for _ in 0..5 {
        let named = [("X-Session-ID", unknown.expose()), ("Authorization", token.as_str())];
        for answer in [
            query(&server, &file, &named),
            query(&server, &file, &named[..1]),
            site::ask(server.address, "GET", "/session", &named[..1], b""),
            site::ask(server.address, "POST", "/session/refresh", &named[..1], b""),
            site::ask(server.address, "DELETE", "/session", &named[..1], b""),
        ] {
            let answer = answer.expect(503);
            let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(answer.header("x-session-id"), None);
        }
    }
    assert_eq!(part(&server, &file, &headers, 10, 15).expect(308).offset(), Some(15));

    redis.go_on();
    eventually("the server finds Redis again", || {
        query(&server, &file, &headers).expect(308);
        server.metric(DEGRADED) == 0.0
    });
    assert_eq!(server.metric(OUTAGES), 1.0);
    part(&server, &file, &headers, 15, file.body.len()).expect(201);
    assert_eq!(site::ask(server.address, "GET", &file.path, &[], b"").expect(200).body, file.body);
    // What was opened meanwhile is in Redis from its next use on, and outlives the server.
    query(&server, &other, &[("X-Session-ID", &other_id)]).expect(308);
    // Now nobody has it.
    let named = [("X-Session-ID", unknown.expose())];
    for _ in 0..5 {
        refused(&query(&server, &file, &named), 401, "session-unknown");
    }
    let server = server.kill().start();
    query(&server, &other, &[("X-Session-ID", &other_id)]).expect(308);
}
