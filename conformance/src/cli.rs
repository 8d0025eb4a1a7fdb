//! The command line.
//!
//! Exit codes: 0 when every requirement asked for holds (known gaps aside), 1 when one does not or when a known gap
//! has closed, 2 when the command line is wrong or the target cannot be reached.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::case::{Case, Failure, Profile};
use crate::ctx::Ctx;
use crate::report::Report;
use crate::session::SessionTarget;
use crate::tus::{Issuer, TusTarget};
use crate::{profiles, runner, token};

/// Tells what an upload server gets wrong, requirement by requirement.
#[derive(Debug, Parser)]
#[command(name = "plimsoll-conformance", version)]
struct Args {
    /// Root of the server under test, http://HOST:PORT.
    #[arg(long, required_unless_present = "list")]
    target: Option<String>,
    /// Groups of requirements to check.
    #[arg(long, value_delimiter = ',', default_value = "xep0363,content-range", value_parser = parse_profile)]
    profile: Vec<Profile>,
    /// Secret that the target shares with its XMPP server; tokens are minted with it. Without one, uploads carry no
    /// credential and every requirement about credentials fails.
    #[arg(long, env = "PLIMSOLL_CONFORMANCE_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Path below which the target takes uploads.
    #[arg(long, default_value = "/upload")]
    base_path: String,
    /// Path at which the target creates tus uploads.
    #[arg(long, default_value = "/files")]
    tus_path: String,
    /// Bearer token for creations at --tus-path. Without one, it is minted from the secret; without that, creations carry
    /// no credential.
    #[arg(long, env = "PLIMSOLL_CONFORMANCE_GRANT", hide_env_values = true)]
    grant: Option<String>,
    /// What the target asks for to go on with a tus upload, to read and to delete it: nothing but its URL, or the grant
    /// with every request.
    #[arg(long, value_enum, default_value_t = Access::Url)]
    tus_access: Access,
    /// The target lets strangers create this many uploads in a minute from one address.
    #[arg(long, value_name = "N")]
    creations_per_minute: Option<u32>,
    /// Seconds after which the target removes an unfinished upload. The case that waits for it needs a target where
    /// they are few.
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u64>,
    /// Path of the target's session resource.
    #[arg(long, default_value = "/session")]
    session_path: String,
    /// An address of this machine, beside the usual one, from which the target can be reached: for what a change of
    /// address does.
    #[arg(long, value_name = "ADDRESS")]
    other_address: Option<IpAddr>,
    /// The target believes what the suite writes into X-Forwarded-For and Forwarded. The invented addresses are of
    /// 198.18.0.0/15 and fd00::/8, which it must neither trust nor let pass unlimited.
    #[arg(long)]
    trusted_proxy: bool,
    /// Seconds after which the target ends a session. The case that waits for it needs a target where they are few.
    #[arg(long, value_name = "SECONDS")]
    session_max_age: Option<u64>,
    /// The target gives expired tokens no grace.
    #[arg(long)]
    no_grace: bool,
    /// The target's ceiling of grace in seconds, where it is below the windows of 12 and 24 hours.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(120..43_200), conflicts_with = "no_grace")]
    grace_ceiling: Option<u32>,
    /// The target bans an address after so many failures, but not the suite's own. Needs --trusted-proxy.
    #[arg(long, value_name = "N", requires = "trusted_proxy")]
    ban_after: Option<u32>,
    /// The target lets an address, but for the suite's own, send so many requests in a minute. Needs --trusted-proxy.
    #[arg(long, value_name = "N", requires = "trusted_proxy")]
    requests_per_minute: Option<u32>,
    /// The target lets a subject send so many requests in a minute. Needs --trusted-proxy.
    #[arg(long, value_name = "N", requires = "trusted_proxy")]
    subject_requests_per_minute: Option<u32>,
    /// Count a requirement as failed when the target does not announce what it rests on.
    #[arg(long)]
    all_extensions: bool,
    /// Check these requirements only.
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    only: Vec<String>,
    /// File of requirement IDs that are known to fail, one a line, `#` starts a comment. A listed one that passes
    /// fails the run.
    #[arg(long, value_name = "FILE")]
    known_failing: Option<PathBuf>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    report: Form,
    /// List the requirements and their cases, and check nothing.
    #[arg(long)]
    list: bool,
    /// Cases at a time.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Seconds that a case may take.
    #[arg(long, default_value_t = 20)]
    timeout: u64,
    /// Seconds that the target lets a body stay silent before it cuts it.
    #[arg(long, default_value_t = 60)]
    body_gap: u64,
    /// Seconds that the target waits for a request's header section.
    #[arg(long, default_value_t = 30)]
    header_timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// What opens a tus upload that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Access {
    Url,
    Grant,
}

