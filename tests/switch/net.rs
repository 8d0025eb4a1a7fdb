//! Two network namespaces with two links between them.
//!
//! ```text
//!   phones' namespace                         server's namespace
//!     wifi    10.81.0.2/30 ───── veth ─────── 10.81.0.1/30  wifi
//!             10.91.x.y  (a phone each)         10.91.0.0/16 via 10.81.0.2
//!     mobile  10.82.0.2/30 ───── veth ─────── 10.82.0.1/30  mobile
//!             10.92.x.y  (a phone each)         10.92.0.0/16 via 10.82.0.2
//! ```
//!
//! The phones' own addresses lie behind one router a link, as they do in life: so the server's neighbour table, which
//! the kernel bounds for the whole machine, holds two entries and not two thousand.

use std::{
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns add` keeps its names.
const NAMES: &str = "/run/netns";
/// Names are this, the number of the process that made them, a number of its own and the side.
const PREFIX: &str = "plimsoll-switch";

/// The port that a server in its own namespace has for itself.
pub(crate) const PORT: u16 = 8080;
pub(crate) const METRICS_PORT: u16 = 9090;

/// One of the two ways to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Wifi,
    Mobile,
}

impl Link {
    pub(crate) const BOTH: [Self; 2] = [Self::Wifi, Self::Mobile];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Wifi => Self::Mobile,
            Self::Mobile => Self::Wifi,
        }
    }

    /// The device's name, in both namespaces.
    pub(crate) fn device(self) -> &'static str {
        match self {
            Self::Wifi => "wifi",
            Self::Mobile => "mobile",
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::Wifi => 1,
            Self::Mobile => 2,
        }
    }

    /// The server's end.
    pub(crate) fn server(self, port: u16) -> SocketAddr {
        (Ipv4Addr::new(10, 80 + self.octet(), 0, 1), port).into()
    }

    /// The phones' end, which is also the router of their own addresses.
    pub(crate) fn near(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 80 + self.octet(), 0, 2)
    }

    /// The address of one phone of a crowd.
    pub(crate) fn of_phone(self, number: usize) -> Ipv4Addr {
        let (high, low) = (1 + number / 200, 1 + number % 200);
        Ipv4Addr::new(10, 90 + self.octet(), high as u8, low as u8)
    }
}

/// The namespaces. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Net {
    base: String,
}

impl Net {
    pub(crate) fn new() -> Self {
        static MADE: Mutex<u32> = Mutex::new(0);
        // Held while `ip netns add` may mount its folder: two that do so at once disturb each other.
        let mut number = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        remove_those_of_dead_processes();
        let net = Self { base: format!("{PREFIX}-{}-{number}", std::process::id()) };
        let (server, phones) = (net.server(), net.phones());
        ip(&["netns", "add", &server], "");
        ip(&["netns", "add", &phones], "");
        let mut lines = String::new();
        for link in Link::BOTH {
            let (device, near) = (link.device(), link.near());
            let far = link.server(PORT).ip();
            lines += &format!("link add {device} type veth peer name {device} netns {server}\n");
            lines += &format!("address add {near}/30 dev {device}\nlink set {device} up\n");
            let theirs = format!("address add {far}/30 dev {device}\nlink set {device} up\n");
            ip(&["-n", &phones, "-batch", "-"], &std::mem::take(&mut lines));
            let behind = Ipv4Addr::new(10, 90 + link.octet(), 0, 0);
            ip(&["-n", &server, "-batch", "-"], &format!("{theirs}route add {behind}/16 via {near}\n"));
        }
        net
    }

    /// The name of the server's namespace.
    pub(crate) fn server(&self) -> String {
        format!("{}-server", self.base)
    }

    /// The name of the phones' namespace.
    pub(crate) fn phones(&self) -> String {
        format!("{}-phones", self.base)
    }

    /// Cut or restore a link at the phones' end.
    pub(crate) fn set(&self, link: Link, is_up: bool) {
        ip(&["-n", &self.phones(), "link", "set", link.device(), if is_up { "up" } else { "down" }], "");
    }

    /// Run `life` among the phones: in a thread of their namespace with a runtime of its own.
    pub(crate) fn among_phones<T: Send, F: Future<Output = T>>(&self, life: impl FnOnce() -> F + Send) -> T {
        let place = Path::new(NAMES).join(self.phones());
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(place).expect("our own namespace");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("whoever may make a namespace may enter it");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(life())
            });
            thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [self.phones(), self.server()] {
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

/// Run `ip`, with `input` for its `-batch -`.
pub(crate) fn ip(arguments: &[&str], input: &str) {
    const NEEDS: &str = "the switch tests need root (CAP_NET_ADMIN and CAP_SYS_ADMIN), network namespaces, veth and \
                         the Debian package iproute2 (`make deps`)";
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("no `ip`: {e}; {NEEDS}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // When `ip` ends early its status says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("our own child can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {}`: {}; {NEEDS}", arguments.join(" "), said.trim());
}

/// A run that was killed could not tidy up.
fn remove_those_of_dead_processes() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()) {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1));
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}
