//! `plimsoll check`: the configuration in effect, and whether this machine lets it be served.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions, TryLockError},
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
};

use rustix::fs::{Access, access, statvfs};

use super::{Failure, Hooks};
use crate::{
    config::{Config, Durability, Loaded, Secret, Size},
    id,
    private::exposure,
};

/// What one look at the machine found.
enum Finding {
    /// As it should be.
    Good(String),
    /// It can be served, but the operator may not want it so.
    Note(String),
    /// It cannot be served; the text says what to do.
    Bad(String),
}

use Finding::{Bad, Good, Note};

/// Prints the effective configuration and the good findings to `out`, as TOML with comments, and what is bad
/// to `err`.
///
/// # Errors
/// Some finding was bad, or the findings could not be printed.
pub(super) fn run(
    loaded: &Loaded,
    hooks: &Hooks<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let config = &loaded.config;
    write!(out, "{}", loaded.effective())?;
    let is_served = is_served(&config.store.path);
    let mut findings =
        vec![store(&config.store.path), free_space(config), secrets(config), ledger(config, hooks)];
    if is_served {
        let text = "a server runs on this store; its addresses are its own and are not tried";
        findings.push(Note(text.to_owned()));
    } else {
        findings.push(listener("[server] listen", config.server.listen));
        if config.metrics.enabled {
            findings.push(listener("[metrics] listen", config.metrics.listen));
        }
    }
    for (key, path) in [("[log] file", &config.log.file), ("[audit] file", &config.audit.file)] {
        findings.extend(path.as_deref().map(|path| log_file(key, path)));
    }
    findings.extend(exposed(config));
    findings.extend(of_configuration(loaded));
    report(findings, out, err)
}

/// The same for the configuration alone: nothing of this machine but the files with secrets is looked at, so that a
/// configuration can be checked on another machine than the one it is for.
///
/// # Errors
/// As [`run`].
pub(super) fn configuration(
    loaded: &Loaded,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    write!(out, "{}", loaded.effective())?;
    let mut findings = vec![secrets(&loaded.config)];
    findings.extend(of_configuration(loaded));
    report(findings, out, err)
}

fn of_configuration(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = choices(&loaded.config);
    findings.extend(short_secrets(&loaded.config));
    findings.extend(exposed_secrets(&loaded.config));
    findings.extend(loaded.ignored.iter().map(|name| {
        Note(format!(
            "the environment variable {name} sets no key and is ignored; `plimsoll config` lists every key"
        ))
    }));
    findings
}

fn report(findings: Vec<Finding>, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out)?;
    let mut bad = 0;
    for finding in findings {
        match finding {
            Good(text) => writeln!(out, "# good: {text}")?,
            Note(text) => writeln!(out, "# note: {text}")?,
            Bad(text) => {
                bad += 1;
                writeln!(err, "bad: {text}")?;
            }
        }
    }
    out.flush()?;
    match bad {
        0 => Ok(()),
        1 => Err("the check found 1 problem".into()),
        _ => Err(format!("the check found {bad} problems").into()),
    }
}

