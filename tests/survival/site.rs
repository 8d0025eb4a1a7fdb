//! The whole server in this process, on a loopback port, with its time in our hands.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use plimsoll::{
    app,
    clock::{Clock as _, ManualClock, Timestamp},
    config,
    telemetry::Metrics,
    wire::{House, front},
};
use salvo::{Server, conn::tcp::TcpAcceptor};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    common::{
        http::{Answer, Conn},
        slots::SECRET,
    },
    tokens,
};

/// Tuesday, 14 November 2023, 22:13:20 UTC.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const MOMENT: Duration = Duration::from_millis(1);

pub(crate) const DINO: &str = "Dino/0.4.5";
pub(crate) const GAJIM: &str = "gajim 1.9.5";
pub(crate) const CONVERSATIONS: &str = "Conversations/2.17.2";
pub(crate) const CURL: &str = "curl/8.14.1";

pub(crate) struct Site {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) house: Arc<House>,
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Site {
    /// A server with these keys of the configuration beside the defaults, e.g. `GRACE__ENABLED`.
    pub(crate) fn new(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (store, audit) = (path("store"), path("audit"));
        let own = [
            ("STORE__PATH", store.as_str()),
            ("STORE__RESERVE", "0"),
            ("AUDIT__FILE", audit.as_str()),
            ("SLOTS__SECRET", SECRET),
        ];
        let env = own.iter().chain(keys).map(|(key, value)| (format!("PLIMSOLL_{key}").into(), value.into()));
        let config = config::load(None, env).unwrap().config;
        let clock = Arc::new(ManualClock::new(START));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let house =
            runtime.block_on(app::assemble(&config, Arc::clone(&clock) as _, Metrics::new())).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = runtime.block_on(async { TcpAcceptor::try_from(listener) }).unwrap();
        runtime.spawn(Server::new(acceptor).try_serve(front::service(Arc::clone(&house))));
        Self { clock, house, address, runtime, folder }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// One request on a connection of its own; `Content-Length` is added for a PUT, a POST and a PATCH.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(self.address, method, target, headers, body)
    }

    /// GET /session of a live session.
    pub(crate) fn session(&self, id: &str) -> Value {
        let answer = self.ask("GET", "/session", &[("X-Session-ID", id)], b"").expect(200);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The audit log so far, oldest first.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What was recorded since there were `seen` lines, without the steps of sessions.
    #[track_caller]
    pub(crate) fn decided(&self, seen: usize, expected: &[(&str, &str, &str)]) {
        let lines: Vec<Value> = self.audit().split_off(seen);
        let told: Vec<(&str, &str, &str)> = lines
            .iter()
            .filter(|line| line["reason"].is_string())
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default();
                (text("event"), text("outcome"), text("reason"))
            })
            .collect();
        assert_eq!(told, expected, "{lines:#?}");
    }
}

pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut conn = Conn::open(address).unwrap();
    let length = body.len().to_string();
    let mut all = headers.to_vec();
    if matches!(method, "PUT" | "POST" | "PATCH") {
        all.push(("Content-Length", &length));
    }
    conn.head(method, target, &all).unwrap();
    // A refusal may come, and the connection go, before the body is sent.
    let _ = conn.send(body);
    loop {
        let answer = conn.any_answer(method == "HEAD").unwrap();
        if answer.status >= 200 {
            return answer;
        }
    }
}

/// One file of ROMEO's on its way to `/upload/{name}`.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl File {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}/a.bin");
        Self { path: format!("/upload/{name}"), body: format!("the bytes of {name}").into_bytes(), name }
    }

    pub(crate) fn size(&self) -> u64 {
        self.body.len() as u64
    }

    /// The value of an Authorization header.
    pub(crate) fn bearer(&self, subject: &str, expires_at: Timestamp) -> String {
        format!("Bearer {}", tokens::jwt(subject, &self.name, self.size(), expires_at))
    }

    /// PUT all of it.
    pub(crate) fn put(&self, site: &Site, headers: &[(&str, &str)]) -> Answer {
        site.ask("PUT", &self.path, headers, &self.body)
    }

    /// PUT the bytes from `first` up to `end`.
    pub(crate) fn part(&self, site: &Site, headers: &[(&str, &str)], first: usize, end: usize) -> Answer {
        let range = format!("bytes {first}-{}/{}", end - 1, self.size());
        let headers = [headers, &[("Content-Range", range.as_str())]].concat();
        site.ask("PUT", &self.path, &headers, &self.body[first..end])
    }

    /// How far is it?
    pub(crate) fn query(&self, site: &Site, headers: &[(&str, &str)]) -> Answer {
        let range = format!("bytes */{}", self.size());
        let headers = [headers, &[("Content-Range", range.as_str())]].concat();
        site.ask("PUT", &self.path, &headers, b"")
    }

    /// A session that was opened with a token that lives an hour, and covers this file.
    #[track_caller]
    pub(crate) fn open(&self, site: &Site) -> String {
        let token = self.bearer(tokens::ROMEO, site.now().plus(HOUR));
        id_of(&self.query(site, &[("Authorization", &token)]).expect(308))
    }

    #[track_caller]
    pub(crate) fn is_there(&self, site: &Site) {
        assert_eq!(site.ask("GET", &self.path, &[], b"").expect(200).body, self.body);
    }
}

/// The session that an answer names.
#[track_caller]
pub(crate) fn id_of(answer: &Answer) -> String {
    answer.header("x-session-id").unwrap_or_else(|| panic!("no session: {answer:?}")).to_owned()
}

/// A refusal: its status, its word, and that it brings no session.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    let kind = problem["type"].as_str().unwrap_or_default();
    assert!(kind.ends_with(word), "{kind:?} is not {word}: {problem}");
    assert_eq!(answer.header("x-session-id"), None, "{answer:?}");
    assert_eq!(answer.header("x-session-token"), None, "{answer:?}");
}
