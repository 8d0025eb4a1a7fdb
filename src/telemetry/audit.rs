//! The audit log: what was decided about whom, and why, one JSON object a line.
//!
//! What an event can say is typed so that nothing secret fits: words are the program's own (`&'static str`), an upload is
//! its public id, a session the first digits of a hash. A path, a query or a token has no field to stand in.

use std::{
    fmt,
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer};

use super::{append_file::AppendFile, metrics::Metrics};

/// The server's user alone reads it: it tells who was where.
const MODE: u32 = 0o600;
/// Characters of untrusted text that are kept.
const LONGEST_TEXT: usize = 200;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// A credential was judged.
    Credential,
    /// A credential had expired, and the grace window of its client was asked.
    Grace,
    /// A session began.
    SessionOpened,
    /// A session covers one more upload.
    SessionJoined,
    /// A session let a request in whose credential was gone.
    SessionRecovered,
    /// A session gave out a fresh token.
    SessionRefreshed,
    /// A session ended.
    SessionEnded,
    /// A session was of no use to who named it.
    SessionRefused,
    /// A session is seen elsewhere than before.
    NetworkChanged,
    /// An address failed too often.
    Banned,
    /// An address, or a subject, asks too often.
    RateLimited,
    /// A request was refused for another reason.
    Refused,
    /// An upload was deleted.
    Deleted,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Who asked may.
    Allowed,
    /// Who asked may not.
    Refused,
    /// It is done; nobody had to be asked.
    Done,
}

/// One line. What is not known is left out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Event<'a> {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// What.
    pub event: Happened,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a word of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The form of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'static str>,
    /// The dialect that the client speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'static str>,
    /// Whose credential or session it is. Untrusted text, cut to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub subject: Option<&'a str>,
    /// The public id of the upload: 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "upload")]
    pub upload: Option<&'a str>,
    /// The first 12 hex digits of the hash of the session's id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "session")]
    pub session: Option<&'a str>,
    /// The client's address, seen through trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Where a session was seen before it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_address: Option<IpAddr>,
    /// The configured class of that network.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub from_network: Option<&'a str>,
    /// The configured class of its network.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub network: Option<&'a str>,
    /// The User-Agent. Untrusted text, cut to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub agent: Option<&'a str>,
    /// What the User-Agent suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// The id of the request, as in the log and in the answer.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "request_id")]
    pub request_id: Option<&'a str>,
}

impl Event<'_> {
    /// An event of which nothing else is known yet.
    #[must_use]
    pub fn new(at: SystemTime, event: Happened, outcome: Outcome) -> Self {
        Self {
            at,
            event,
            outcome,
            reason: None,
            scheme: None,
            dialect: None,
            subject: None,
            upload: None,
            session: None,
            address: None,
            from_address: None,
            from_network: None,
            network: None,
            agent: None,
            class: None,
            request_id: None,
        }
    }
}

/// Stands in a line where a value had not the form of its field.
const UNFIT: &str = "unfit";

/// Serde passes a field by reference.
type Text<'a> = Option<&'a str>;

fn rfc3339<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    // The format ends with the year 9999; beyond its ends it would panic.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    to.collect_str(&humantime::format_rfc3339_millis(UNIX_EPOCH + since))
}

fn text<S: Serializer>(value: &Text<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Cut(value.unwrap_or_default()))
}

fn upload<S: Serializer>(value: &Text<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.filter(|id| is_hex(id, 32)).unwrap_or(UNFIT))
}

fn session<S: Serializer>(value: &Text<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.filter(|id| is_hex(id, 12)).unwrap_or(UNFIT))
}

/// A client may choose its request's id, and so might choose a session's.
fn request_id<S: Serializer>(value: &Text<'_>, to: S) -> Result<S::Ok, S::Error> {
    let is_good = |id: &&str| !id.is_empty() && id.len() < 64;
    to.serialize_str(value.filter(is_good).unwrap_or(UNFIT))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(LONGEST_TEXT).map_or(self.0.len(), |(at, _)| at);
        f.write_str(self.0.get(..end).unwrap_or_default())
    }
}

/// The audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the audit log {path} cannot be opened: {source}\n    to do: correct [audit] file, or let the server's user write there"
)]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// The audit log, or none. Cloning it is cheap, and all clones are one log.
#[derive(Clone, Debug)]
pub struct Audit(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    file: AppendFile,
    metrics: Arc<Metrics>,
    /// Whether the last event was lost: the first one that is lost is told in the log, and the end of it.
    is_failing: AtomicBool,
}

impl Audit {
    /// Appends to `path`; without one nothing is kept.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: Option<&Path>, metrics: Arc<Metrics>) -> Result<Self, AuditError> {
        let Some(path) = path else { return Ok(Self::off()) };
        let file =
            AppendFile::open(path, MODE).map_err(|source| AuditError { path: path.to_owned(), source })?;
        Ok(Self(Some(Arc::new(Open { file, metrics, is_failing: AtomicBool::new(false) }))))
    }

    /// None at all.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Whether events are kept. Who has to search for what an event says may ask first.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes one event. Never fails a request: an event that cannot be written is counted, and the first of several
    /// is told in the log.
    pub fn event(&self, event: &Event<'_>) {
        let Some(open) = &self.0 else { return };
        match line(event).and_then(|line| open.file.append(&line)) {
            Ok(()) => {
                if open.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                open.metrics.audit_lost();
                if !open.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "an event is missing in the audit log; further ones are counted only");
                }
            }
        }
    }

    /// Goes on in a file of the configured name, once whoever rotates it has moved it away.
    ///
    /// # Errors
    /// It cannot be opened; then the log goes on in the old one.
    pub fn reopen(&self) -> Result<(), AuditError> {
        let Some(open) = &self.0 else { return Ok(()) };
        open.file.reopen().map_err(|source| AuditError { path: open.file.path().to_owned(), source })
    }
}