/// Whether a server holds the lock of this store.
fn is_served(store: &Path) -> bool {
    let lock = fs::File::open(store.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The store, or the directory that it will be made in, and whether files can be made there.
fn store(path: &Path) -> Finding {
    let (place, will_be_made) = match existing(path) {
        Some(place) => (place, place != path),
        None => return Bad(format!("[store] path: nothing of {} exists", path.display())),
    };
    let advice = format!("let the server's user write to {}, or choose another path", place.display());
    if !place.is_dir() {
        return Bad(format!(
            "[store] path: {} is no directory\n    to do: choose another path, or move it away",
            place.display()
        ));
    }
    if will_be_made {
        return match access(place, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Good(format!("the store {} does not exist yet and can be made", path.display())),
            Err(why) => {
                Bad(format!("[store] path: {} cannot be made: {why}\n    to do: {advice}", path.display()))
            }
        };
    }
    let probe = path.join(format!("check.{}", id::random_hex_128()));
    let tried =
        OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|_| fs::remove_file(&probe));
    match tried {
        Ok(()) => Good(format!("the store {} can be written to", path.display())),
        Err(why) => {
            Bad(format!("[store] path: {} cannot be written to: {why}\n    to do: {advice}", path.display()))
        }
    }
}

/// The longest beginning of `path` that exists.
fn existing(path: &Path) -> Option<&Path> {
    let here = Path::new(".");
    path.ancestors()
        .map(|place| if place == Path::new("") { here } else { place })
        .find(|place| place.exists())
}

fn free_space(config: &Config) -> Finding {
    let Some(place) = existing(&config.store.path) else {
        return Bad("[store] reserve: there is no disk to measure".to_owned());
    };
    let free = match statvfs(place) {
        Ok(disk) => Size::of(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(why) => return Bad(format!("[store] reserve: the free space cannot be read: {why}")),
    };
    let store = &config.store;
    if free <= store.reserve {
        return Bad(format!(
            "[store] reserve: {} are free and {} stay reserved, so every upload would be answered 507\n    \
             to do: make room, choose another disk, or lower reserve",
            rounded(free),
            store.reserve
        ));
    }
    let usable = Size::of(free.bytes() - store.reserve.bytes());
    let text = format!("{} are free for uploads, beside a reserve of {}", rounded(usable), store.reserve);
    if usable < store.max_size {
        Note(format!("{text}; that is less than one file of [store] max_size ({})", store.max_size))
    } else {
        Good(text)
    }
}

/// A size for people, to the next lower mebibyte.
fn rounded(size: Size) -> String {
    const MIB: u64 = 1 << 20;
    if size.bytes() < MIB { size.to_string() } else { format!("{} MiB", size.bytes() / MIB) }
}

fn secrets(config: &Config) -> Finding {
    match config.inspect_secrets() {
        Ok(bases) => {
            let bases = bases.iter().map(|(path, secrets)| match secrets.len() {
                0 => format!("{path} (to be generated)"),
                1 => format!("{path} (1 secret)"),
                n => format!("{path} ({n} secrets)"),
            });
            Good(format!("slots under {}", bases.collect::<Vec<_>>().join(", ")))
        }
        Err(why) => Bad(why.to_string()),
    }
}

/// Below 128 bits a secret may be found by trying.
const SHORT_SECRET: usize = 16;

fn short_secrets(config: &Config) -> Option<Finding> {
    let bases = config.inspect_secrets().ok()?;
    let is_short = |secret: &Secret| secret.expose().len() < SHORT_SECRET;
    let (path, _) = bases.iter().find(|(_, secrets)| secrets.iter().any(is_short))?;
    Some(Note(format!("a secret of {path} is shorter than {SHORT_SECRET} bytes; it may be guessed")))
}

fn exposed_secrets(config: &Config) -> Option<Finding> {
    let (path, mode) = config.exposed_secret_files().into_iter().next()?;
    let path = path.display();
    Some(Note(format!(
        "every user of this machine can read or change {path} (mode {mode:04o}); chmod 600 it"
    )))
}

fn ledger(config: &Config, hooks: &Hooks<'_>) -> Finding {
    match (hooks.check_ledger)(config) {
        Ok(found) => Good(format!("the ledger: {found}")),
        Err(why) => Bad(format!("[ledger] url: {why}")),
    }
}

fn listener(key: &str, address: SocketAddr) -> Finding {
    let Err(why) = TcpListener::bind(address) else {
        return Good(format!("{key}: {address} is free"));
    };
    let (wrong, advice) = listen_advice(&why);
    Bad(format!("{key}: {address} {wrong}\n    to do: {advice}"))
}

/// Why an address cannot be listened on, and what to do about it.
#[must_use]
pub fn listen_advice(why: &io::Error) -> (String, &'static str) {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "is in use",
            "choose another port, or stop what listens there (`ss -ltnp` shows it; it may be a Plimsoll that \
             runs already); port 0 takes a free one",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "is no address of this machine",
            "choose one that `ip address` shows",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "needs rights that this user lacks",
            "choose a port from 1024 up and let a reverse proxy listen below, or give the program the capability: \
             setcap cap_net_bind_service=+ep PROGRAM, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit",
        ),
    ];
    match known.iter().find(|(kind, ..)| *kind == why.kind()) {
        Some((_, wrong, advice)) => ((*wrong).to_owned(), advice),
        None => (format!("cannot be listened on: {why}"), "choose another address"),
    }
}

/// Whether a log can be appended to. Makes no file.
fn log_file(key: &str, path: &Path) -> Finding {
    let tried = if path.exists() {
        OpenOptions::new().append(true).open(path).map(drop)
    } else {
        let directory = path.parent().filter(|parent| parent.as_os_str() != OsStr::new(""));
        access(directory.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)
            .map_err(io::Error::from)
    };
    match tried {
        Ok(()) => Good(format!("{key}: {} can be written to", path.display())),
        Err(why) => Bad(format!(
            "{key}: {} cannot be written to: {why}\n    to do: correct the path, or let the server's user write there",
            path.display()
        )),
    }
}

/// [ENG-49] What of the store and the ledger others may look into.
fn exposed(config: &Config) -> Vec<Finding> {
    let url = config.ledger_url();
    let ledger = Path::new(url.as_str().trim_start_matches("sqlite:"));
    let paths = [config.store.path.join("blobs"), ledger.to_path_buf()];
    let found = paths.iter().filter_map(|path| exposure(path));
    found.map(|text| Note(text.replace("\n    to do: ", "; to do: "))).collect()
}

/// What is valid, but surprises some.
fn choices(config: &Config) -> Vec<Finding> {
    let mut notes = Vec::new();
    if config.store.durability == Durability::Relaxed {
        notes.push(Note(
            "[store] durability is relaxed: a power cut may cost bytes that were acknowledged".to_owned(),
        ));
    }
    let listen = config.server.listen;
    if config.server.public_url.is_none() && !listen.ip().is_loopback() {
        notes.push(Note(format!(
            "[server] public_url is not set: URLs made here begin with {}",
            config.public_url(listen)
        )));
    }
    let abuse = &config.abuse;
    let counts_addresses = abuse.max_failures > 0 || abuse.requests_per_minute > 0;
    let seems_proxied = config.server.public_url.is_some() && listen.ip().is_loopback();
    if counts_addresses && seems_proxied && config.server.trusted_proxies.is_empty() {
        notes.push(Note(
            "[server] trusted_proxies is empty: behind a reverse proxy all clients share its address, and [abuse] \
             stops all of them together or nobody"
                .to_owned(),
        ));
    }
    if config.metrics.enabled && !config.metrics.listen.ip().is_loopback() {
        notes.push(Note(format!(
            "[metrics] listen: others can read the metrics on {}",
            config.metrics.listen
        )));
    }
    notes
}
