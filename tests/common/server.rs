//! The server as a process.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{http::Conn, slots::SECRET};

/// Nothing that a healthy server does takes so long.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A folder to serve and the keys that differ from the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    folder: Arc<tempfile::TempDir>,
    keys: Vec<(String, String)>,
    namespace: Option<String>,
    store: PathBuf,
    file_size: Option<u64>,
    /// Arguments of the shell's `ulimit`.
    open_files: Option<String>,
}

impl Setup {
    /// An empty store on a loopback port that the system chooses.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("plimsoll-test-").tempdir().expect("a folder");
        let keys = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("METRICS__ENABLED", "false"),
            ("SLOTS__SECRET", SECRET),
            ("STORE__RESERVE", "0"),
            ("LOG__LEVEL", "warn"),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let store = folder.path().join("store");
        Self { folder: Arc::new(folder), keys, namespace: None, store, file_size: None, open_files: None }
    }

    /// Set one key, e.g. `LIMITS__BODY_GAP`.
    #[must_use]
    pub(crate) fn key(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }

    /// Run the server in a named network namespace.
    #[must_use]
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Keep the store in this folder, e.g. on a disk that fails.
    #[must_use]
    pub(crate) fn on(mut self, folder: &Path) -> Self {
        self.store = folder.join("store");
        self
    }

    /// Run the server under RLIMIT_FSIZE, in bytes.
    #[must_use]
    pub(crate) fn with_file_size(mut self, limit: u64) -> Self {
        self.file_size = Some(limit);
        self
    }

    /// Let the server open so many files.
    #[must_use]
    pub(crate) fn with_open_files(mut self, count: u32) -> Self {
        self.open_files = Some(format!("-n {count}"));
        self
    }

    /// Let it open so many files until it asks for more.
    #[must_use]
    pub(crate) fn with_soft_open_files(mut self, count: u32) -> Self {
        self.open_files = Some(format!("-Sn {count}"));
        self
    }

    /// Leave one key to the configuration file, or to its default.
    #[must_use]
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// Open the metrics listener too, for [`Server::metric`].
    #[must_use]
    pub(crate) fn with_metrics(self) -> Self {
        self.key("METRICS__ENABLED", "true").key("METRICS__LISTEN", "127.0.0.1:0")
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(known, _)| known == key)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Run the program; it may not be ready yet.
    pub(crate) fn spawn(&self) -> Starting {
        let log = File::options().create(true).append(true).open(self.log()).expect("the log opens");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Starting { child: command.spawn().expect("the server starts"), setup: self.clone() }
    }

    /// The program with these keys in its environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.program();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PLIMSOLL_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder.path())
            .env("PLIMSOLL_STORE__PATH", self.store())
            .envs(self.keys.iter().map(|(key, value)| (format!("PLIMSOLL_{key}"), value)));
        command
    }

    /// The server that was built with the tests, or the one that `PLIMSOLL_BIN` names.
    fn program(&self) -> Command {
        let built = || std::ffi::OsString::from(env!("CARGO_BIN_EXE_plimsoll"));
        let program = std::env::var_os("PLIMSOLL_BIN").unwrap_or_else(built);
        if let Some(limit) = self.file_size {
            // `prlimit` becomes the program, as `ip` does below.
            let mut command = Command::new("prlimit");
            command.arg(format!("--fsize={limit}")).arg(program);
            return command;
        }
        if let Some(limit) = &self.open_files {
            // The shell becomes the program, so signals to our child reach it.
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(program);
            return command;
        }
        let Some(namespace) = &self.namespace else { return Command::new(program) };
        // `ip` becomes the program, so signals to our child reach it.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    /// Run the program and wait until it listens.
    pub(crate) fn start(&self) -> Server {
        self.spawn().ready()
    }

    /// What the server wrote to its log, for the text of a failure.
    pub(crate) fn log_tail(&self) -> String {
        let mut text = String::new();
        if let Ok(mut log) = File::open(self.log()) {
            let _ = log.read_to_string(&mut text);
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// A process that has been started and has not said yet where it listens.
#[derive(Debug)]
pub(crate) struct Starting {
    child: Child,
    setup: Setup,
}

impl Starting {
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    pub(crate) fn ready(mut self) -> Server {
        let mut lines = BufReader::new(self.child.stdout.take().expect("stdout is piped")).lines();
        let mut value_of = |label: &str| loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = self.child.kill();
                let status = self.child.wait();
                panic!("the server did not start: {status:?}\n{}", self.setup.log_tail());
            };
            if let Some(url) = line.strip_prefix(label) {
                break url.trim().trim_end_matches("/metrics").parse().expect("an address in the ready line");
            }
        };
        let address = value_of("listening on http://");
        let metrics = self.setup.has("METRICS__LISTEN").then(|| value_of("metrics on http://"));
        // Read on, so that the server never waits for us or is told that nobody listens.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child: self.child, setup: self.setup, address, metrics }
    }
}

/// A server that listens. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    setup: Setup,
    pub(crate) address: SocketAddr,
    metrics: Option<SocketAddr>,
}

impl Server {
    pub(crate) fn connect(&self) -> Conn {
        Conn::open(self.address).expect("a listening server accepts")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.setup.store()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The page of figures.
    pub(crate) fn metrics_page(&self) -> String {
        let address = self.metrics.expect("a server with metrics");
        Conn::open(address).expect("metrics are served").get("/metrics").expect("a page").expect(200).text()
    }

    /// The value of a metric; `name` with its labels, if it has any.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.metrics_page();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
    }

    /// SIGKILL without waiting.
    pub(crate) fn kill_now(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// SIGKILL, and wait until the process is gone: no line of its code runs afterwards.
    pub(crate) fn kill(mut self) -> Setup {
        self.end();
        self.setup.clone()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("our own child takes signals");
    }

    /// The exit status, once the process has ended by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, Setup) {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                assert_eq!(status.signal(), None, "ended by a signal\n{}", self.setup.log_tail());
                return (status, self.setup.clone());
            }
            assert!(Instant::now() < deadline, "the server does not end\n{}", self.setup.log_tail());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- the server's log\n{}", self.setup.log_tail());
        }
    }
}

/// Whether a file of this path exists and how long it is.
pub(crate) fn length_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.len())
}
