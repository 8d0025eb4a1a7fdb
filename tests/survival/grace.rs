//! For how long a slot token is good after its expiry, and for whom.

use std::time::Duration;

use crate::{
    common::http::Answer,
    site::{CONVERSATIONS, CURL, DINO, File, GAJIM, HOUR, MOMENT, START, Site, id_of, refused},
    tokens::{JULIET, ROMEO},
};

const SERVED: &[(&str, &str, &str)] = &[("grace", "allowed", "within-grace")];
const REFUSED: &[(&str, &str, &str)] = &[("credential", "refused", "credential-expired")];

/// PUT a whole file so long after its token expired.
fn late(site: &Site, name: &str, agent: &str, after: Duration) -> Answer {
    let file = File::new(name);
    site.clock.set(START.plus(after));
    file.put(site, &[("Authorization", &file.bearer(ROMEO, START)), ("User-Agent", agent)])
}

#[test]
fn desktop_programs_have_a_day_and_phones_half_a_day() {
    // [SES-40] [SES-43]
    let site = Site::new(&[]);
    let served = [
        (DINO, 23 * HOUR, "desktop"),
        (GAJIM, 23 * HOUR, "desktop"),
        (DINO, 24 * HOUR - MOMENT, "desktop"),
        (CONVERSATIONS, 11 * HOUR, "mobile"),
        (CONVERSATIONS, 12 * HOUR - MOMENT, "mobile"),
    ];
    for (n, (agent, after, class)) in served.into_iter().enumerate() {
        let seen = site.audit().len();
        late(&site, &format!("good-{n}"), agent, after).expect(201);
        site.decided(seen, SERVED);
        let line = &site.audit()[seen];
        assert_eq!((&line["class"], &line["subject"]), (&class.into(), &ROMEO.into()), "{line}");
    }
    let refusals = [
        (DINO, 24 * HOUR),
        (DINO, 49 * HOUR),
        (GAJIM, 24 * HOUR),
        (GAJIM, 49 * HOUR),
        (CONVERSATIONS, 12 * HOUR),
        (CONVERSATIONS, 13 * HOUR),
        (CURL, MOMENT),
        (CURL, Duration::ZERO),
        ("", HOUR),
    ];
    for (n, (agent, after)) in refusals.into_iter().enumerate() {
        let seen = site.audit().len();
        refused(&late(&site, &format!("bad-{n}"), agent, after), 401, "credential-expired");
        site.decided(seen, REFUSED);
    }
}

#[test]
fn an_upload_that_has_bytes_may_be_restored_for_two_days() {
    // [SES-41]
    let site = Site::new(&[]);
    for agent in [DINO, GAJIM, CONVERSATIONS] {
        for (after, is_served) in [(47 * HOUR, true), (48 * HOUR, false), (49 * HOUR, false)] {
            site.clock.set(START);
            let file = File::new(&format!("{}-{}", &agent[..4], after.as_secs()));
            let token = file.bearer(ROMEO, START.plus(HOUR));
            let headers = [("Authorization", token.as_str()), ("User-Agent", agent)];
            assert_eq!(file.part(&site, &headers, 0, 5).expect(308).offset(), Some(5));
            site.clock.set(START.plus(HOUR + after));
            let seen = site.audit().len();
            let answer = file.query(&site, &headers);
            if is_served {
                assert_eq!(answer.expect(308).offset(), Some(5));
                site.decided(seen, SERVED);
                file.part(&site, &headers, 5, file.body.len()).expect(201);
                file.is_there(&site);
            } else {
                refused(&answer, 401, "credential-expired");
                site.decided(seen, REFUSED);
            }
        }
    }
    // Nothing but time is widened: other programs have none, bytes or no bytes.
    site.clock.set(START);
    let file = File::new("other");
    let token = file.bearer(ROMEO, START.plus(HOUR));
    let headers = [("Authorization", token.as_str()), ("User-Agent", CURL)];
    file.part(&site, &headers, 0, 5).expect(308);
    site.clock.advance(HOUR);
    refused(&file.query(&site, &headers), 401, "credential-expired");
}

