//! The server ends, by a signal or by SIGKILL, right after an answer that named a session: the session is known
//! afterwards.

use plimsoll::clock::{Clock as _, SystemClock, Timestamp};

use crate::{
    common::{
        eventually,
        http::{Answer, Conn},
        server::{Server, Setup},
    },
    site::{self, File, HOUR, id_of},
    tokens::ROMEO,
};

const ROUNDS: u32 = 30;

fn soon() -> Timestamp {
    SystemClock.now().plus(HOUR)
}

/// A PUT of `file`, of its first `bytes` where they are fewer; the connection stays open behind the answer.
fn put(server: &Server, file: &File, headers: &[(&str, &str)], bytes: usize) -> (Conn, Answer) {
    let (size, length) = (file.body.len(), bytes.to_string());
    let range = match bytes {
        0 => format!("bytes */{size}"),
        _ => format!("bytes 0-{}/{size}", bytes - 1),
    };
    let mut all = [headers, &[("Content-Length", length.as_str())]].concat();
    if bytes < size {
        all.push(("Content-Range", &range));
    }
    let mut conn = server.connect();
    conn.head("PUT", &file.path, &all).and_then(|()| conn.send(&file.body[..bytes])).unwrap();
    let answer = conn.answer().unwrap();
    (conn, answer)
}

#[track_caller]
fn is_known(server: &Server, id: &str) -> serde_json::Value {
    let answer = site::ask(server.address, "GET", "/session", &[("X-Session-ID", id)], b"").expect(200);
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_session_that_was_told_survives_sigkill() {
    // [SES-1] [SES-10] [SES-12]
    let mut server = Setup::new().start();
    for round in 0..ROUNDS {
        let (file, more) = (File::new(&format!("kill-{round}")), File::new(&format!("more-{round}")));
        let token = file.bearer(ROMEO, soon());
        // By a question, by bytes, by a second upload that joins, by a fresh token: one of them is the last answer.
        let first = if round % 2 == 0 { 0 } else { 5 };
        let (_conn, answer) = put(&server, &file, &[("Authorization", &token)], first);
        let id = id_of(&answer.expect(308));
        if round % 4 > 1 {
            let joins = more.bearer(ROMEO, soon());
            let (_conn, answer) =
                put(&server, &more, &[("Authorization", &joins), ("X-Session-ID", &id)], first);
            assert_eq!(id_of(&answer.expect(308)), id);
        }
        let refreshes = u64::from(round % 3 == 0);
        if refreshes == 1 {
            let (_conn, answer) = put(&server, &file, &[("X-Session-ID", &id)], 0);
            assert!(answer.expect(308).header("x-session-token").is_some());
        }
        server.kill_now();
        server = server.kill().start();
        let told = is_known(&server, &id);
        assert_eq!(told["uploads"].as_array().unwrap().len(), 1 + usize::from(round % 4 > 1));
        assert_eq!(told["refreshes_used"].as_u64(), Some(refreshes));
        let (_conn, answer) = put(&server, &file, &[("X-Session-ID", &id)], 0);
        assert_eq!(answer.expect(308).offset(), Some(first as u64));
        put(&server, &file, &[("X-Session-ID", &id)], file.body.len()).1.expect(201);
    }
}

#[test]
fn every_session_that_was_told_survives_an_orderly_end() {
    // [SES-1] [SES-2]
    let mut server = Setup::new().start();
    for round in 0..ROUNDS / 3 {
        let mut ids = Vec::new();
        // Of complete uploads nobody waits for the session's sync, so several are on their way when the signal comes.
        for n in 0..5 {
            let file = File::new(&format!("term-{round}-{n}"));
            let bytes = if n == 2 { 5 } else { file.body.len() };
            let token = file.bearer(ROMEO, soon());
            let (_conn, answer) = put(&server, &file, &[("Authorization", &token)], bytes);
            ids.push(id_of(&answer.expect(if n == 2 { 308 } else { 201 })));
        }
        // And one whose last byte comes when the server is ending already: nothing but its session keeps it from that.
        let last = File::new(&format!("last-{round}"));
        let (token, length) = (last.bearer(ROMEO, soon()), last.size().to_string());
        let headers =
            [("Authorization", token.as_str()), ("Content-Length", &length), ("Connection", "close")];
        let (beginning, end) = last.body.split_at(5);
        let mut conn = server.connect();
        conn.head("PUT", &last.path, &headers).and_then(|()| conn.send(beginning)).unwrap();
        eventually("its bytes arrive", || {
            let probe = server.connect().probe(&last.path).unwrap();
            probe.offset().is_some()
        });
        server.terminate();
        eventually("no new connection is accepted", || Conn::open(server.address).is_err());
        conn.send(end).unwrap();
        ids.push(id_of(&conn.answer().unwrap().expect(201)));
        let (status, setup) = server.ended();
        assert!(status.success(), "{status:?}");
        server = setup.start();
        for id in &ids {
            is_known(&server, id);
        }
    }
}
