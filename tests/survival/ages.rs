//! How long a session lives, what it gives out meanwhile, and that nothing goes on afterwards.

use serde_json::Value;

use crate::{
    common::http::Answer,
    site::{CURL, DINO, File, HOUR, MOMENT, START, Site, id_of, refused},
    tokens::{self, JULIET, ROMEO},
};

pub(crate) fn header(answer: &Answer, name: &str) -> String {
    answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

fn refreshes(session: &Value) -> (u64, u64) {
    (session["refreshes_used"].as_u64().unwrap(), session["refreshes_left"].as_u64().unwrap())
}

#[test]
fn a_session_lives_three_days_whatever_happens_meanwhile() {
    // [SES-15]
    let site = Site::new(&[("SESSION__MAX_REFRESHES", "1000"), ("SLOTS__DELETE_COMPLETE", "true")]);
    let file = File::new("long");
    let id = file.open(&site);
    let named = [("X-Session-ID", id.as_str())];
    let mut fresh = String::new();
    for hour in 1..72 {
        site.clock.set(START.plus(hour * HOUR));
        let answer = file.query(&site, &named).expect(308);
        let left = u64::from(72 - hour) * 3600;
        assert_eq!(header(&answer, "x-upload-session-timeout"), left.to_string());
        // [SES-11]
        let ends = START.plus((hour + 1) * HOUR);
        assert_eq!(header(&answer, "x-session-expires"), ends.http_date());
        fresh = header(&answer, "x-session-token");
        // What else may happen: bytes, another upload of the subject, another program, a refresh of choice.
        match hour {
            20 => drop(file.part(&site, &named, 0, 5).expect(308)),
            30 => {
                let more = File::new("more");
                let token = more.bearer(ROMEO, site.now().plus(HOUR));
                let answer = more.query(&site, &[("Authorization", &token), named[0]]).expect(308);
                assert_eq!(id_of(&answer), id);
                more.put(&site, &named).expect(201);
            }
            40 => drop(file.query(&site, &[named[0], ("User-Agent", DINO)]).expect(308)),
            50 => drop(site.ask("POST", "/session/refresh", &named, b"").expect(200)),
            _ => {}
        }
    }
    site.clock.set(START.plus(72 * HOUR - MOMENT));
    let answer = file.query(&site, &named).expect(308);
    assert_eq!(answer.offset(), Some(5));
    assert_eq!(header(&answer, "x-session-expires"), START.plus(72 * HOUR).http_date());
    // One an hour, one of choice, and one for the other upload.
    assert_eq!(site.session(&id)["refreshes_used"], 73);

    site.clock.set(START.plus(72 * HOUR));
    let seen = site.audit().len();
    refused(&file.query(&site, &named), 401, "session-expired");
    refused(&file.part(&site, &named, 5, file.body.len()), 401, "session-expired");
    refused(&site.ask("GET", "/session", &named, b""), 401, "session-expired");
    refused(&site.ask("POST", "/session/refresh", &named, b""), 401, "session-expired");
    refused(&site.ask("DELETE", "/session", &named, b""), 401, "session-expired");
    refused(&site.ask("DELETE", &file.path, &named, b""), 401, "session-expired");
    refused(&file.query(&site, &[("X-Session-Token", &fresh)]), 401, "credential-expired");
    let expired = ("session-refused", "refused", "session-expired");
    let mut expected = vec![expired; 6];
    expected.push(("credential", "refused", "credential-expired"));
    site.decided(seen, &expected);
}

#[test]
fn nothing_goes_on_after_three_days_however_tokens_were_chained() {
    // [SES-22] [SES-15] [SES-40]: neither the desktop's grace nor another session lengthens what a fresh token is
    let site = Site::new(&[]);
    let (file, more) = (File::new("chain"), File::new("more"));
    let first = file.open(&site);
    let joined = more.bearer(ROMEO, site.now().plus(HOUR));
    more.query(&site, &[("Authorization", &joined), ("X-Session-ID", &first)]).expect(308);
    // A session that lives longer, of a subject's other upload.
    site.clock.set(START.plus(71 * HOUR));
    let later = File::new("later").open(&site);
    let answer = file.query(&site, &[("X-Session-ID", &first), ("User-Agent", DINO)]).expect(308);
    let fresh = header(&answer, "x-session-token");
    for carrier in ["Authorization", "X-Session-Token"] {
        let value = if carrier == "Authorization" { format!("Bearer {fresh}") } else { fresh.clone() };
        // It is seen in the session that it came from, joins none, and is told none that it does not name.
        let mut headers = vec![(carrier, value.as_str()), ("User-Agent", DINO)];
        assert_eq!(file.query(&site, &headers).expect(308).header("x-session-id"), None);
        if carrier == "Authorization" {
            headers.push(("X-Session-ID", &first));
            assert_eq!(id_of(&file.query(&site, &headers).expect(308)), first);
            headers.pop();
            headers.push(("X-Session-ID", &later));
            assert_eq!(file.query(&site, &headers).expect(308).header("x-session-id"), None);
        }
    }
    assert_eq!(site.session(&later)["uploads"].as_array().unwrap().len(), 1);

    for beyond in [0, 1, 23, 47] {
        site.clock.set(START.plus((72 + beyond) * HOUR));
        let bearer = format!("Bearer {fresh}");
        for agent in [DINO, CURL] {
            let agent = ("User-Agent", agent);
            refused(&file.query(&site, &[("Authorization", &bearer), agent]), 401, "credential-expired");
            refused(&file.query(&site, &[("X-Session-Token", &fresh), agent]), 401, "credential-expired");
            refused(&file.query(&site, &[("X-Session-ID", &first), agent]), 401, "session-expired");
            let by_later = file.query(&site, &[("X-Session-ID", &later), agent]);
            refused(&by_later, 403, "session-foreign");
            let both = [("Authorization", bearer.as_str()), ("X-Session-ID", &later), agent];
            refused(&file.query(&site, &both), 403, "session-foreign");
        }
    }
}

#[test]
fn the_eleventh_recovery_is_refused() {
    // [SES-12] [SES-13]
    let site = Site::new(&[]);
    let file = File::new("eleven");
    let id = file.open(&site);
    let named = [("X-Session-ID", id.as_str())];
    for n in 1..=10_u64 {
        site.clock.advance(HOUR);
        let first = header(&file.query(&site, &named).expect(308), "x-session-token");
        // While it lives, another recovery costs nothing and has the same end.
        site.clock.advance(HOUR / 2);
        let again = file.query(&site, &named).expect(308);
        let left = START.plus(HOUR + HOUR * 3 / 2 * (n as u32 - 1) + HOUR);
        assert_eq!(header(&again, "x-session-expires"), left.http_date());
        file.query(&site, &[("X-Session-Token", &first)]).expect(308);
        file.query(&site, &[("Authorization", &format!("Bearer {first}"))]).expect(308);
        assert_eq!(refreshes(&site.session(&id)), (n, 10 - n));
    }
    // Still good: the last token lives for half an hour.
    file.part(&site, &named, 0, 5).expect(308);
    site.clock.advance(HOUR / 2);
    let seen = site.audit().len();
    refused(&file.query(&site, &named), 403, "session-exhausted");
    refused(&file.part(&site, &named, 5, 6), 403, "session-exhausted");
    refused(&site.ask("POST", "/session/refresh", &named, b""), 403, "session-exhausted");
    site.decided(seen, &[("session-refused", "refused", "session-exhausted"); 3]);
    assert_eq!(refreshes(&site.session(&id)), (10, 0), "nothing was taken for the refusals");
    // A new token from the other server goes on, as ever, in the same session.
    let token = file.bearer(ROMEO, site.now().plus(HOUR));
    let answer = file.part(&site, &[("Authorization", &token), named[0]], 5, file.body.len()).expect(201);
    assert_eq!(id_of(&answer), id);
    file.is_there(&site);
}

#[test]
fn refreshes_by_choice_count_as_well() {
    // [SES-13] [SES-14]
    let site = Site::new(&[]);
    let file = File::new("choice");
    let id = file.open(&site);
    let named = [("X-Session-ID", id.as_str())];
    let refresh = || site.ask("POST", "/session/refresh", &named, b"");
    for left in (0..10).rev() {
        let told: Value = serde_json::from_slice(&refresh().expect(200).body).unwrap();
        assert_eq!(told["refreshes_left"], left);
    }
    refused(&refresh(), 403, "session-exhausted");
    // The token that was given out last is handed out again for as long as it lives.
    file.query(&site, &named).expect(308);
    site.clock.advance(HOUR);
    refused(&file.query(&site, &named), 403, "session-exhausted");
}

#[test]
fn a_fresh_token_is_good_as_long_as_the_ring_holds_its_secret() {
    use crate::common::slots::SECRET;
    let site = Site::new(&[]);
    let file = File::new("rotated");
    let id = file.open(&site);
    let keys = &site.house.realms[0].keys;
    let recover = || header(&file.query(&site, &[("X-Session-ID", &id)]).expect(308), "x-session-token");
    let go_on = |token: &str| file.query(&site, &[("Authorization", &format!("Bearer {token}"))]);
    let older = recover();
    keys.replace(tokens::ring(&["the next one", SECRET]));
    go_on(&older).expect(308);
    let newer = recover();
    go_on(&newer).expect(308);
    keys.replace(tokens::ring(&["the next one"]));
    let seen = site.audit().len();
    refused(&go_on(&older), 401, "credential-invalid");
    site.decided(seen, &[("credential", "refused", "credential-invalid")]);
    go_on(&newer).expect(308);
    // The session is a matter of its own, and goes on.
    let token = recover();
    let headers = [("Authorization", format!("Bearer {token}"))];
    file.part(&site, &[(headers[0].0, &headers[0].1)], 0, file.body.len()).expect(201);
    file.is_there(&site);
}

#[test]
fn a_session_speaks_for_its_subject_alone() {
    // [SES-3] [SES-5] [SES-16]
    let site = Site::new(&[]);
    let (his, hers) = (File::new("his"), File::new("hers"));
    let id = his.open(&site);
    let named = ("X-Session-ID", id.as_str());
    let token = hers.bearer(JULIET, site.now().plus(HOUR));
    let answer = hers.query(&site, &[("Authorization", &token), named]).expect(308);
    assert_ne!(id_of(&answer), id, "served by her own token, in a session of her own");
    site.clock.advance(HOUR);
    let seen = site.audit().len();
    refused(&hers.query(&site, &[("Authorization", &token), named]), 403, "session-foreign");
    refused(&hers.query(&site, &[named]), 403, "session-foreign");
    let his_as_hers = his.bearer(JULIET, site.now());
    refused(&his.query(&site, &[("Authorization", &his_as_hers), named]), 403, "session-foreign");
    site.decided(seen, &[("session-refused", "refused", "session-foreign"); 3]);
    his.query(&site, &[named]).expect(308);
}
