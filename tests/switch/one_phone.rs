//! One phone whose link dies in mid-body, dialect by dialect.

use std::{io::ErrorKind, time::Duration};

use tokio::time::sleep;

use crate::{
    common::Random,
    crowd,
    line::{Line, metric},
    net::{Link, Net, PORT},
    upload::{Dialect, Question, Standing, Upload, bearer, session_id},
};

const SIZE: usize = 3 << 20;
/// Sent and seen at the server before each cut.
const PART: u64 = 600 << 10;
/// Sent into the dying link.
const LOST: usize = 100 << 10;

/// How long the slot's token lives, at least.
const TOKEN_LIFE: Duration = Duration::from_secs(3);

/// Upload by one dialect a leg; each leg but the last ends with the death of its link, and the token expires during
/// the first.
pub(crate) fn upload(legs: &[Dialect]) {
    let net = Net::new();
    let server = crowd::setup(&net).start();
    net.among_phones(|| switch(&net, legs));
    drop(server);
}

async fn connect(link: Link) -> Line {
    Line::open(link.near(), link.server(PORT)).await.expect("the link is up")
}

async fn switch(net: &Net, legs: &[Dialect]) {
    let data: &'static [u8] = Random::new(7).bytes(SIZE).leak();
    let mut upload = Upload::new("phone", data, TOKEN_LIFE);
    let size = upload.size();
    let mut link = Link::Wifi;

    // The live token opens a session.
    let mut line = connect(link).await;
    let answer = loop {
        let shown = [bearer(&upload.token)];
        match upload.ask(&mut line, Question::Status, &shown).await.unwrap() {
            (Standing::At(0), answer) => break answer,
            // This machine was too slow for the token.
            (Standing::Denied, _) if upload.has_expired() => upload.mint(TOKEN_LIFE),
            other => panic!("{other:?}"),
        }
    };
    let token = bearer(&upload.token);
    let id = answer.header("x-session-id").expect("a session").to_owned();
    let shown = [token.clone(), session_id(&id)];

    let (mut at, mut sent, mut sent_again) = (0, 0, 0);
    let mut dead = Vec::new();
    for (leg, dialect) in legs.iter().copied().enumerate() {
        upload.begin(&mut line, dialect, (at, size), &shown).await.unwrap();
        if leg + 1 == legs.len() {
            line.send(upload.part(at, size)).await.unwrap();
            let answer = line.answer().await.unwrap();
            assert_eq!(upload.judge(dialect, size, &answer), Some(Standing::Complete), "{answer:?}");
            sent_again += sent - at;
            break;
        }

        // In mid-body: so much has arrived, and the server has said so.
        let end = at + PART;
        line.send(upload.part(at, end)).await.unwrap();
        sent_again += sent.min(end).saturating_sub(at);
        let mut other = connect(link).await;
        while upload.ask(&mut other, Question::Head, &[]).await.unwrap().0 != Standing::At(end) {
            sleep(Duration::from_millis(20)).await;
        }
        sent = sent.max(end);

        net.set(link, false);
        // The kernel takes these, and nobody ever hears of them while the link is down.
        line.send(upload.part(end, end + LOST as u64)).await.unwrap();
        sent = sent.max(end + LOST as u64);
        dead.push((line, link));
        while !upload.has_expired() {
            sleep(Duration::from_millis(50)).await;
        }
        link = link.other();
        net.set(link, true);
        assert!(open_writers(link).await >= 1.0, "the server has heard of no end");

        // From another address, with the token that has expired: by itself it is worth nothing any more.
        line = connect(link).await;
        let (alone, answer) =
            upload.ask(&mut line, Question::Status, std::slice::from_ref(&token)).await.unwrap();
        assert_eq!(alone, Standing::Denied, "{answer:?}");
        let question = match legs[leg + 1] {
            Dialect::Plain => panic!("a plain PUT goes on nowhere"),
            Dialect::Ranged => Question::Status,
            Dialect::Tus => Question::TusHead,
        };
        let (standing, answer) = upload.ask(&mut line, question, &shown).await.unwrap();
        let Standing::At(offset) = standing else { panic!("{answer:?}") };
        assert_eq!(offset, end, "all that was acknowledged, and nothing more arrived");
        assert_eq!(answer.header("x-session-id"), Some(id.as_str()));
        let fresh = answer.header("x-session-token").expect("a fresh token");
        assert!(answer.header("x-session-expires").is_some(), "{answer:?}");
        assert_eq!(upload.ask(&mut line, question, &[bearer(fresh)]).await.unwrap().0, standing);
        at = offset;
    }
    is_whole(&upload, link).await;
    tells_of_the_switches(&id, link, legs.len() - 1).await;

    println!("{legs:?}: {size} bytes, {sent_again} of them sent more than once");

    // The old sockets come back to life: both kernels send again what they hold, and the server hears late bytes and
    // an end of a writer that it ended itself.
    for (mut line, link) in dead {
        net.set(link, true);
        match line.answer().await {
            Ok(answer) => assert_eq!(answer.status, 409, "{answer:?}"),
            Err(e) => assert_ne!(e.kind(), ErrorKind::TimedOut, "the link is up again"),
        }
        let _ = line.send(upload.part(0, LOST as u64)).await;
        drop(line);
        is_whole(&upload, link).await;
    }
    while open_writers(link).await > 0.0 {
        sleep(Duration::from_millis(20)).await;
    }
    let (standing, _) = upload.ask(&mut connect(link).await, Question::Status, &shown).await.unwrap();
    assert_eq!(standing, Standing::Complete);
    is_whole(&upload, link).await;
}

async fn open_writers(link: Link) -> f64 {
    metric(link, "plimsoll_open_writers").await
}

async fn is_whole(upload: &Upload, link: Link) {
    let answer = connect(link).await.get(&upload.path, &[]).await.unwrap().expect(200);
    assert!(answer.body == upload.data, "{} differs from what was sent", upload.path);
}

/// Each switch stands in the session's history with both addresses.
async fn tells_of_the_switches(id: &str, link: Link, switches: usize) {
    let answer = connect(link).await.get("/session", &[session_id(id)]).await.unwrap().expect(200);
    let session: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let history = session["history"].as_array().expect("a history");
    assert_eq!(history.len(), switches, "{session}");
    let mut from = Link::Wifi;
    for change in history {
        let address = |side: &str| change[side]["address"].as_str().expect("an address").to_owned();
        assert_eq!(address("from"), from.near().to_string(), "{session}");
        from = from.other();
        assert_eq!(address("to"), from.near().to_string(), "{session}");
    }
}
