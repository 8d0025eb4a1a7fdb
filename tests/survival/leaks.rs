//! "A session id from a log": whoever reads what the server writes down can use none of it.

use std::{fs, net::SocketAddr, path::Path};

use plimsoll::{
    clock::{Clock as _, SystemClock, Timestamp},
    session::SessionId,
};

use crate::{
    common::{
        hex,
        http::Answer,
        redis::Redis,
        server::{Server, Setup},
        slots::SECRET,
    },
    site::{self, HOUR, id_of, refused},
    tokens::{self, JULIET, ROMEO, hmac},
};

/// Bytes of one upload.
const BODY: &[u8] = b"the bytes of one upload";
const SIZE: u64 = BODY.len() as u64;

/// What may stand nowhere, by name.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, what: &str, text: &str) {
        self.0.push((what.to_owned(), text.as_bytes().to_vec()));
    }

    /// A session's id, as it is shown and as the bytes that it stands for.
    fn id(&mut self, what: &str, text: &str) {
        self.add(what, text);
        let raw = text.as_bytes().chunks(2).map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("an id is made of hex digits")
        });
        self.0.push((format!("{what}, raw"), raw.collect()));
    }

    /// A JWT can be used when its signature is known; its claims alone are no secret.
    fn jwt(&mut self, what: &str, token: &str) {
        self.add(what, token.rsplit_once('.').unwrap().1);
    }

    fn stand_in(&self, bytes: &[u8]) -> Vec<&str> {
        let found = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        self.0.iter().filter(|(_, secret)| found(secret)).map(|(what, _)| what.as_str()).collect()
    }
}

struct Client {
    address: SocketAddr,
    now: Timestamp,
}

impl Client {
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        site::ask(self.address, method, target, headers, body)
    }

    fn query(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let range = format!("bytes */{SIZE}");
        self.ask("PUT", target, &[headers, &[("Content-Range", range.as_str())]].concat(), b"")
    }

    fn jwt(&self, subject: &str, name: &str, expires_at: Timestamp) -> String {
        tokens::jwt(subject, name, SIZE, expires_at)
    }
}

