//! A Redis server of the test's own, which can be stopped and started again.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Listens on a socket in a folder of its own and writes nothing down. Killed when dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Start one, and wait until it listens.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("plimsoll-redis-").tempdir().expect("a folder");
        let mut server = Self { folder, child: None };
        server.start_again();
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// As `[redis] url` takes it.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Start it at the same place, empty.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (`make deps`)");
        self.child = Some(child);
        super::eventually("redis-server listens", || UnixStream::connect(self.socket()).is_ok());
    }

    /// End it: connections break, and new ones are refused.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
            let _ = std::fs::remove_file(self.socket());
        }
    }

    /// Stop its process in mid-air: connections stay, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Let it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("our own child takes signals");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
