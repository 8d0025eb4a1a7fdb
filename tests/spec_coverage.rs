//! Keeps `protocol-spec/` and the code in step: a rule that is `done` is cited where it is enforced or checked, and a
//! citation names a rule that exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where a rule counts as cited.
const CITING: [&str; 3] = ["src", "tests", "conformance/src"];
const STATUSES: [&str; 3] = ["done", "partial", "planned"];

/// A file and what it says.
type Text = (String, String);

/// One row of a page.
#[derive(Debug)]
struct Row {
    page: String,
    id: String,
    status: String,
}

/// `ENG-7` and the like: two to five capitals, a hyphen, a number without leading zeros.
fn is_id(word: &str) -> bool {
    let Some((prefix, number)) = word.split_once('-') else { return false };
    (2..=5).contains(&prefix.len())
        && prefix.bytes().all(|b| b.is_ascii_uppercase())
        && !number.is_empty()
        && !number.starts_with('0')
        && number.bytes().all(|b| b.is_ascii_digit())
}

fn prefix(id: &str) -> &str {
    id.split_once('-').map_or(id, |(prefix, _)| prefix)
}

/// The rows of a page: every line of a table whose first cell is an ID.
fn rows(page: &Text, problems: &mut Vec<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, line) in page.1.lines().enumerate() {
        let Some(inner) = line.trim().strip_prefix('|') else { continue };
        let cells: Vec<&str> = inner.trim_end_matches('|').split(" | ").map(str::trim).collect();
        if !is_id(cells[0]) {
            continue;
        }
        let [id, rule, source, status] = cells.as_slice() else {
            problems.push(format!(
                "{}:{}: a row has an ID, a rule, a source and a status",
                page.0,
                number + 1
            ));
            continue;
        };
        if rule.is_empty() || source.is_empty() {
            problems.push(format!("{}:{}: {id} lacks its rule or its source", page.0, number + 1));
        }
        rows.push(Row { page: page.0.clone(), id: (*id).to_owned(), status: (*status).to_owned() });
    }
    rows
}

/// The words of a line that are IDs, and whether each stands in brackets.
fn citations(line: &str) -> Vec<(&str, bool)> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = line[at..].find(is_inside).map(|n| at + n) {
        let end = line[start..].find(|c| !is_inside(c)).map_or(line.len(), |n| start + n);
        let word = &line[start..end];
        if is_id(word) {
            found.push((word, line[..start].ends_with('[') && line[end..].starts_with(']')));
        }
        at = end;
    }
    found
}

/// Everything that is wrong between these pages and this code.
fn problems(pages: &[Text], code: &[Text]) -> Vec<String> {
    let mut problems = Vec::new();
    let rows: Vec<Row> = pages.iter().flat_map(|page| rows(page, &mut problems)).collect();
    let mut defined: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in &rows {
        if let Some(first) = defined.insert(&row.id, row) {
            problems.push(format!("{} is defined in {} and in {}", row.id, first.page, row.page));
        }
        if !STATUSES.contains(&row.status.as_str()) {
            problems.push(format!("{}: {} has the unknown status {:?}", row.page, row.id, row.status));
        }
    }
    let prefixes: BTreeSet<&str> = defined.keys().map(|id| prefix(id)).collect();
    let mut cited = BTreeSet::new();
    for (file, text) in code {
        for (number, line) in text.lines().enumerate() {
            for (id, is_bracketed) in citations(line) {
                cited.insert(id);
                // The suite's own tests make up IDs; what its cases cite is checked in conformance/tests.
                let is_citation =
                    is_bracketed || !file.starts_with("conformance/") && prefixes.contains(prefix(id));
                if is_citation && !defined.contains_key(id) {
                    problems.push(format!("{file}:{}: {id} is cited, and no page defines it", number + 1));
                }
            }
        }
    }
    for row in rows.iter().filter(|row| row.status == "done" && !cited.contains(row.id.as_str())) {
        problems.push(format!("{}: {} is done, and cited neither in code nor in a case", row.page, row.id));
    }
    problems
}

