//! What a case is, and how it says that the server broke a rule.

use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::ctx::Ctx;

/// `Ok` when the server kept the rule.
pub type CaseResult = Result<(), Failure>;

/// The future of one run of a case.
pub type CaseRun<'a> = Pin<Box<dyn Future<Output = CaseResult> + Send + 'a>>;

/// A group of requirements that is asked for by name (`--profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Plain PUT, downloads and CORS: `protocol-spec/xep-0363.md`.
    Xep0363,
    /// Ranged PUT and the offset of incomplete uploads: `protocol-spec/content-range.md`.
    ContentRange,
    /// tus 1.0.0 with its extensions: `protocol-spec/tus-1.0.md`.
    Tus,
    /// One upload through several dialects: `protocol-spec/one-upload.md`.
    Cross,
    /// Sessions, recovery and grace: `protocol-spec/session.md`.
    Session,
}

impl Profile {
    /// Every profile, in the order of the report.
    pub const ALL: [Self; 5] = [Self::Xep0363, Self::ContentRange, Self::Tus, Self::Cross, Self::Session];

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xep0363 => "xep0363",
            Self::ContentRange => "content-range",
            Self::Tus => "tus",
            Self::Cross => "cross",
            Self::Session => "session",
        }
    }
}

/// What a requirement takes for granted: where it does not hold, the requirement is not asked for, and the report says
/// so instead of counting it as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The target announces this extension in Tus-Extension.
    Extension(&'static str),
    /// The target announces Tus-Max-Size.
    MaxSize,
    /// The command line says how many uploads a stranger may create in a minute.
    OpenCreation,
    /// The command line says that creation takes a grant which the suite can mint.
    GrantedCreation,
    /// The command line says that every verb takes a grant.
    GrantedAccess,
    /// The command line says how soon the target forgets an unfinished upload.
    ShortExpiry,
    /// The command line says this of sessions.
    Session(Condition),
}

/// What the command line can say of sessions, grace and guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Requests can come from two addresses.
    TwoAddresses,
    /// The target believes the forwarding headers of the suite.
    TrustedProxy,
    /// It does not.
    UntrustedPeer,
    /// Sessions end so soon that a case can wait for it.
    ShortSession,
    /// Grace has its usual windows.
    Grace,
    /// The ceiling of grace is lower than usual.
    LowCeiling,
    /// There is no grace.
    NoGrace,
    /// Addresses are banned, and the suite can invent some.
    Ban,
    /// Requests of an address are limited, and the suite can invent some.
    AddressRate,
    /// Requests of a subject are limited, and the suite can invent addresses.
    SubjectRate,
}

/// How long a case may take before it counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// The time-out of the command line.
    Standard,
    /// That, and the silence which the target grants to a body.
    BodyGap,
    /// That, and the time which the target grants to a request's header section.
    HeaderTimeout,
    /// That, and the life of an unfinished upload at the target.
    Expiry,
    /// That, and the life of a session.
    SessionAge,
}

/// One check, and the requirements that it proves.
#[derive(Clone, Copy)]
pub struct Case {
    /// IDs of rows in `protocol-spec/`.
    pub ids: &'static [&'static str],
    /// The behaviour, as a sentence.
    pub title: &'static str,
    /// The time it may take.
    pub allowance: Allowance,
    /// What it takes for granted.
    pub needs: &'static [Need],
    /// The check itself.
    pub run: for<'a> fn(&'a Ctx) -> CaseRun<'a>,
}

impl Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("ids", &self.ids).field("title", &self.title).finish_non_exhaustive()
    }
}

/// Registers an `async fn(&Ctx) -> CaseResult` under its IDs and title, with the time it may take and what it needs.
macro_rules! case {
    ([$($id:literal),+ $(,)?], $title:literal, $run:expr) => {
        $crate::case::case!([$($id),+], $title, $run, Standard, needs &[])
    };
    ([$($id:literal),+ $(,)?], $title:literal, $run:expr, needs $needs:expr) => {
        $crate::case::case!([$($id),+], $title, $run, Standard, needs $needs)
    };
    ([$($id:literal),+ $(,)?], $title:literal, $run:expr, $allowance:ident) => {
        $crate::case::case!([$($id),+], $title, $run, $allowance, needs &[])
    };
    ([$($id:literal),+ $(,)?], $title:literal, $run:expr, $allowance:ident, needs $needs:expr) => {
        $crate::case::Case {
            ids: &[$($id),+],
            title: $title,
            allowance: $crate::case::Allowance::$allowance,
            needs: $needs,
            run: |ctx| Box::pin($run(ctx)),
        }
    };
}
pub(crate) use case;

/// Why a case failed: what the rule asks for, and what came instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// A broken rule.
    pub fn new(expected: impl Display, seen: impl Display) -> Self {
        Self(format!("expected {expected}; saw {seen}"))
    }

    /// A case that could not be carried out; that is a failure as well, never a pass.
    pub fn because(reason: impl Display) -> Self {
        Self(reason.to_string())
    }

    /// Says at which step it happened.
    #[must_use]
    pub fn at(self, step: impl Display) -> Self {
        Self(format!("{step}: {}", self.0))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(format!("the connection failed: {error}"))
    }
}

/// Names the step in a failure that passes through.
pub trait Step<T> {
    /// Prefixes the failure with `step`.
    fn at(self, step: impl Display) -> Result<T, Failure>;
}

impl<T> Step<T> for Result<T, Failure> {
    fn at(self, step: impl Display) -> Self {
        self.map_err(|failure| failure.at(step))
    }
}

/// Fails unless `seen == expected`.
pub fn expect_eq<T: PartialEq + Debug>(what: &str, expected: &T, seen: &T) -> CaseResult {
    if expected == seen {
        return Ok(());
    }
    Err(Failure::new(format_args!("{what} {expected:?}"), format_args!("{seen:?}")))
}

/// Fails unless `holds`.
pub fn expect(holds: bool, expected: impl Display, seen: impl Display) -> CaseResult {
    if holds { Ok(()) } else { Err(Failure::new(expected, seen)) }
}

/// Compares two bodies and names the first byte that differs instead of printing them.
pub fn expect_bytes(what: &str, expected: &[u8], seen: &[u8]) -> CaseResult {
    if expected == seen {
        return Ok(());
    }
    let same = expected.iter().zip(seen).take_while(|(left, right)| left == right).count();
    Err(Failure::new(
        format_args!("{what} to be the {} bytes that were sent", expected.len()),
        format_args!("{} bytes, alike up to byte {same}", seen.len()),
    ))
}

/// The answer to `future`, or a failure when it takes longer than `limit`.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Failure::new(what, format_args!("nothing for {} ms", limit.as_millis()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_bodies_are_reported_by_their_first_differing_byte() {
        let failure = expect_bytes("the file", b"abcd", b"abXd").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "expected the file to be the 4 bytes that were sent; saw 4 bytes, alike up to byte 2"
        );
        assert!(expect_bytes("the file", b"abcd", b"abcde").is_err());
        assert!(expect_bytes("the file", b"abcd", b"abcd").is_ok());
    }

    #[test]
    fn a_failure_names_the_step_it_passed_through() {
        let failed: CaseResult = Err(Failure::new("201", "500"));
        assert_eq!(failed.at("second PUT").unwrap_err().to_string(), "second PUT: expected 201; saw 500");
    }

    #[tokio::test]
    async fn waiting_beyond_the_limit_fails_the_case() {
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = within(Duration::from_millis(20), "an answer", never).await.unwrap_err();
        assert_eq!(failure.to_string(), "expected an answer; saw nothing for 20 ms");
    }
}
