//! What a run found: one line for each requirement.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use crate::profiles;
use crate::runner::{Fate, Outcome};

/// How one requirement fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every case that cites it passed.
    Passed,
    /// At least one case failed.
    Failed {
        /// Expected and seen, of each failing case.
        reason: String,
    },
    /// It failed, as the list of known gaps says.
    KnownGap {
        /// Expected and seen, of each failing case.
        reason: String,
    },
    /// It passed although the list of known gaps says it fails: the list is out of date.
    GapClosed,
    /// It was not asked for, since the target does not announce what it rests on.
    NotAnnounced {
        /// What is missing.
        missing: String,
    },
}

/// A line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// ID of a row in `protocol-spec/`.
    pub id: &'static str,
    /// Name of the profile.
    pub profile: &'static str,
    /// Title of the case, or of its first when several cite the ID.
    pub title: &'static str,
    /// Outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// URL of the target.
    pub target: String,
    /// One line for each requirement, in the order of the tables.
    pub lines: Vec<Line>,
    /// Requirements that hold.
    pub passed: usize,
    /// Requirements that do not, known gaps left out, closed gaps included.
    pub failed: usize,
    /// Requirements that fail as the list says.
    pub known_gaps: usize,
    /// Requirements that were not asked for.
    pub not_announced: usize,
}

impl Report {
    /// Weighs raw outcomes against the known gaps.
    pub fn new(target: String, outcomes: Vec<Outcome>, known_failing: &BTreeSet<String>) -> Self {
        let lines: Vec<Line> = outcomes
            .into_iter()
            .map(|(id, profile, title, outcome)| {
                let verdict = match (outcome, known_failing.contains(id)) {
                    (Fate::Passed, false) => Verdict::Passed,
                    (Fate::Passed, true) => Verdict::GapClosed,
                    (Fate::Failed(reason), false) => Verdict::Failed { reason },
                    (Fate::Failed(reason), true) => Verdict::KnownGap { reason },
                    (Fate::NotAnnounced(missing), _) => Verdict::NotAnnounced { missing },
                };
                Line { id, profile: profile.name(), title, verdict }
            })
            .collect();
        let count = |wanted: fn(&Verdict) -> bool| lines.iter().filter(|line| wanted(&line.verdict)).count();
        Self {
            target,
            passed: count(|verdict| matches!(verdict, Verdict::Passed)),
            failed: count(|verdict| matches!(verdict, Verdict::Failed { .. } | Verdict::GapClosed)),
            known_gaps: count(|verdict| matches!(verdict, Verdict::KnownGap { .. })),
            not_announced: count(|verdict| matches!(verdict, Verdict::NotAnnounced { .. })),
            lines,
        }
    }

    /// Writes the report for people. The last line is `N passed, N failed`.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for Line { id, title, verdict, profile: _ } in &self.lines {
            match verdict {
                Verdict::Passed => writeln!(out, "pass       {id:<7} {title}")?,
                Verdict::Failed { reason } => writeln!(out, "FAIL       {id:<7} {title}: {reason}")?,
                Verdict::KnownGap { reason } => writeln!(out, "known gap  {id:<7} {title}: {reason}")?,
                Verdict::NotAnnounced { missing } => {
                    writeln!(out, "not announced  {id:<7} {title}: {missing}")?;
                }
                Verdict::GapClosed => {
                    writeln!(
                        out,
                        "FAIL       {id:<7} {title}: passes, but is listed as a known gap; strike it"
                    )?;
                }
            }
        }
        if self.known_gaps > 0 {
            writeln!(out, "known gaps: {}", self.known_gaps)?;
        }
        if self.not_announced > 0 {
            writeln!(out, "not announced: {}", self.not_announced)?;
        }
        if let Some(matrix) = profiles::matrix(&self.lines) {
            writeln!(out, "\n{matrix}")?;
        }
        writeln!(out, "{} passed, {} failed", self.passed, self.failed)
    }

    /// Writes the report for programs: one JSON document.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Profile;

    fn report(known: &[&str]) -> Report {
        let outcomes = vec![
            ("XEP-1", Profile::Xep0363, "stores a file", Fate::Passed),
            (
                "XEP-2",
                Profile::Xep0363,
                "refuses strangers",
                Fate::Failed("expected 401; saw 201".to_owned()),
            ),
        ];
        Report::new("http://h".into(), outcomes, &known.iter().map(|id| (*id).to_owned()).collect())
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn failures_are_named_with_their_reason_and_counted() {
        let text = text(&report(&[]));
        assert!(text.contains("FAIL       XEP-2   refuses strangers: expected 401; saw 201\n"), "{text}");
        assert!(text.ends_with("\n1 passed, 1 failed\n"), "{text}");
    }

    #[test]
    fn a_known_gap_does_not_fail_the_run() {
        let report = report(&["XEP-2"]);
        assert_eq!((report.passed, report.failed, report.known_gaps), (1, 0, 1));
        assert!(text(&report).contains("known gap  XEP-2"));
    }

    #[test]
    fn a_known_gap_that_passes_fails_the_run() {
        let report = report(&["XEP-1", "XEP-2"]);
        assert_eq!((report.passed, report.failed, report.known_gaps), (0, 1, 1));
        assert!(text(&report).contains("strike it"));
    }

    #[test]
    fn what_was_not_asked_for_is_counted_by_itself() {
        let fate = Fate::NotAnnounced("Tus-Extension lacks checksum".to_owned());
        let outcomes = vec![("TUS-71", Profile::Tus, "discards a mismatch", fate)];
        let report = Report::new("http://h".into(), outcomes, &BTreeSet::new());
        assert_eq!((report.passed, report.failed, report.not_announced), (0, 0, 1));
        let text = text(&report);
        assert!(
            text.contains("not announced  TUS-71  discards a mismatch: Tus-Extension lacks checksum\n"),
            "{text}"
        );
        assert!(text.ends_with("not announced: 1\n0 passed, 0 failed\n"), "{text}");
    }

    #[test]
    fn the_json_report_has_one_object_for_each_requirement() {
        let mut out = Vec::new();
        report(&[]).write_json(&mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["lines"][0]["result"], "passed");
        assert_eq!(document["lines"][1]["result"], "failed");
        assert_eq!(document["lines"][1]["reason"], "expected 401; saw 201");
        assert_eq!(document["failed"], 1);
    }
}
