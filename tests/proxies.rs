//! The configurations of `docs/proxies.md`, each run as it stands there with the real proxy in front of the real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod common;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{
    Random, eventually,
    http::{Answer, Conn},
    server::{Server, Setup},
    slots::Slot,
};

const PAGE: &str = include_str!("../docs/proxies.md");

/// The block of the page in this language.
#[track_caller]
fn block(language: &str) -> String {
    let opening = format!("\n```{language}\n");
    let mut found = PAGE.split(&opening).skip(1);
    let block = found.next().unwrap_or_else(|| panic!("no block in {language}"));
    assert!(found.next().is_none(), "two blocks in {language}");
    block.split("\n```").next().unwrap().to_owned() + "\n"
}

/// Replace what the page says by what the test has; each of them has to be there.
#[track_caller]
fn adapted(mut text: String, changes: &[(&str, &str)]) -> String {
    for (from, to) in changes {
        assert!(text.contains(from), "the page says no {from:?}:\n{text}");
        text = text.replace(from, to);
    }
    text
}

/// A proxy that listens, and the server behind it. Both are ended when this goes.
struct Proxied {
    proxy: Child,
    server: Server,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Proxied {
    fn drop(&mut self) {
        // SIGKILL would leave the workers of nginx behind.
        let pid = rustix::process::Pid::from_child(&self.proxy);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.proxy.wait();
    }
}

impl Proxied {
    /// `start` gets a folder, the server's address and the one to listen on, and makes the proxy's command.
    fn start(start: impl FnOnce(&Path, &str, &str) -> Command) -> Self {
        let folder = tempfile::Builder::new().prefix("plimsoll-proxy-").tempdir().unwrap();
        let config = folder.path().join("plimsoll.toml");
        let page = adapted(
            block("toml"),
            &[("127.0.0.1:8080", "127.0.0.1:0"), ("public_url = \"https://upload.example.org\"\n", "")],
        );
        fs::write(&config, page).unwrap();
        let setup = Setup::new()
            .without("SERVER__LISTEN")
            .key("CONFIG", config.display())
            .key("TUS__CREATE", "open")
            .key("LOG__LEVEL", "info");
        let server = setup.start();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = start(folder.path(), &server.address.to_string(), &free.to_string());
        let name = command.get_program().to_string_lossy().into_owned();
        let log = fs::File::create(folder.path().join("proxy.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let proxy = command.spawn().unwrap_or_else(|error| {
            panic!("{name} cannot be started: {error}. Install it with `make deps`.")
        });
        let log = folder.path().join("proxy.log");
        let mut this = Self { proxy, server, address: free, _folder: folder };
        eventually("the proxy listens", || {
            let ended = this.proxy.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {}", fs::read_to_string(&log).unwrap_or_default());
            Conn::open(free)
                .is_ok_and(|mut conn| conn.get("/healthz").is_ok_and(|answer| answer.status == 200))
        });
        this
    }

    fn connect(&self) -> Conn {
        Conn::open(self.address).unwrap()
    }

    /// Three uploads on one connection, each with a preflight, then a download.
    fn carries_several_uploads_on_one_connection(&self) {
        let mut conn = self.connect();
        for n in 0..3u64 {
            // More than nginx takes by default.
            let data = Random::new(n).bytes(1_500_000);
            let slot = Slot::new(&format!("several/{n}.bin"), data.len() as u64);
            let preflight = [("Origin", "https://web.example.org"), ("Access-Control-Request-Method", "PUT")];
            conn.head("OPTIONS", &slot.target, &preflight).unwrap();
            let allowed = conn.answer().unwrap();
            assert!(matches!(allowed.status, 200 | 204), "{allowed:?}");
            conn.put(&slot).unwrap();
            conn.send(&data).unwrap();
            let created = conn.answer().unwrap().expect(201);
            assert_eq!(created.body, b"");
            assert_eq!(conn.get(&slot.path).unwrap().expect(200).body, data);
        }
    }

    /// The point of the page: what arrived before the client's connection broke is kept.
    fn keeps_what_arrived_before_a_cut(&self) {
        let data = Random::new(7).bytes(3_000_000);
        let slot = Slot::new("cut/cut.bin", data.len() as u64);
        let mut conn = self.connect();
        conn.put(&slot).unwrap();
        let sent = 1_000_000;
        conn.send(&data[..sent]).unwrap();
        // Asked of the server itself: while the body is under way, its bytes are there already.
        eventually("the bytes of a body under way reach the server", || {
            let told = self.server.connect().query(&slot).unwrap();
            told.offset() == Some(sent as u64)
        });
        conn.reset();
        let told = self.connect().query(&slot).unwrap().expect(308);
        let offset = told.offset().unwrap();
        assert_eq!(offset, sent as u64);
        let mut conn = self.connect();
        conn.put_range(&slot, offset, slot.size).unwrap();
        conn.send(&data[sent..]).unwrap();
        conn.answer().unwrap().expect(201);
        assert_eq!(conn.get(&slot.path).unwrap().expect(200).body, data);
    }

