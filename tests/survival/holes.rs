//! Every hole of the system that this one replaces, by name: each case fails if it opens again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    common::{hex, http::Answer, server::Setup, slots::SECRET},
    site::{self, File, HOUR, Site, id_of, refused},
    tokens::{self, JULIET, ROMEO, hmac},
};

/// Every way to show this token for this file.
fn carried(site: &Site, file: &File, token: &str, session: Option<&str>) -> Vec<Answer> {
    let range = format!("bytes */{}", file.size());
    let query: String = token.replace('+', "%2B").replace('/', "%2F");
    let mut answers = Vec::new();
    let mut headers = vec![("Content-Range", range.as_str())];
    headers.extend(session.map(|id| ("X-Session-ID", id)));
    for name in ["token", "v2", "v"] {
        answers.push(site.ask("PUT", &format!("{}?{name}={query}", file.path), &headers, b""));
    }
    let bearer = format!("Bearer {token}");
    headers.push(("Authorization", &bearer));
    answers.push(site.ask("PUT", &file.path, &headers, b""));
    answers
}

#[track_caller]
fn all_refused(answers: &[Answer]) {
    for answer in answers {
        assert!([401, 403].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("x-session-id"), None, "{answer:?}");
        assert!(answer.text().contains("credential-invalid"), "{answer:?}");
    }
}

#[test]
fn garbage_is_refused_whatever_session_is_named() {
    // [SES-17] [SES-6]
    let site = Site::new(&[("ABUSE__MAX_FAILURES", "0")]);
    let (his, hers) = (File::new("his"), File::new("hers"));
    let (his_id, her_id) = (his.open(&site), {
        let token = hers.bearer(JULIET, site.now().plus(HOUR));
        id_of(&hers.query(&site, &[("Authorization", &token)]).expect(308))
    });
    let genuine = tokens::jwt(ROMEO, &his.name, his.size(), site.now().plus(HOUR));
    let (signed, _) = genuine.rsplit_once('.').unwrap();
    let foreign = hex(&hmac(b"another secret", &format!("{} {}", his.name, his.size())));
    let garbage = [
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        "0".repeat(64),
        STANDARD.encode([0; 32]),
        format!("{signed}.AAAA"),
        foreign,
    ];
    let seen = site.audit().len();
    let mut count = 0;
    for token in &garbage {
        for id in [&his_id, &her_id] {
            let answers = carried(&site, &his, token, Some(id));
            all_refused(&answers);
            count += answers.len();
        }
    }
    site.decided(seen, &vec![("credential", "refused", "credential-invalid"); count]);
    // The session of another subject lets in no more, with a good token gone stale or with none.
    site.clock.advance(HOUR);
    let stale = format!("Bearer {genuine}");
    refused(
        &his.query(&site, &[("Authorization", &stale), ("X-Session-ID", &her_id)]),
        403,
        "session-foreign",
    );
    refused(&his.query(&site, &[("X-Session-ID", &her_id)]), 403, "session-foreign");
    let refresh = [("X-Session-ID", her_id.as_str())];
    let answer = site.ask("POST", "/session/refresh", &refresh, b"").expect(200);
    let her_token = answer.header("x-session-token").unwrap().to_owned();
    refused(&his.query(&site, &[("X-Session-Token", &her_token)]), 403, "credential-path");
    // And the right one does, so that the cases above fail for the right reason.
    his.query(&site, &[("Authorization", &stale), ("X-Session-ID", &his_id)]).expect(308);
}

