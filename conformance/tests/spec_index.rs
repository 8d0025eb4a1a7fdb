//! Keeps the tables of cases and the pages of `protocol-spec/` in step: a row without a case checks nothing, and a case
//! without a row cites nothing.

use std::collections::BTreeMap;
use std::path::Path;

use plimsoll_conformance::case::Profile;
use plimsoll_conformance::profiles;

/// What a row says beside its ID.
struct Row {
    rule: String,
    source: String,
    status: String,
}

/// The rows of a page by ID.
fn rows(page: &str, prefix: &str) -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol-spec").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(!text.is_empty(), "{} cannot be read", path.display());
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("| {prefix}-"))) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, rule, source, status] = cells.as_slice() else {
            unreachable!("a row has an ID, a rule, a source and a status: {line}")
        };
        let row =
            Row { rule: (*rule).to_owned(), source: (*source).to_owned(), status: (*status).to_owned() };
        assert!(rows.insert((*id).to_owned(), row).is_none(), "an ID is given once: {line}");
    }
    rows
}

fn pages() -> [(Profile, BTreeMap<String, Row>); 5] {
    [
        (Profile::Xep0363, rows("xep-0363.md", "XEP")),
        (Profile::ContentRange, rows("content-range.md", "CRG")),
        (Profile::Tus, rows("tus-1.0.md", "TUS")),
        (Profile::Cross, rows("one-upload.md", "DIA")),
        (Profile::Session, rows("session.md", "SES")),
    ]
}

#[test]
fn every_row_has_a_case_and_every_case_a_row_on_its_profiles_page() {
    for (profile, rows) in pages() {
        let mut cited: Vec<&str> =
            profiles::cases(profile).flat_map(|(_, case)| case.ids.iter().copied()).collect();
        cited.sort_unstable();
        cited.dedup();
        let mut listed: Vec<&str> = rows.keys().map(String::as_str).collect();
        listed.sort_unstable();
        assert!(listed.len() >= 25, "{} has {} rows", profile.name(), listed.len());
        assert_eq!(listed, cited, "{}", profile.name());
    }
}

#[test]
fn every_row_has_a_rule_a_source_and_a_known_status() {
    for (_, rows) in pages() {
        for (id, row) in rows {
            assert!(row.rule.ends_with('.'), "{id}: the rule is a sentence");
            let sources = ["XEP-0363 section", "RFC ", "tus 1.0.0 ", "Plimsoll: ", "ENG-"];
            for source in row.source.split("; ") {
                assert!(
                    sources.iter().any(|known| source.starts_with(known)),
                    "{id}: unknown source {source:?}"
                );
            }
            assert!(
                ["done", "partial", "planned"].contains(&row.status.as_str()),
                "{id}: unknown status {:?}",
                row.status
            );
        }
    }
}

#[test]
fn a_title_belongs_to_one_case() {
    let mut titles: Vec<&str> =
        Profile::ALL.into_iter().flat_map(profiles::cases).map(|(_, case)| case.title).collect();
    let all = titles.len();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), all);
}