/// Every step that a session can take, every form of credential, good and bad; what was secret in it, the id of the
/// session that stays, and the paths.
fn everything(server: &Server) -> (Secrets, String, Vec<String>) {
    let client = Client { address: server.address, now: SystemClock.now() };
    let soon = client.now.plus(HOUR);
    let mut secrets = Secrets(Vec::new());
    secrets.add("the slot secret", SECRET);
    let names = ["first-slot/a.bin", "second-slot/b.bin", "third-slot/c.bin", "fourth-slot/d.bin"];
    let paths: Vec<String> = names.iter().map(|name| format!("/upload/{name}")).collect();
    let home = ("X-Forwarded-For", "192.0.2.1");

    // Opened and joined, with the token in the URL and in the header.
    let token = client.jwt(ROMEO, names[0], soon);
    secrets.jwt("a slot token in the URL", &token);
    let id = id_of(&client.query(&format!("{}?token={token}", paths[0]), &[home]).expect(308));
    secrets.id("a session's id", &id);
    let token = client.jwt(ROMEO, names[1], soon);
    secrets.jwt("a slot token in a header", &token);
    let bearer = format!("Bearer {token}");
    let answer =
        client.query(&paths[1], &[home, ("Authorization", &bearer), ("X-Session-ID", &id)]).expect(308);
    assert_eq!(id_of(&answer), id);

    // Recovered from elsewhere, in every way to name it, and by a token gone stale.
    let away = ("X-Forwarded-For", "198.51.100.7");
    let stale = client.jwt(ROMEO, names[0], Timestamp(client.now.0 - 60_000));
    secrets.jwt("an expired slot token", &stale);
    let answers = [
        client.query(&paths[0], &[away, ("X-Session-ID", &id)]),
        client.query(&paths[0], &[away, ("X-Session-Token", &id)]),
        client.query(&format!("{}?session_id={id}", paths[0]), &[away]),
        client.query(&format!("{}?token={stale}&session_id={id}", paths[0]), &[away]),
        client.query(&paths[1], &[home, ("X-Session-ID", &id)]),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let target = &paths[n / 4];
        let fresh = answer.expect(308).header("x-session-token").unwrap().to_owned();
        secrets.jwt("a fresh token", &fresh);
        client.query(&format!("{target}?token={fresh}"), &[home]).expect(308);
        client.query(target, &[home, ("X-Session-Token", &fresh)]).expect(308);
    }
    let refresh = [home, ("X-Session-ID", id.as_str())];
    let range = format!("bytes 0-4/{SIZE}");
    client.ask("PUT", &paths[0], &[refresh[1], home, ("Content-Range", &range)], &BODY[..5]).expect(308);
    refused(&client.ask("POST", "/session/refresh", &refresh, b""), 409, "upload-ambiguous");
    let upload = client.query(&paths[0], &refresh).expect(308).header("x-upload-id").unwrap().to_owned();
    let named = [refresh[0], refresh[1], ("X-Upload-ID", upload.as_str())];
    let fresh = client.ask("POST", "/session/refresh", &named, b"").expect(200);
    secrets.jwt("a token of choice", fresh.header("x-session-token").unwrap());
    client.ask("GET", &format!("/session?session_id={id}"), &[home], b"").expect(200);

    // The other forms of credential.
    let v1 = hex(&hmac(SECRET.as_bytes(), &format!("{} {SIZE}", names[2])));
    secrets.add("a v1 token", &v1);
    let other = id_of(&client.ask("PUT", &format!("{}?v={v1}", paths[2]), &[home], BODY).expect(201));
    secrets.id("another session's id", &other);
    let (mac, query) = tokens::bearer(JULIET, "d.bin", SIZE, client.now.0 / 1000);
    secrets.add("a MAC of ejabberd's form", &mac);
    let authorization = format!("Bearer {mac}");
    let by_mac = [home, ("Authorization", authorization.as_str())];
    client.query(&format!("{}?{query}", paths[3]), &by_mac).expect(308);
    refused(&client.query(&format!("/upload/elsewhere/d.bin?{query}"), &by_mac), 403, "credential-path");
    let presigned = tokens::presigned("test", "/upload/s3/e.bin", SIZE, client.now);
    secrets.add("a presigned URL's signature", presigned.rsplit_once('=').unwrap().1);
    let s3 = client.ask("PUT", &format!("/upload/s3/e.bin?{presigned}"), &[home], BODY).expect(201);
    secrets.id("a presigned URL's session", &id_of(&s3));

    // Over HTTP/2, whose libraries have logs of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
        let url = format!("http://{}{}?token={stale}&session_id={id}", client.address, paths[0]);
        let request = http2.head(url).header("x-session-id", &id).header("authorization", &bearer);
        request.send().await.unwrap().status()
    });
    assert!(status.is_success() || status.is_client_error(), "{status}");

    // Refusals that show what is good beside what is not, until the address is banned.
    let guesser = ("X-Forwarded-For", "203.0.113.66");
    let unknown = SessionId::random().expose().to_owned();
    secrets.id("an id that no session has", &unknown);
    let garbage = [guesser, ("Authorization", "Bearer a.b.c"), ("X-Session-ID", &id)];
    refused(&client.query(&paths[0], &garbage), 401, "credential-invalid");
    refused(&client.query(&paths[0], &[guesser, ("X-Session-ID", &other)]), 403, "session-foreign");
    refused(&client.query(&paths[0], &[guesser, ("X-Session-ID", &unknown)]), 401, "session-unknown");
    let malformed = format!("x{id}");
    refused(&client.query(&paths[0], &[guesser, ("X-Session-ID", &malformed)]), 401, "session-malformed");
    let wrong = client.ask("PUT", &format!("{}?v={v1}", paths[0]), &[guesser], BODY);
    refused(&wrong, 403, "credential-invalid");
    for _ in 0..4 {
        let _ = client.ask("PUT", &format!("{}?v={v1}", paths[0]), &[guesser], BODY);
    }
    refused(&client.query(&paths[0], &[guesser, ("X-Session-ID", &unknown)]), 429, "banned");
    // A client may choose its request's id, and so might choose this.
    let answer = client.ask("GET", "/session", &[home, ("X-Session-ID", &id), ("X-Request-ID", &id)], b"");
    assert_ne!(answer.expect(200).header("x-request-id"), Some(id.as_str()));
    // Methods and paths that lead nowhere.
    client.ask("POST", &format!("/session?session_id={id}"), &[home], b"").expect(405);
    client.ask("GET", &format!("/nowhere?session_id={id}&token={token}"), &[home], b"").expect(404);

    // One session is ended by its holder.
    client.ask("DELETE", "/session", &[home, ("X-Session-ID", &other)], b"").expect(204);
    (secrets, id, paths)
}

