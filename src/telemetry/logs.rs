//! Log lines, as text or JSON, to standard error or to a file that can be rotated.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::Registry,
};

use super::append_file::AppendFile;
use crate::config::{Log, LogFormat};

/// Who may read the log is left to the umask.
const MODE: u32 = 0o666;

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "the log file {path} cannot be opened: {source}\n    to do: correct [log] file, or let the server's user write there"
    )]
    Open { path: PathBuf, source: io::Error },
    #[error("the log level is no filter: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up before")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sets up logging for the whole process.
///
/// # Errors
/// The log file cannot be opened, or logging was set up before.
pub fn init(log: &Log) -> Result<LogHandle, LogError> {
    let sink = match &log.file {
        Some(path) => Sink::File(Arc::new(open(path)?)),
        None => Sink::Stderr,
    };
    let handle = LogHandle { sink: sink.clone() };
    let coloured = matches!(sink, Sink::Stderr) && io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(log, sink, coloured)?)?;
    Ok(handle)
}

fn open(path: &Path) -> Result<AppendFile, LogError> {
    AppendFile::open(path, MODE).map_err(|source| cannot_open(path, source))
}

fn cannot_open(path: &Path, source: io::Error) -> LogError {
    LogError::Open { path: path.to_owned(), source }
}

/// Opens the log file anew, once whoever rotates it has moved it away.
#[derive(Clone, Debug)]
pub struct LogHandle {
    sink: Sink,
}

impl LogHandle {
    /// Goes on in a file of the configured name; does nothing when the log is standard error.
    ///
    /// # Errors
    /// The file cannot be opened; then the log goes on in the old one.
    pub fn reopen(&self) -> Result<(), LogError> {
        match &self.sink {
            Sink::Stderr => Ok(()),
            Sink::File(file) => file.reopen().map_err(|source| cannot_open(file.path(), source)),
        }
    }
}

fn subscriber<W>(
    log: &Log,
    writer: W,
    coloured: bool,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(log.level.as_str())?.and(filter_fn(is_fit_to_print));
    let lines = fmt::layer().with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(coloured).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter)))
}

/// What no level lets through.
fn is_fit_to_print(event: &Metadata<'_>) -> bool {
    let within = |name: &str| {
        event.target().strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    // [ENG-10] Below INFO the HTTP libraries print whole heads, and with them tokens.
    if ["h2", "hyper", "hyper_util"].into_iter().any(within) {
        return *event.level() <= Level::INFO;
    }
    // It warns of every 2xx without a body, which is what XEP-0363 clients want.
    !(within("salvo_core::service") && *event.level() == Level::WARN)
}

#[derive(Clone, Debug)]
enum Sink {
    Stderr,
    File(Arc<AppendFile>),
}

/// The end of a log, for the length of one line.
enum Line<'a> {
    Stderr(io::StderrLock<'a>),
    File(&'a AppendFile),
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        match self {
            Self::Stderr => Line::Stderr(io::stderr().lock()),
            Self::File(file) => Line::File(file),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr(stderr) => stderr.write(line),
            Self::File(file) => file.current().write(line),
        }
    }

    /// A line in one piece, also when the file is opened anew meanwhile.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr(stderr) => stderr.write_all(line),
            Self::File(file) => file.append(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr(stderr) => stderr.flush(),
            Self::File(file) => file.current().flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Config, load};

    fn log_with(level: &str, format: &str, file: &Path) -> Config {
        let env = [("LEVEL", level), ("FORMAT", format), ("FILE", file.to_str().unwrap())];
        load(None, env.map(|(key, value)| (format!("PLIMSOLL_LOG__{key}").into(), value.into())))
            .unwrap()
            .config
    }

    /// What a file holds after `events` were logged to it.
    fn logged(level: &str, format: &str, events: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let config = log_with(level, format, &path);
        let sink = Sink::File(Arc::new(open(&path).unwrap()));
        tracing::subscriber::with_default(subscriber(&config.log, sink, false).unwrap(), events);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn text_lines_are_plain_and_obey_the_level() {
        let text = logged("info,quiet=error", "text", || {
            tracing::info!(upload = "u1", "taken over");
            tracing::debug!("too fine");
            tracing::warn!(target: "quiet", "not wanted");
            tracing::error!(target: "quiet", "wanted");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("INFO") && text.contains("taken over upload=\"u1\""), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours in a file: {text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_of_event_and_span() {
        let text = logged("info", "json", || {
            let _request = tracing::info_span!("request", request_id = "r1").entered();
            tracing::info!(upload = "u1", "line\nbreak");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(line["message"], "line\nbreak");
        assert_eq!(line["upload"], "u1");
        assert_eq!(line["span"]["request_id"], "r1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn http_libraries_never_print_heads_at_any_level() {
        let text = logged("trace,h2::codec=trace,hyper=trace", "text", || {
            tracing::debug!(target: "h2::codec::framed_read", "authorization: Bearer x");
            tracing::trace!(target: "hyper::proto::h1", "authorization: Bearer x");
            tracing::warn!(target: "h2", "told");
            tracing::trace!(target: "h2o", "told as well");
        });
        assert!(!text.contains("Bearer") && text.lines().count() == 2, "{text}");
    }

    #[test]
    fn the_warning_of_every_empty_2xx_is_silenced_and_no_other() {
        let text = logged("trace", "text", || {
            tracing::warn!(target: "salvo_core::service", "http response content type header not set");
            tracing::error!(target: "salvo_core::service", "kept");
            tracing::warn!(target: "salvo_core::routing::router", "kept");
        });
        assert_eq!(text.matches("kept").count(), 2, "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_rotated_log_goes_on_in_a_new_file_without_losing_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let (path, rotated) = (dir.path().join("log"), dir.path().join("log.1"));
        let config = log_with("info", "text", &path);
        let sink = Sink::File(Arc::new(open(&path).unwrap()));
        let handle = LogHandle { sink: sink.clone() };
        tracing::subscriber::with_default(subscriber(&config.log, sink, false).unwrap(), || {
            tracing::info!("one");
            fs::rename(&path, &rotated).unwrap();
            tracing::info!("two");
            handle.reopen().unwrap();
            tracing::info!("three");
        });
        let old = fs::read_to_string(rotated).unwrap();
        assert!(old.contains("one") && old.contains("two") && !old.contains("three"));
        assert!(fs::read_to_string(path).unwrap().contains("three"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("logs");
        fs::create_dir(&place).unwrap();
        let file = Arc::new(open(&place.join("log")).unwrap());
        let handle = LogHandle { sink: Sink::File(file.clone()) };
        let moved = dir.path().join("moved");
        fs::rename(&place, &moved).unwrap();
        assert!(handle.reopen().unwrap_err().to_string().contains("to do"));
        Line::File(&file).write_all(b"still here\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "still here\n");
    }

    #[test]
    fn a_log_file_in_a_missing_directory_is_refused_at_the_start() {
        let config = log_with("info", "text", Path::new("/nowhere/at/all/log"));
        assert!(matches!(init(&config.log), Err(LogError::Open { .. })));
    }
}