#[test]
fn a_good_token_is_good_from_every_address() {
    // [SES-20] [SES-31] [SES-50]
    let site = Site::new(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1/32"),
        ("NETWORK__CLASSES", "wifi=192.0.2.0/24,mobile=2001:db8::/32"),
    ]);
    let file = File::new("moves");
    let token = file.bearer(ROMEO, site.now().plus(HOUR));
    let places = ["192.0.2.1", "198.51.100.7", "2001:db8::1", "192.0.2.1"];
    let mut id = None;
    for (n, place) in places.into_iter().enumerate() {
        let headers = [("Authorization", token.as_str()), ("X-Forwarded-For", place)];
        let answer = file.part(&site, &headers, n, n + 1).expect(308);
        assert_eq!(answer.offset(), Some(n as u64 + 1));
        assert_eq!(*id.get_or_insert_with(|| id_of(&answer)), id_of(&answer));
    }
    let id = id.unwrap();
    // By the session alone, and by the fresh token alone.
    let by_session = [("X-Session-ID", id.as_str()), ("X-Forwarded-For", "203.0.113.5")];
    let answer = file.part(&site, &by_session, 4, 5).expect(308);
    let fresh = answer.header("x-session-token").unwrap().to_owned();
    let by_fresh = [("X-Session-Token", fresh.as_str()), ("X-Forwarded-For", "203.0.113.9")];
    file.part(&site, &by_fresh, 5, file.body.len()).expect(201);
    let told: Value = {
        let headers = [("X-Session-ID", id.as_str()), ("X-Forwarded-For", "203.0.113.9")];
        serde_json::from_slice(&site.ask("GET", "/session", &headers, b"").expect(200).body).unwrap()
    };
    let history: Vec<(&str, &str, &str)> = told["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let text = |side: &str, key: &str| change[side][key].as_str().unwrap();
            (text("from", "address"), text("to", "address"), text("to", "network"))
        })
        .collect();
    assert_eq!(
        history,
        [
            ("192.0.2.1", "198.51.100.7", "other"),
            ("198.51.100.7", "2001:db8::1", "mobile"),
            ("2001:db8::1", "192.0.2.1", "wifi"),
            ("192.0.2.1", "203.0.113.5", "other"),
            ("203.0.113.5", "203.0.113.9", "other"),
        ]
    );
    let audit = site.audit();
    let changes: Vec<_> = audit.iter().filter(|line| line["event"] == "network-changed").collect();
    assert_eq!(changes.len(), 5, "{audit:#?}");
    assert_eq!(
        (&changes[1]["from_address"], &changes[1]["address"]),
        (&"198.51.100.7".into(), &"2001:db8::1".into())
    );
    assert!(audit.iter().all(|line| line["outcome"] != "refused"), "{audit:#?}");
}

#[test]
fn a_mac_of_the_path_alone_opens_nothing() {
    let site = Site::new(&[("ABUSE__MAX_FAILURES", "0")]);
    let file = File::new("path-only");
    for signed in
        [file.name.clone(), file.path.clone(), format!("{} ", file.name), format!("{}\0", file.name)]
    {
        let mac = hmac(SECRET.as_bytes(), &signed);
        all_refused(&carried(&site, &file, &hex(&mac), None));
        let query = format!("user={}&expiry={}", ROMEO.replace('@', "%40"), site.now().0 / 1000 + 3600);
        let bearer = format!("Bearer {}", STANDARD.encode(&mac));
        let target = format!("{}?{query}", file.path);
        refused(
            &site.ask("PUT", &target, &[("Authorization", &bearer)], &file.body),
            401,
            "credential-invalid",
        );
    }
    let whole = hex(&hmac(SECRET.as_bytes(), &format!("{} {}", file.name, file.size())));
    site.ask("PUT", &format!("{}?v={whole}", file.path), &[], &file.body).expect(201);
}

#[test]
fn an_expiry_that_nobody_signed_counts_for_nothing() {
    let site = Site::new(&[("ABUSE__MAX_FAILURES", "0")]);
    let file = File::new("unsigned");
    let issued = site.now().0 / 1000;
    let (mac, query) = tokens::bearer(ROMEO, "a.bin", file.size(), issued);
    let presigned = tokens::presigned("test", &file.path, file.size(), site.now());
    let authorization = format!("Bearer {mac}");
    let by_bearer = |query: &str| {
        site.ask("PUT", &format!("{}?{query}", file.path), &[("Authorization", &authorization)], &file.body)
    };
    let by_url = |query: &str| site.ask("PUT", &format!("{}?{query}", file.path), &[], &file.body);
    // A claim is added to a JWT without its signature being made anew.
    let genuine = tokens::jwt(ROMEO, &file.name, file.size(), site.now());
    let parts: Vec<&str> = genuine.split('.').collect();
    let decode = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut claims: Value = serde_json::from_slice(&decode.decode(parts[1]).unwrap()).unwrap();
    claims["exp"] = (issued + 7200).into();
    let longer = format!("{}.{}.{}", parts[0], decode.encode(claims.to_string()), parts[2]);
    for after in [0, 2] {
        site.clock.advance(after * HOUR);
        let expired = if after == 0 { None } else { Some("credential-expired") };
        for moved in [-3600_i64, -1, 1, 3600, 86_400, 7_200_000] {
            let later = query.replace(&(issued + 3600).to_string(), &(issued + 3600 + moved).to_string());
            assert_ne!(later, query);
            refused(&by_bearer(&later), 401, "credential-invalid");
        }
        for life in ["1", "3601", "7200", "604800"] {
            let later = presigned.replace("X-Amz-Expires=3600", &format!("X-Amz-Expires={life}"));
            refused(&by_url(&later), 403, "credential-invalid");
        }
        refused(&by_url(&format!("token={longer}")), 403, "credential-invalid");
        if let Some(word) = expired {
            refused(&by_bearer(&query), 401, word);
            refused(&by_url(&presigned), 401, word);
        }
    }
    // As they were signed, and in time, either is good.
    let again = File::new("signed");
    site.clock.set(site::START);
    by_bearer(&query).expect(201);
    let url = tokens::presigned("test", &again.path, again.size(), site.now());
    site.ask("PUT", &format!("{}?{url}", again.path), &[], &again.body).expect(201);
}