fn line(event: &Event<'_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    serde_json::to_writer(&mut line, event)?;
    line.write_all(b"\n")?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn full() -> Event<'static> {
        Event {
            reason: Some("expired"),
            scheme: Some("jwt"),
            dialect: Some("xep0363"),
            subject: Some("juliet@example.org"),
            upload: Some("00112233445566778899aabbccddeeff"),
            session: Some("0123456789ab"),
            address: Some("2001:db8::1".parse().unwrap()),
            network: Some("mobile"),
            agent: Some("Conversations/2.17"),
            class: Some("mobile"),
            request_id: Some("r-1"),
            ..Event::new(at(), Happened::SessionRecovered, Outcome::Allowed)
        }
    }

    #[test]
    fn an_event_is_one_line_of_json_and_what_is_unknown_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(Some(&path), Metrics::new()).unwrap();
        audit.event(&full());
        audit.event(&Event::new(at(), Happened::Deleted, Outcome::Done));
        let found = lines(&path);
        assert_eq!(
            found[0],
            serde_json::json!({
                "at": "2023-11-14T22:13:20.123Z", "event": "session-recovered", "outcome": "allowed",
                "reason": "expired", "scheme": "jwt", "dialect": "xep0363", "subject": "juliet@example.org",
                "upload": "00112233445566778899aabbccddeeff", "session": "0123456789ab",
                "address": "2001:db8::1", "network": "mobile", "agent": "Conversations/2.17",
                "class": "mobile", "request_id": "r-1",
            })
        );
        assert_eq!(
            found[1],
            serde_json::json!({"at": "2023-11-14T22:13:20.123Z", "event": "deleted", "outcome": "done"})
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_words_of_events_are_those_that_other_programs_look_for() {
        let words = [
            (Happened::Credential, "credential"),
            (Happened::Grace, "grace"),
            (Happened::SessionOpened, "session-opened"),
            (Happened::SessionJoined, "session-joined"),
            (Happened::SessionRecovered, "session-recovered"),
            (Happened::SessionRefreshed, "session-refreshed"),
            (Happened::SessionEnded, "session-ended"),
            (Happened::SessionRefused, "session-refused"),
            (Happened::NetworkChanged, "network-changed"),
            (Happened::Banned, "banned"),
            (Happened::RateLimited, "rate-limited"),
            (Happened::Refused, "refused"),
            (Happened::Deleted, "deleted"),
        ];
        for (event, word) in words {
            assert_eq!(serde_json::to_value(event).unwrap(), word);
        }
    }

    #[test]
    fn no_session_id_and_no_token_fits_and_no_text_breaks_a_line() {
        let secret = "5ec2e7".repeat(11)[..64].to_owned();
        let agent = format!("one\n{{\"event\":\"forged\"}}\u{2028}\0{}", "é".repeat(500));
        let event = Event {
            upload: Some(&secret),
            session: Some(&secret),
            request_id: Some(&secret),
            agent: Some(&agent),
            ..full()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        Audit::open(Some(&path), Metrics::new()).unwrap().event(&event);
        let written = fs::read_to_string(&path).unwrap();
        assert!(!written.contains("5ec2e7") && written.matches('\n').count() == 1, "{written}");
        let line = &lines(&path)[0];
        assert_eq!(line["agent"].as_str().unwrap().chars().count(), LONGEST_TEXT);
        assert_eq!((line["upload"].as_str(), line["session"].as_str()), (Some(UNFIT), Some(UNFIT)));
    }

    #[test]
    fn moments_that_cannot_be_written_panic_nobody() {
        for at in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(1 << 40)] {
            line(&Event::new(at, Happened::Refused, Outcome::Refused)).unwrap();
        }
    }

    #[test]
    fn a_rotated_log_goes_on_in_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, rotated) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let audit = Audit::open(Some(&path), Metrics::new()).unwrap();
        audit.event(&full());
        fs::rename(&path, &rotated).unwrap();
        audit.clone().event(&full());
        audit.reopen().unwrap();
        audit.event(&full());
        assert_eq!((lines(&rotated).len(), lines(&path).len()), (2, 1));
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(audit.reopen().unwrap_err().to_string().contains("to do"));
        audit.event(&full());
    }

    #[test]
    fn an_event_that_cannot_be_written_is_counted_and_does_no_harm() {
        let metrics = Metrics::new();
        let audit = Audit::open(Some(Path::new("/dev/full")), Arc::clone(&metrics)).unwrap();
        audit.event(&full());
        audit.event(&full());
        assert!(metrics.render().contains("plimsoll_audit_lost_total 2"));
    }

    #[test]
    fn without_a_file_nothing_is_kept_and_a_wrong_one_is_explained() {
        let off = Audit::open(None, Metrics::new()).unwrap();
        assert!(!off.is_on() && off.reopen().is_ok());
        off.event(&full());
        let error = Audit::open(Some(Path::new("/nowhere/at/all")), Metrics::new()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("to do"), "{error}");
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let audit = Audit::open(Some(&path), Metrics::new()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| audit.event(&full())));
            }
        });
        assert_eq!(lines(&path).len(), 1_600);
    }
}