fn setup() -> Setup {
    Setup::new()
        .with_metrics()
        .key("SERVER__TRUSTED_PROXIES", "127.0.0.1/32")
        .key("ABUSE__MAX_FAILURES", "5")
        .key("LOG__LEVEL", "trace")
        .key("LOG__FORMAT", "json")
        .key("LOG__FILE", "log.jsonl")
        .key("AUDIT__FILE", "audit.jsonl")
}

/// Everything that the server wrote: name and bytes.
fn written(server: &Server) -> Vec<(String, Vec<u8>)> {
    let folder = server.store().parent().unwrap().to_owned();
    let read =
        |path: &Path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap());
    let mut found: Vec<_> =
        ["log.jsonl", "audit.jsonl", "server.log"].iter().map(|name| read(&folder.join(name))).collect();
    for file in fs::read_dir(server.store()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "ledger.db-shm" {
            found.push(read(&path));
        }
    }
    found.push(("/metrics".into(), server.metrics_page().into_bytes()));
    found
}

/// Nothing secret is in what was written; what stands for the session is.
fn judge(places: &[(String, Vec<u8>)], secrets: &Secrets, id: &str, paths: &[String], keeps: &str) {
    let key = SessionId::parse(id).unwrap().key();
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for (name, bytes) in places {
        assert_eq!(secrets.stand_in(bytes), [""; 0], "in {name}");
    }
    let of = |name: &str| {
        let found = places.iter().filter(|(known, _)| known.starts_with(name));
        found.flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>()
    };
    assert!(has(&of(keeps), &key.0), "the session is in {keeps}, by the hash of its id");
    let audit = of("audit.jsonl");
    assert!(has(&audit, &format!("\"session\":\"{}\"", key.short())), "and in the audit log");
    for path in paths {
        assert!(!has(&audit, path.strip_prefix("/upload/").unwrap()), "{path} is in the audit log");
    }
    for event in [
        "credential",
        "session-opened",
        "session-joined",
        "session-recovered",
        "session-refreshed",
        "session-ended",
        "session-refused",
        "network-changed",
        "banned",
    ] {
        assert!(has(&audit, &format!("\"event\":\"{event}\"")), "no {event} in the audit log");
    }
    let log = of("log.jsonl");
    for line in ["answered", "session refused", "credential refused", "banned after"] {
        assert!(has(&log, line), "the log does not tell: {line}");
    }
}

#[test]
fn nothing_that_is_written_down_lets_anybody_in() {
    // [SES-32]
    let server = setup().start();
    let (secrets, id, paths) = everything(&server);
    judge(&written(&server), &secrets, &id, &paths, "ledger.db");
    // What the ledger held in its write-ahead log is in its database after an orderly end.
    server.terminate();
    let (status, setup) = server.ended();
    assert!(status.success());
    let server = setup.start();
    judge(&written(&server), &secrets, &id, &paths, "ledger.db");
    site::ask(server.address, "GET", "/session", &[("X-Session-ID", &id)], b"").expect(200);
}

#[test]
fn nothing_that_redis_holds_lets_anybody_in() {
    // [SES-32]
    let redis = Redis::start();
    let server = setup()
        .key("SESSION__BACKEND", "redis")
        .key("ABUSE__BACKEND", "redis")
        .key("REDIS__URL", redis.url())
        .start();
    let (secrets, id, paths) = everything(&server);
    let mut places = written(&server);
    places.push(("redis".into(), redis.written()));
    judge(&places, &secrets, &id, &paths, "redis");
}
