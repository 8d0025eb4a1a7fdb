//! The command line: `plimsoll [--config FILE] [serve|check|slot|grant|adopt|config]`.
//!
//! It takes its arguments, environment, clock and outputs from outside, so that a test runs it whole. What it
//! cannot do itself (serve, open a ledger) comes in as [`Hooks`] from the composition root.

mod check;
mod grant;
mod slot;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    clock::{Clock, SystemClock},
    config::{self, Config, Loaded, Size},
};

pub use check::listen_advice;
pub use slot::{Slot, SlotRequest, curl_download, curl_upload};

/// An error whose text is fit for the person at the terminal.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What the composition root does for the command line.
pub struct Hooks<'a> {
    /// Serves until told to stop.
    pub serve: &'a dyn Fn(Loaded) -> Result<(), Failure>,
    /// Opens the ledger without changing it, and says what it found ("SQLite, 3 uploads").
    pub check_ledger: &'a dyn Fn(&Config) -> Result<String, Failure>,
    /// Ties the ledger and the store together, and says what it found.
    pub adopt: &'a dyn Fn(&Config) -> Result<String, Failure>,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// What the process was started with, and where its words go.
pub struct Invocation<'a> {
    /// With the program's name first.
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub clock: &'a dyn Clock,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Invocation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("args", &self.args).finish_non_exhaustive()
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "plimsoll",
    bin_name = "plimsoll",
    version,
    about = "An upload server that never loses its place",
    after_help = "Without a subcommand it serves. Without --config it reads ./plimsoll.toml when that exists, and \
                  otherwise runs on defaults: data in ./plimsoll-data, a generated secret, 127.0.0.1:8080.\n\
                  Every key of the file can be set by the environment too: PLIMSOLL_SERVER__LISTEN and so on."
)]
struct Cli {
    /// Configuration file [environment: PLIMSOLL_CONFIG] [default: ./plimsoll.toml when it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    Serve,
    /// Print the configuration in effect, secrets masked, and try whether it can be served; also while it is
    Check {
        /// Check the configuration alone, not the disk, the ledger and the addresses of this machine
        #[arg(long)]
        config_only: bool,
    },
    /// Print the PUT URL, with its token, and the GET URL of a new upload
    Slot {
        /// Size of the file, such as 1048576 or "5 MiB"; the token is good for exactly this size [default: read from
        /// the file]
        #[arg(long, value_name = "BYTES")]
        size: Option<Size>,
        /// Media type of the file [default: without --size, that of its name]
        #[arg(long = "type", value_name = "MIME")]
        media_type: Option<String>,
        /// Who uploads, for the log
        #[arg(long, value_name = "JID")]
        user: Option<String>,
        /// Name or path of the file; the URL gets its last part
        name: String,
    },
    /// Print a token that lets its holder create uploads at [tus] base_path
    Grant {
        /// Who may upload
        #[arg(long, value_name = "NAME")]
        user: String,
        /// Largest upload, such as "100 MiB" [default: what the server takes]
        #[arg(long, value_name = "BYTES")]
        max_size: Option<Size>,
    },
    /// Let the ledger and the store belong together that a start refuses to serve together, as after a restore from a
    /// backup. Deletes nothing
    Adopt,
    /// Print a configuration file with every key, its default and its meaning
    Config,
}

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";
/// The file that is read when none is named.
const DEFAULT_FILE: &str = "plimsoll.toml";

/// Runs the process's own command line. The status is 0, 1 when something failed, or 2 when the command line
/// is wrong.
#[must_use]
pub fn run(hooks: &Hooks<'_>) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let status = run_with(
        Invocation {
            args: std::env::args_os().collect(),
            env: std::env::vars_os().collect(),
            clock: &SystemClock,
            out: &mut out,
            err: &mut err,
        },
        hooks,
    );
    ExitCode::from(status)
}

/// Runs a command line and answers the exit status.
#[must_use]
pub fn run_with(invocation: Invocation<'_>, hooks: &Hooks<'_>) -> u8 {
    let Invocation { args, env, clock, out, err } = invocation;
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => {
            let to: &mut dyn Write = if told.use_stderr() { &mut *err } else { &mut *out };
            let written = write!(to, "{told}").and_then(|()| to.flush());
            return if written.is_err() { 1 } else { u8::try_from(told.exit_code()).unwrap_or(2) };
        }
    };
    let ran = command(cli, env, clock, out, err, hooks).and_then(|()| Ok(out.flush()?));
    match ran {
        Ok(()) => 0,
        Err(why) => {
            // Nobody is left to be told when standard error is gone too.
            let _ = writeln!(err, "plimsoll: {why}");
            1
        }
    }
}

fn command(
    cli: Cli,
    env: Vec<(OsString, OsString)>,
    clock: &dyn Clock,
    out: &mut dyn Write,
    err: &mut dyn Write,
    hooks: &Hooks<'_>,
) -> Result<(), Failure> {
    let command = cli.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Config) {
        return Ok(out.write_all(config::annotated().as_bytes())?);
    }
    let file = config_file(cli.config, &env, Path::new(DEFAULT_FILE));
    let loaded = config::load(file.as_deref(), env)
        .map_err(|wrong| format!("the configuration cannot be used\n{wrong}"))?;
    match command {
        Command::Serve => (hooks.serve)(loaded),
        Command::Check { config_only: true } => check::configuration(&loaded, out, err),
        Command::Check { config_only: false } => check::run(&loaded, hooks, out, err),
        Command::Slot { size, media_type, user, name } => {
            let bound = loaded.config.server.listen;
            if bound.port() == 0 && loaded.config.server.public_url.is_none() {
                return Err("the port of [server] listen is 0, so its URL is not known\n    \
                            to do: set [server] public_url, or give listen a port"
                    .into());
            }
            let request = SlotRequest::new(name, size, media_type, user)?;
            let slot = Slot::mint(&loaded.config, bound, &request, clock.now())?;
            writeln!(out, "PUT {}\nGET {}", slot.put_url, slot.get_url)?;
            writeln!(err, "# Upload, and download again:")?;
            writeln!(err, "{}", curl_upload(&request.name, request.media_type.as_deref(), &slot.put_url))?;
            writeln!(err, "{}", curl_download(&request.name, &slot.get_url))?;
            Ok(())
        }
        Command::Adopt => Ok(writeln!(out, "{}", (hooks.adopt)(&loaded.config)?)?),
        Command::Grant { user, max_size } => {
            writeln!(out, "{}", grant::mint(&loaded.config, &user, max_size, clock.now())?)?;
            writeln!(err, "# Send it as: Authorization: Bearer TOKEN")?;
            Ok(())
        }
        // Printed above: it has to work without a usable configuration.
        Command::Config => Ok(()),
    }
}

/// The file to read: as named on the command line or in the environment, else `default` if it is there.
fn config_file(named: Option<PathBuf>, env: &[(OsString, OsString)], default: &Path) -> Option<PathBuf> {
    let variable = || env.iter().find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty());
    named
        .or_else(|| variable().map(|(_, value)| PathBuf::from(value)))
        .or_else(|| default.exists().then(|| default.to_owned()))
}

#[cfg(test)]
mod tests;