/// The files below `folder` that people write.
fn files(folder: &Path, wanted: &[&str], found: &mut Vec<Text>) {
    let Ok(entries) = fs::read_dir(folder) else { panic!("{} cannot be listed", folder.display()) };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "node_modules" | "__pycache__" | "target") {
                files(&path, wanted, found);
            }
        } else if path.extension().is_some_and(|e| wanted.iter().any(|w| e == *w)) {
            let relative = path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned();
            found.push((relative, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn pages() -> Vec<Text> {
    let mut pages = Vec::new();
    files(&Path::new(ROOT).join("protocol-spec"), &["md"], &mut pages);
    pages
}

fn code() -> Vec<Text> {
    let mut code = Vec::new();
    for folder in CITING {
        files(&Path::new(ROOT).join(folder), &["rs", "py", "mjs", "sh"], &mut code);
    }
    // Its made-up pages cite what does not exist.
    code.retain(|(file, _)| file != "tests/spec_coverage.rs");
    code
}

#[test]
fn every_rule_that_is_done_is_cited_and_every_citation_is_defined() {
    let (pages, code) = (pages(), code());
    let found: Vec<Row> = pages.iter().flat_map(|page| rows(page, &mut Vec::new())).collect();
    let known: BTreeSet<&str> = found.iter().map(|row| prefix(&row.id)).collect();
    for expected in ["ENG", "AUT", "XEP", "CRG"] {
        assert!(known.contains(expected), "no page defines {expected}: {known:?}");
    }
    assert!(code.len() > 50, "only {} files were read", code.len());
    let problems = problems(&pages, &code);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// No case from outside can see each of the engine's rules, so they are cited both where they are kept and where they
/// are tested.
#[test]
fn every_rule_of_the_engine_is_cited_in_the_server_and_in_a_test() {
    let page = pages().into_iter().find(|(file, _)| file.ends_with("engine.md")).expect("the engine's page");
    let (mut server, mut tests) = (Vec::new(), Vec::new());
    for (file, text) in code() {
        let is_server = file.starts_with("src/") && !file.contains("/tests");
        let at = if is_server { text.find("#[cfg(test)]").unwrap_or(text.len()) } else { 0 };
        server.push((file.clone(), text[..at].to_owned()));
        tests.push((file, text[at..].to_owned()));
    }
    for (place, code) in [("the server", server), ("the tests", tests)] {
        let uncited: Vec<String> = problems(std::slice::from_ref(&page), &code)
            .into_iter()
            .filter(|p| p.contains("is done"))
            .collect();
        assert!(uncited.is_empty(), "in {place}:\n{}", uncited.join("\n"));
    }
}

mod the_checker {
    use super::*;

    const PAGE: &str = "# Made up (ZZZ)\n\n| ID | rule | source | status |\n|---|---|---|---|\n\
        | ZZZ-1 | It shines. | ours | done |\n| ZZZ-2 | It may shine. | ours | planned |\n";

    fn text(name: &str, text: &str) -> Text {
        (name.to_owned(), text.to_owned())
    }

    fn found(pages: &[&str], code: &[(&str, &str)]) -> Vec<String> {
        let pages: Vec<Text> =
            pages.iter().enumerate().map(|(n, page)| text(&format!("page{n}.md"), page)).collect();
        let code: Vec<Text> = code.iter().map(|(file, content)| text(file, content)).collect();
        problems(&pages, &code)
    }

    #[test]
    fn is_content_with_a_citation_in_either_form() {
        for line in ["// [ZZZ-1] it shines", "case!([\"ZZZ-1\"], shines)", "//! as ZZZ-1 asks", "(ZZZ-1)."] {
            assert_eq!(found(&[PAGE], &[("src/a.rs", line)]), [""; 0], "{line}");
        }
    }

    #[test]
    fn names_a_done_rule_that_nobody_cites() {
        for line in ["", "ZZZ-2", "[ZZZ-11]", "ZZZ-1x", "XZZZ-1", "ZZZ_1", "ZZZ-1-2", "zzz-1"] {
            let found = found(&[PAGE], &[("src/a.rs", line)]);
            let missing = "page0.md: ZZZ-1 is done, and cited neither in code nor in a case";
            assert!(found.iter().any(|p| p == missing), "{line:?}: {found:?}");
        }
    }

    #[test]
    fn names_a_citation_that_no_page_defines() {
        let lines =
            "[ZZZ-1] and\n// [ZZZ-3] gone\n// [YYY-1] another page\n// SHA-256, UTF-8, XEP-0363 and [0-9]\n";
        let expected = [
            "src/a.rs:2: ZZZ-3 is cited, and no page defines it",
            "src/a.rs:3: YYY-1 is cited, and no page defines it",
        ];
        assert_eq!(found(&[PAGE], &[("src/a.rs", lines)]), expected);
    }

    #[test]
    fn names_an_id_that_is_given_twice() {
        let twice = "| ZZZ-1 | It shines again. | ours | planned |\n";
        let found = found(&[PAGE, twice], &[("src/a.rs", "[ZZZ-1]")]);
        assert_eq!(found, ["ZZZ-1 is defined in page0.md and in page1.md"]);
    }

    #[test]
    fn names_an_unknown_status_and_a_broken_row() {
        let page = "| ZZZ-4 | It shines. | ours | finished |\n| ZZZ-5 | It shines. | done |\n| ZZZ-6 |  | ours | planned |\n";
        let expected = [
            "page0.md:2: a row has an ID, a rule, a source and a status",
            "page0.md:3: ZZZ-6 lacks its rule or its source",
            "page0.md: ZZZ-4 has the unknown status \"finished\"",
        ];
        assert_eq!(found(&[page], &[]), expected);
    }
}
