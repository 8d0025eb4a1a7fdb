//! A real Redis as a process, on a socket in a folder of its own.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A server that ends with this value.
#[derive(Debug)]
pub(crate) struct Redis {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Redis {
    /// Start one with no data. Every write of its is on disk before it is answered.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("plimsoll-redis-").tempdir().expect("a folder");
        let mut redis = Self { folder, process: None };
        redis.go_on();
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket())
    }

    fn socket(&self) -> String {
        self.folder.path().join("redis.sock").display().to_string()
    }

    /// Start it with the data that it had.
    pub(crate) fn go_on(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let folder = self.folder.path();
        let socket = self.socket();
        let started = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", &socket, "--save", "", "--daemonize", "no"])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"])
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => panic!("redis-server cannot be started: {error}. Install it with `make deps`."),
        };
        self.process = Some(process);
        let began = Instant::now();
        while self.ask("PING").is_none_or(|answer| !answer.starts_with("+PONG")) {
            assert!(began.elapsed() < Duration::from_secs(30), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Start it with nothing.
    pub(crate) fn go_on_empty(&mut self) {
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).expect("its data is there");
        self.go_on();
    }

    /// Every command that changed anything since it was first started: all keys and values there ever were.
    pub(crate) fn written(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).expect("its data is there");
        files.flat_map(|file| std::fs::read(file.expect("a file").path()).expect("it can be read")).collect()
    }

    /// Kill it, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// It neither answers nor hangs up, until [`Redis::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).expect("it takes a signal");
    }

    /// The beginning of its answer to an inline command; `None` when nobody answers.
    pub(crate) fn ask(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