/// What stops a run before its first case.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("cannot use the target {0:?}: {1}")]
    Target(String, &'static str),
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, String),
    #[error("no such requirement: {0}")]
    UnknownId(String),
    #[error("cannot read {0}: {1}")]
    List(PathBuf, io::Error),
    #[error(transparent)]
    TargetFailed(#[from] Failure),
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Parses the process's arguments, runs what they ask for and reports on standard output.
pub async fn run() -> ExitCode {
    match execute(Args::parse(), &mut io::stdout().lock()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Nowhere is left to report that standard error is gone.
            let _gone = writeln!(io::stderr(), "plimsoll-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

async fn execute(args: Args, out: &mut impl Write) -> Result<bool, UsageError> {
    let all: Vec<(Profile, Case)> =
        args.profile.iter().flat_map(|profile| profiles::cases(*profile)).collect();
    let known_ids: BTreeSet<&str> = all.iter().flat_map(|(_, case)| case.ids.iter().copied()).collect();
    check_known(&args.only, &known_ids)?;
    let chosen: Vec<(Profile, Case)> =
        all.into_iter().filter(|(_, case)| is_chosen(case, &args.only)).collect();
    if args.list {
        for (profile, case) in &chosen {
            writeln!(out, "{:<14} {:<7} {}", profile.name(), case.ids.join(","), case.title)?;
        }
        return Ok(true);
    }
    let known_failing = match &args.known_failing {
        Some(path) => read_list(path)?,
        None => BTreeSet::new(),
    };
    let every: Vec<(Profile, Case)> = Profile::ALL.into_iter().flat_map(profiles::cases).collect();
    check_known(&known_failing, &every.iter().flat_map(|(_, case)| case.ids.iter().copied()).collect())?;
    let target = args.target.unwrap_or_default();
    let (authority, prefix) = parse_target(&target)?;
    let secret = args.secret.filter(|secret| !secret.is_empty()).map(String::into_bytes);
    let grant = match (args.grant.filter(|grant| !grant.is_empty()), &secret) {
        (Some(given), _) => Some((given, Issuer::User)),
        (None, Some(secret)) => Some((token::Grant::default().sign(secret)?, Issuer::Suite)),
        (None, None) => None,
    };
    let tus = TusTarget {
        path: format!("{prefix}{}", tus_path(&args.tus_path)),
        grant,
        grant_for_all: args.tus_access == Access::Grant,
        creations_per_minute: args.creations_per_minute,
        expires: args.expires.map(Duration::from_secs),
        ..TusTarget::default()
    };
    let session = SessionTarget {
        path: format!("{prefix}{}", normal_base(&args.session_path)),
        other_address: args.other_address,
        is_trusted_proxy: args.trusted_proxy,
        max_age: args.session_max_age.map(Duration::from_secs),
        has_grace: !args.no_grace,
        grace_ceiling: args.grace_ceiling.map(|seconds| Duration::from_secs(seconds.into())),
        ban_after: args.ban_after,
        requests_per_minute: args.requests_per_minute,
        subject_requests_per_minute: args.subject_requests_per_minute,
    };
    let mut ctx = Ctx {
        authority,
        base: format!("{prefix}{}", normal_base(&args.base_path)),
        secret,
        body_gap: Duration::from_secs(args.body_gap),
        header_timeout: Duration::from_secs(args.header_timeout),
        tus,
        session,
    };
    if let Err(failure) = ctx.connect().await {
        return Err(UsageError::Unreachable(ctx.authority, failure.to_string()));
    }
    if chosen.iter().any(|(profile, _)| matches!(profile, Profile::Tus | Profile::Cross)) {
        ctx.tus.announced = ctx.announcement().await?;
        ctx.tus.takes_all_for_granted = args.all_extensions;
    }
    let outcomes = runner::run(Arc::new(ctx), chosen, args.jobs, Duration::from_secs(args.timeout)).await;
    let outcomes = outcomes
        .into_iter()
        .filter(|(id, ..)| args.only.is_empty() || args.only.iter().any(|only| only == id));
    let report = Report::new(target, outcomes.collect(), &known_failing);
    match args.report {
        Form::Text => report.write_text(out)?,
        Form::Json => report.write_json(out)?,
    }
    Ok(report.failed == 0)
}

fn is_chosen(case: &Case, only: &[String]) -> bool {
    only.is_empty() || case.ids.iter().any(|id| only.iter().any(|wanted| wanted == id))
}

fn check_known<'a>(
    wanted: impl IntoIterator<Item = &'a String>,
    known: &BTreeSet<&str>,
) -> Result<(), UsageError> {
    match wanted.into_iter().find(|id| !known.contains(id.as_str())) {
        Some(id) => Err(UsageError::UnknownId(id.clone())),
        None => Ok(()),
    }
}

fn read_list(path: &Path) -> Result<BTreeSet<String>, UsageError> {
    let text = std::fs::read_to_string(path).map_err(|error| UsageError::List(path.to_owned(), error))?;
    Ok(parse_list(&text))
}

fn parse_list(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect()
}

fn parse_profile(name: &str) -> Result<Profile, String> {
    Profile::ALL
        .into_iter()
        .find(|profile| profile.name() == name)
        .ok_or_else(|| format!("known profiles: {}", Profile::ALL.map(Profile::name).join(", ")))
}

/// `host:port` and the path in front of everything.
fn parse_target(target: &str) -> Result<(String, String), UsageError> {
    let error = |why| UsageError::Target(target.to_owned(), why);
    let uri: http::Uri = target.parse().map_err(|_| error("it is no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(error(
            "cases hold the socket themselves and speak plain http only: name the listener behind TLS",
        ));
    }
    let authority = uri.authority().ok_or_else(|| error("it has no host"))?;
    let port = authority.port_u16().unwrap_or(80);
    Ok((format!("{}:{port}", authority.host()), uri.path().trim_end_matches('/').to_owned()))
}

fn normal_base(base: &str) -> String {
    let inner = base.trim_matches('/');
    if inner.is_empty() { String::new() } else { format!("/{inner}") }
}

/// A path as it was given, but for the slash in front: a closing one may matter to the target.
fn tus_path(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once(&"plimsoll-conformance").chain(line)).unwrap()
    }

    #[test]
    fn targets_are_split_into_authority_and_prefix() {
        assert_eq!(parse_target("http://h:81").unwrap(), ("h:81".into(), String::new()));
        assert_eq!(parse_target("http://h/x/").unwrap(), ("h:80".into(), "/x".into()));
        assert!(parse_target("https://h").is_err());
        assert!(parse_target("h:81").is_err());
    }

    #[test]
    fn base_paths_lose_surplus_slashes() {
        assert_eq!(normal_base("upload/"), "/upload");
        assert_eq!(normal_base("/"), "");
    }

    #[test]
    fn lists_of_known_gaps_may_hold_comments() {
        let seen = parse_list("# all of it\nXEP-3\n\n XEP-4 # late\n");
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["XEP-3", "XEP-4"]);
    }

    #[tokio::test]
    async fn an_unknown_requirement_is_a_usage_error() {
        let error = execute(args(&["--list", "--only", "XEP-99999"]), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, UsageError::UnknownId(id) if id == "XEP-99999"));
    }

    #[tokio::test]
    async fn a_target_that_nobody_listens_at_is_a_usage_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = execute(args(&["--target", &url]), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, UsageError::Unreachable(..)), "{error}");
    }

    #[tokio::test]
    async fn listing_names_each_case_of_the_chosen_profile() {
        let mut out = Vec::new();
        assert!(execute(args(&["--list", "--profile", "content-range"]), &mut out).await.unwrap());
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), profiles::cases(Profile::ContentRange).count());
        assert!(text.lines().all(|line| line.starts_with("content-range  CRG-")), "{text}");
    }
}