#[test]
fn what_is_complete_needs_no_grace() {
    // [SES-40]
    let site = Site::new(&[]);
    let file = File::new("done");
    let token = file.bearer(ROMEO, START.plus(HOUR));
    let headers = [("Authorization", token.as_str()), ("User-Agent", DINO)];
    file.put(&site, &headers).expect(201);
    site.clock.advance(HOUR);
    let seen = site.audit().len();
    refused(&file.put(&site, &headers), 401, "credential-expired");
    refused(&file.query(&site, &headers), 401, "credential-expired");
    refused(&site.ask("DELETE", &file.path, &headers, b""), 401, "credential-expired");
    site.decided(seen, &[REFUSED[0]; 3]);
    file.is_there(&site);
}

#[test]
fn the_class_widens_time_and_nothing_else() {
    // [SES-43]
    let site = Site::new(&[]);
    let (file, other) = (File::new("mine"), File::new("elsewhere"));
    site.clock.set(START.plus(HOUR));
    let agent = ("User-Agent", DINO);
    let late = file.bearer(ROMEO, START);
    let seen = site.audit().len();
    refused(&other.put(&site, &[("Authorization", &late), agent]), 403, "credential-path");
    let longer = site.ask("PUT", &file.path, &[("Authorization", &late), agent], b"of another length");
    refused(&longer, 403, "credential-size");
    let mut forged = late.clone();
    forged.replace_range(forged.len() - 6..forged.len() - 1, "AAAAA");
    refused(&file.put(&site, &[("Authorization", &forged), agent]), 401, "credential-invalid");
    let refusals = ["credential-path", "credential-size", "credential-invalid"];
    site.decided(seen, &refusals.map(|why| ("credential", "refused", why)));
    file.put(&site, &[("Authorization", &late), agent]).expect(201);
}

#[test]
fn without_grace_a_token_ends_when_it_expires() {
    // [SES-44]
    let site = Site::new(&[("GRACE__ENABLED", "false")]);
    refused(&late(&site, "off", DINO, MOMENT), 401, "credential-expired");
    site.decided(0, REFUSED);
}

#[test]
fn no_window_and_no_session_reaches_beyond_the_ceiling() {
    // [SES-42]
    let site = Site::new(&[("GRACE__DESKTOP", "1000h"), ("GRACE__RESTORATION", "1000h")]);
    let file = File::new("late");
    let token = file.bearer(ROMEO, START);
    let headers = [("Authorization", token.as_str()), ("User-Agent", DINO)];
    // A session with its whole life before it, of a token that is good.
    site.clock.set(START.plus(20 * HOUR));
    let whole = File::new("in-time").open(&site);
    let named = [headers[0], headers[1], ("X-Session-ID", whole.as_str())];
    let answer = file.part(&site, &named, 0, 5).expect(308);
    let id = id_of(&answer);
    assert_ne!(id, whole, "grace joins no session that outlives it");
    assert_eq!(answer.header("x-upload-session-timeout"), Some((52 * 3600).to_string().as_str()));
    assert_eq!(site.session(&whole)["uploads"].as_array().unwrap().len(), 1);

    site.clock.set(START.plus(72 * HOUR - MOMENT));
    assert_eq!(file.query(&site, &headers).expect(308).offset(), Some(5));
    let by_session = file.query(&site, &[("X-Session-ID", &id)]).expect(308);
    let fresh = by_session.header("x-session-token").unwrap().to_owned();
    site.clock.set(START.plus(72 * HOUR));
    let seen = site.audit().len();
    refused(&file.query(&site, &headers), 401, "credential-expired");
    refused(&file.query(&site, &[("X-Session-ID", &id)]), 401, "session-expired");
    refused(
        &file.query(&site, &[("X-Session-Token", &fresh), ("User-Agent", DINO)]),
        401,
        "credential-expired",
    );
    site.decided(
        seen,
        &[
            ("credential", "refused", "credential-expired"),
            ("session-refused", "refused", "session-expired"),
            ("credential", "refused", "credential-expired"),
        ],
    );
    // A subject is its own in grace, too.
    assert_eq!(site.session(&whole)["subject"], ROMEO);
    let hers = file.bearer(JULIET, START.plus(60 * HOUR));
    let named = [("Authorization", hers.as_str()), ("User-Agent", DINO), ("X-Session-ID", whole.as_str())];
    assert_ne!(id_of(&file.query(&site, &named).expect(308)), whole);
}