    /// A refusal reaches the client as it is, although its body is under way.
    fn passes_a_refusal_on(&self) {
        let mut conn = self.connect();
        conn.head("PUT", "/upload/no/token.bin", &[("Content-Length", "200000")]).unwrap();
        conn.send(&[0; 200_000]).unwrap();
        let refused = conn.answer().unwrap().expect(401);
        assert_eq!(refused.header("content-type"), Some("application/problem+json"), "{refused:?}");
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"), "{refused:?}");
    }

    /// tus, with its own methods and fields, and a Location at the public origin.
    fn speaks_tus(&self) {
        let tus = ("Tus-Resumable", "1.0.0");
        let origin = format!("upload.example.org:{}", self.address.port());
        let mut conn = self.connect();
        let head = format!(
            "POST /files HTTP/1.1\r\nHost: {origin}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 9\r\nContent-Length: 0\r\n\r\n"
        );
        conn.send(head.as_bytes()).unwrap();
        let created = conn.answer().unwrap().expect(201);
        let location = created.header("location").unwrap();
        let path = location.strip_prefix(&format!("http://{origin}")).unwrap_or_else(|| panic!("{location}"));
        let patch = |conn: &mut Conn, offset: &str, data: &[u8]| -> Answer {
            let length = data.len().to_string();
            let kind = ("Content-Type", "application/offset+octet-stream");
            conn.head("PATCH", path, &[tus, kind, ("Upload-Offset", offset), ("Content-Length", &length)])
                .unwrap();
            conn.send(data).unwrap();
            conn.answer().unwrap()
        };
        assert_eq!(patch(&mut conn, "0", b"mark").expect(204).offset(), Some(4));
        conn.head("HEAD", path, &[tus]).unwrap();
        let told = conn.any_answer(true).unwrap();
        assert_eq!((told.status, told.offset()), (200, Some(4)));
        assert_eq!(patch(&mut conn, "4", b" line").expect(204).offset(), Some(9));
        assert_eq!(conn.get(path).unwrap().expect(200).body, b"mark line");
    }

    /// The client's address is the one that the proxy saw, whatever the client wrote into the field itself.
    fn reports_the_client_and_not_what_it_wrote(&self) {
        let slot = Slot::new("who/who.bin", 3);
        // Not from the proxy's own address, which is trusted.
        let mut conn = Conn::open_from([127, 0, 0, 2].into(), self.address).unwrap();
        let fields = [("X-Forwarded-For", "198.51.100.7"), ("Content-Length", "3")];
        conn.head("PUT", &slot.target, &fields).unwrap();
        conn.send(b"who").unwrap();
        let created = conn.answer().unwrap().expect(201);
        let session = created.header("x-session-id").unwrap().to_owned();
        let told = {
            conn.head("GET", "/session", &[("X-Session-ID", &session)]).unwrap();
            conn.answer().unwrap().expect(200).text()
        };
        assert!(told.contains("127.0.0.2") && !told.contains("198.51.100.7"), "{told}");
    }

    fn does_all_of_it(&self) {
        self.carries_several_uploads_on_one_connection();
        self.keeps_what_arrived_before_a_cut();
        self.passes_a_refusal_on();
        self.speaks_tus();
        self.reports_the_client_and_not_what_it_wrote();
    }
}

#[test]
fn nginx_as_documented() {
    let proxied = Proxied::start(|folder, server, free| {
        let page = adapted(
            block("nginx"),
            &[
                ("server 127.0.0.1:8080", &format!("server {server}")),
                ("listen 443 ssl", &format!("listen {free}")),
                ("    ssl_certificate /etc/ssl/upload.example.org.pem;\n", ""),
                ("    ssl_certificate_key /etc/ssl/upload.example.org.key;\n", ""),
            ],
        );
        let home = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nuser root;\npid {home}/pid;\nerror_log {home}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{page}}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, whole).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(file);
        command
    });
    proxied.does_all_of_it();
}

#[test]
fn haproxy_as_documented() {
    let proxied = Proxied::start(|folder, server, free| {
        let page = adapted(
            block("haproxy"),
            &[
                ("server plimsoll 127.0.0.1:8080", &format!("server plimsoll {server}")),
                (
                    "bind :443 ssl crt /etc/haproxy/upload.example.org.pem alpn h2,http/1.1",
                    &format!("bind {free}"),
                ),
            ],
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, page).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    });
    proxied.does_all_of_it();
}

#[test]
fn caddy_as_documented() {
    let proxied = Proxied::start(|folder, server, free| {
        let page = adapted(
            block("caddy"),
            &[
                (
                    "upload.example.org {",
                    &format!("http://:{} {{\n\tbind 127.0.0.1", free.rsplit(':').next().unwrap()),
                ),
                ("reverse_proxy 127.0.0.1:8080", &format!("reverse_proxy {server}")),
            ],
        );
        let file = folder.join("Caddyfile");
        fs::write(&file, format!("{{\n\tadmin off\n\tauto_https off\n}}\n{page}")).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command
    });
    proxied.does_all_of_it();
}
