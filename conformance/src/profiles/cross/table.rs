//! The ways through the dialects as tables.

use std::fmt::Write as _;

use crate::report::{Line, Verdict};

use super::{WRITERS, name};

const WIDTH: usize = 12;

/// Titles of the ways are `PLACE: DIALECT > DIALECT > DIALECT`: a row for all but the last, a column for the last.
pub(crate) fn matrix(lines: &[Line]) -> Option<String> {
    let ways: Vec<(&str, &str, &str, &Verdict)> = lines.iter().filter_map(way).collect();
    if ways.is_empty() {
        return None;
    }
    let mut text = String::new();
    let (mut place_so_far, mut row_so_far) = ("", "");
    for (place, row, _, _) in &ways {
        if *place != place_so_far {
            let ended = WRITERS.map(|dialect| format!("{:<WIDTH$}", name(dialect))).concat();
            let _infallible = writeln!(text, "{:<32}{}", format!("{place}, ended by"), ended.trim_end());
        }
        if *place != place_so_far || *row != row_so_far {
            let marks = WRITERS.map(|dialect| {
                let found =
                    ways.iter().find(|(p, r, last, _)| p == place && r == row && *last == name(dialect));
                format!("{:<WIDTH$}", found.map_or("-", |(.., verdict)| mark(verdict)))
            });
            let _infallible = writeln!(text, "  {row:<30}{}", marks.concat().trim_end());
        }
        (place_so_far, row_so_far) = (place, row);
    }
    Some(text)
}

fn way(line: &Line) -> Option<(&'static str, &'static str, &'static str, &Verdict)> {
    if line.profile != crate::case::Profile::Cross.name() {
        return None;
    }
    let (place, through) = line.title.split_once(": ")?;
    let (row, last) = through.rsplit_once(" > ")?;
    Some((place, row, last, &line.verdict))
}

fn mark(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✓",
        Verdict::Failed { .. } | Verdict::KnownGap { .. } | Verdict::GapClosed => "✗",
        Verdict::NotAnnounced { .. } => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(title: &'static str, verdict: Verdict) -> Line {
        Line { id: "DIA-1", profile: "cross", title, verdict }
    }

    #[test]
    fn each_way_has_its_place_and_its_mark() {
        let lines = [
            line("slot URL: plain PUT > tus PATCH > plain PUT", Verdict::Passed),
            line("slot URL: plain PUT > tus PATCH > tus PATCH", Verdict::Failed { reason: String::new() }),
            line("parts: tus PATCH > ranged PUT", Verdict::Passed),
            line("every dialect tells the same offset", Verdict::Passed),
        ];
        let expected = "\
slot URL, ended by              plain PUT   ranged PUT  tus PATCH
  plain PUT > tus PATCH         ✓           -           ✗
parts, ended by                 plain PUT   ranged PUT  tus PATCH
  tus PATCH                     -           ✓           -
";
        assert_eq!(matrix(&lines).unwrap(), expected);
        assert_eq!(matrix(&[line("every dialect tells the same offset", Verdict::Passed)]), None);
    }
}