#[test]
fn what_an_untrusted_peer_forwards_counts_for_nothing() {
    // [SES-50] [SES-51]
    let keys =
        [("SERVER__TRUSTED_PROXIES", "192.0.2.0/24"), ("ABUSE__ALLOW", ""), ("ABUSE__MAX_FAILURES", "3")];
    let site = Site::new(&keys);
    let file = File::new("forged");
    let id = file.open(&site);
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let value = if name == "Forwarded" { "for=203.0.113.7" } else { "203.0.113.7" };
        file.query(&site, &[("X-Session-ID", &id), (name, value)]).expect(308);
    }
    let told = site.session(&id);
    assert_eq!((&told["network"]["address"], &told["changes"]), (&"127.0.0.1".into(), &0.into()));
    // Nobody guesses from a fresh address each time, and nobody gets another banned.
    let seen = site.audit().len();
    let wrong = format!("{}?v={}", file.path, "0".repeat(64));
    let guess = |forged: &str| {
        let headers = [("X-Forwarded-For", forged), ("Content-Range", "bytes */10")];
        site.ask("PUT", &wrong, &headers, b"")
    };
    for n in 1..=3 {
        refused(&guess(&format!("203.0.113.{n}")), 403, "credential-invalid");
    }
    refused(&guess("203.0.113.4"), 429, "banned");
    let banned: Vec<Value> =
        site.audit().split_off(seen).into_iter().filter(|line| line["event"] == "banned").collect();
    assert_eq!(banned.len(), 2, "when it begins, and when it is met: {banned:?}");
    assert!(banned.iter().all(|line| line["address"] == "127.0.0.1"), "{banned:?}");
}

#[test]
fn guesses_where_nothing_has_to_be_shown_are_recorded_and_not_counted() {
    // [SES-71]
    let unknown = "0".repeat(64);
    let guesses = [
        ("Authorization", "Bearer a.b.c", "credential", "credential-invalid"),
        ("X-Session-ID", unknown.as_str(), "session-refused", "session-unknown"),
    ];
    for (name, value, event, word) in guesses {
        for tus in [&[][..], &[("Tus-Resumable", "1.0.0")][..]] {
            let site = Site::new(&[("ABUSE__ALLOW", ""), ("ABUSE__MAX_FAILURES", "3")]);
            let file = File::new("guessed");
            let token = file.bearer(ROMEO, site.now().plus(HOUR));
            file.part(&site, &[("Authorization", &token)], 0, 5).expect(308);
            site.clock.advance(HOUR);
            let head = |shown: &[(&str, &str)]| site.ask("HEAD", &file.path, &[tus, shown].concat(), b"");
            let seen = site.audit().len();
            for _ in 0..5 {
                let answer = head(&[(name, value)]);
                assert_eq!((answer.offset(), answer.header("x-session-id")), (Some(5), None));
            }
            site.decided(seen, &[(event, "refused", word); 5]);
            refused(&file.query(&site, &[]), 401, "credential-missing");
        }
    }
}

#[test]
fn a_token_for_another_size_is_refused() {
    // [SES-18]
    let site = Site::new(&[("ABUSE__MAX_FAILURES", "0")]);
    let file = File::new("sized");
    let issued = site.now().0 / 1000;
    let jwt = tokens::jwt(ROMEO, &file.name, file.size(), site.now().plus(HOUR));
    let v1 = hex(&hmac(SECRET.as_bytes(), &format!("{} {}", file.name, file.size())));
    let v2 = hex(&hmac(SECRET.as_bytes(), &format!("{}\0{}\0", file.name, file.size())));
    let (mac, user) = tokens::bearer(ROMEO, "a.bin", file.size(), issued);
    let presigned = tokens::presigned("test", &file.path, file.size(), site.now());
    let queries = [
        (format!("token={jwt}"), "credential-size"),
        (format!("v={v1}"), "credential-invalid"),
        (format!("v2={v2}"), "credential-invalid"),
        (format!("{user}&token={}", mac.replace('+', "%2B").replace('/', "%2F")), "credential-invalid"),
        (presigned, "credential-invalid"),
    ];
    for (query, word) in &queries {
        let target = format!("{}?{query}", file.path);
        for size in [file.size() - 1, file.size() + 1, 0] {
            let body = vec![b'x'; size as usize];
            refused(&site.ask("PUT", &target, &[], &body), 403, word);
            let range = format!("bytes */{size}");
            refused(&site.ask("PUT", &target, &[("Content-Range", &range)], b""), 403, word);
        }
        let range = format!("bytes */{}", file.size());
        site.ask("PUT", &target, &[("Content-Range", &range)], b"").expect(308);
    }
    // Neither the session nor its fresh token is good for another size, before and after bytes are there.
    let id = file.open(&site);
    site.clock.advance(HOUR);
    let answer = file.query(&site, &[("X-Session-ID", &id)]).expect(308);
    let fresh = answer.header("x-session-token").unwrap().to_owned();
    for size in [file.size() - 1, file.size() + 1] {
        let range = format!("bytes */{size}");
        for credential in [("X-Session-ID", id.as_str()), ("X-Session-Token", fresh.as_str())] {
            let headers = [credential, ("Content-Range", range.as_str())];
            refused(&site.ask("PUT", &file.path, &headers, b""), 403, "credential-size");
            refused(
                &site.ask("PUT", &file.path, &[credential], &vec![b'x'; size as usize]),
                403,
                "credential-size",
            );
        }
    }
}

