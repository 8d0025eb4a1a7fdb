//! How many sessions are kept, and how many uploads one covers.

use crate::{
    ages::header,
    site::{File, HOUR, MOMENT, Site, id_of, refused},
    tokens::ROMEO,
};

#[test]
fn sessions_beyond_the_most_go_those_of_complete_uploads_first() {
    let site = Site::new(&[("SESSION__MAX_SESSIONS", "3")]);
    let keeper = site.house.sessions.as_ref().unwrap();
    let mut open = Vec::new();
    let mut complete = Vec::new();
    for n in 0..3 {
        // Each is seen at another moment, the complete ones last.
        site.clock.advance(MOMENT);
        open.push(File::new(&format!("open-{n}")).open(&site));
    }
    for n in 0..2 {
        site.clock.advance(MOMENT);
        let file = File::new(&format!("complete-{n}"));
        let token = file.bearer(ROMEO, site.now().plus(2 * HOUR));
        complete.push(id_of(&file.put(&site, &[("Authorization", &token)]).expect(201)));
    }
    // One that was begun and then completed is as complete as the others.
    let file = File::new("begun");
    let token = file.bearer(ROMEO, site.now().plus(2 * HOUR));
    let id = id_of(&file.part(&site, &[("Authorization", &token)], 0, 5).expect(308));
    let headers = [("Authorization", token.as_str()), ("X-Session-ID", id.as_str())];
    let answer = file.part(&site, &headers, 5, file.body.len()).expect(201);
    assert_eq!(id_of(&answer), id);
    complete.push(id);

    let removed = site.runtime.block_on(async {
        keeper.settle().await;
        keeper.clean().await
    });
    assert_eq!(removed.unwrap(), 3);
    for id in &open {
        site.session(id);
    }
    let seen = site.audit().len();
    for id in &complete {
        refused(&site.ask("GET", "/session", &[("X-Session-ID", id)], b""), 401, "session-unknown");
    }
    site.decided(seen, &[("session-refused", "refused", "session-unknown"); 3]);

    // Then those that were not seen for longest.
    site.clock.advance(MOMENT);
    let newest = File::new("newest").open(&site);
    assert_eq!(site.runtime.block_on(keeper.clean()).unwrap(), 1);
    refused(&site.ask("GET", "/session", &[("X-Session-ID", &open[0])], b""), 401, "session-unknown");
    for id in [&open[1], &open[2], &newest] {
        site.session(id);
    }
}

#[test]
fn ended_sessions_are_removed() {
    // [SES-15] [SES-16]
    let site = Site::new(&[]);
    let keeper = site.house.sessions.as_ref().unwrap();
    let id = File::new("ends").open(&site);
    let ask = || site.ask("GET", "/session", &[("X-Session-ID", &id)], b"");
    site.clock.advance(72 * HOUR - MOMENT);
    assert_eq!(site.runtime.block_on(keeper.clean()).unwrap(), 0);
    ask().expect(200);
    site.clock.advance(MOMENT);
    refused(&ask(), 401, "session-expired");
    assert_eq!(site.runtime.block_on(keeper.clean()).unwrap(), 1);
    refused(&ask(), 401, "session-unknown");
}

#[test]
fn an_upload_too_many_for_one_session_gets_another() {
    // [SES-3]
    let site = Site::new(&[("SESSION__MAX_UPLOADS", "2")]);
    let files: Vec<File> = (0..4).map(|n| File::new(&format!("file-{n}"))).collect();
    let first = files[0].open(&site);
    let mut named = first.clone();
    let mut ids = vec![first];
    for file in &files[1..] {
        let token = file.bearer(ROMEO, site.now().plus(HOUR));
        let answer = file.query(&site, &[("Authorization", &token), ("X-Session-ID", &named)]).expect(308);
        named = id_of(&answer);
        ids.push(named.clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
    assert_eq!(ids[2], ids[3]);
    site.clock.advance(HOUR);
    for (file, id) in files.iter().zip(&ids) {
        file.query(&site, &[("X-Session-ID", id)]).expect(308);
        assert_eq!(site.session(id)["uploads"].as_array().unwrap().len(), 2);
    }
    refused(&files[3].query(&site, &[("X-Session-ID", &ids[0])]), 403, "session-foreign");
}

#[test]
fn refusals_and_deletions_are_recorded_whoever_brought_them_about() {
    let site = Site::new(&[("SLOTS__DELETE_COMPLETE", "true")]);
    let [kept, removed, left] = ["kept", "removed", "left"].map(File::new);
    let token = |file: &File| file.bearer(ROMEO, site.now().plus(HOUR));
    let (kept_token, removed_token, left_token) = (token(&kept), token(&removed), token(&left));
    kept.put(&site, &[("Authorization", &kept_token)]).expect(201);
    removed.put(&site, &[("Authorization", &removed_token)]).expect(201);
    let began = left.part(&site, &[("Authorization", &left_token)], 0, 5).expect(308);

    let seen = site.audit().len();
    let again = kept.put(&site, &[("Authorization", &kept_token)]).expect(409);
    site.decided(seen, &[("credential", "allowed", "good"), ("refused", "refused", "complete")]);
    let line = site.audit().into_iter().rfind(|line| line["event"] == "refused").unwrap();
    assert_eq!(
        (&line["dialect"], &line["upload"]),
        (&"xep0363".into(), &header(&again, "x-upload-id").into())
    );

    site.ask("DELETE", &removed.path, &[("Authorization", &removed_token)], b"").expect(204);
    let line = site.audit().pop().unwrap();
    assert_eq!((&line["event"], &line["outcome"]), (&"deleted".into(), &"done".into()));

    site.clock.advance(73 * HOUR);
    let swept = site.runtime.block_on(site.house.engine.sweep()).unwrap();
    site.house.record_swept(&swept);
    let line = site.audit().pop().unwrap();
    assert_eq!((&line["event"], &line["reason"]), (&"deleted".into(), &"expired".into()));
    assert_eq!(line["upload"], header(&began, "x-upload-id"));
}