#[test]
fn nothing_writes_to_what_is_complete_or_gone() {
    // [SES-19]
    let site = Site::new(&[("SLOTS__DELETE_COMPLETE", "true"), ("ABUSE__MAX_FAILURES", "0")]);
    let file = File::new("replayed");
    let token = file.bearer(ROMEO, site.now().plus(3 * HOUR));
    let by_token = ("Authorization", token.as_str());
    let id = id_of(&file.part(&site, &[by_token], 0, 5).expect(308));
    let by_session = ("X-Session-ID", id.as_str());
    let fresh = file.query(&site, &[by_session]).expect(308).header("x-session-token").unwrap().to_owned();
    let by_fresh = ("X-Session-Token", fresh.as_str());
    file.part(&site, &[by_session], 5, file.body.len()).expect(201);
    let other = vec![b'!'; file.body.len()];
    let range = format!("bytes 0-{}/{}", file.size() - 1, file.size());
    let tus = [("Tus-Resumable", "1.0.0"), ("Content-Type", "application/offset+octet-stream")];
    for credential in [by_token, by_session, by_fresh] {
        let answers = [
            site.ask("PUT", &file.path, &[credential], &other),
            file.part(&site, &[credential], 0, 5),
            site.ask("PATCH", &file.path, &[tus[0], tus[1], credential, ("Upload-Offset", "0")], &other),
        ];
        for answer in answers {
            assert!([409, 416].contains(&answer.status), "{credential:?}: {answer:?}");
            assert_eq!(answer.header("x-session-token"), None, "what is complete needs no token: {answer:?}");
        }
        // [CRG-25] the last range may be repeated by whoever missed its answer; its bytes are not even read
        site.ask("PUT", &file.path, &[credential, ("Content-Range", &range)], &other).expect(201);
        file.is_there(&site);
        // It can still be asked about.
        assert_eq!(file.query(&site, &[credential]).expect(201).header("x-session-token"), None);
    }
    file.is_there(&site);

    site.ask("DELETE", &file.path, &[by_token], b"").expect(204);
    for credential in [by_token, by_session, by_fresh] {
        for body in [&file.body, &other] {
            site.ask("PUT", &file.path, &[credential], body).expect(410);
            site.ask("PUT", &file.path, &[credential, ("Content-Range", &range)], body).expect(410);
        }
        file.query(&site, &[credential]).expect(410);
    }
    site.ask("GET", &file.path, &[], b"").expect(410);
}

#[test]
fn a_bearer_token_is_for_the_first_path_that_it_was_used_for_also_after_a_restart() {
    let setup = Setup::new();
    let mut server = setup.start();
    let now = {
        use plimsoll::clock::{Clock as _, SystemClock};
        SystemClock.now().0 / 1000
    };
    let body = b"once and no more";
    let (mac, query) = tokens::bearer(ROMEO, "a.bin", body.len() as u64, now);
    let authorization = format!("Bearer {mac}");
    let range = format!("bytes */{}", body.len());
    for _ in 0..2 {
        for (slot, status) in [("first", 308), ("second", 403), ("first/deeper", 403), ("first", 308)] {
            let target = format!("/upload/{slot}/a.bin?{query}");
            let headers = [("Authorization", authorization.as_str()), ("Content-Range", &range)];
            let answer = site::ask(server.address, "PUT", &target, &headers, b"").expect(status);
            if status == 403 {
                assert!(answer.text().contains("credential-path"), "{answer:?}");
            }
        }
        // As hard as a restart can be: the binding was stored before the answer.
        server = server.kill().start();
    }
    let target = format!("/upload/first/a.bin?{query}");
    site::ask(server.address, "PUT", &target, &[("Authorization", &authorization)], body).expect(201);
    let target = format!("/upload/second/a.bin?{query}");
    site::ask(server.address, "PUT", &target, &[("Authorization", &authorization)], body).expect(403);
}
