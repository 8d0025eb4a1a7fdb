//! The arrow: wire -> engine -> ledger, blobs, leases -> upload. Every path in the sources that names one of our modules
//! or an HTTP crate is held against the tables below; tests within the sources may do as they like.
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

/// What each module may name of ours. A module that is not listed here fails, so that nobody forgets it.
const MAY_NAME: [(&str, &[&str]); 22] = [
    ("clock", &[]),
    ("fault", &[]),
    ("id", &[]),
    ("upload", &["clock"]),
    ("telemetry", &["config"]),
    ("ledger", &["session", "upload", "clock", "fault", "telemetry", "private"]),
    ("private", &[]),
    ("blobs", &["upload", "clock", "fault", "telemetry", "private"]),
    ("leases", &["upload", "clock", "fault", "telemetry"]),
    ("engine", &["upload", "clock", "fault", "id", "telemetry", "ledger", "blobs", "leases"]),
    ("auth", &["upload", "clock", "id"]),
    ("config", &["clock", "id"]),
    ("network", &["config"]),
    ("redis_link", &["fault", "telemetry"]),
    ("session", &["upload", "clock", "fault", "id", "network", "redis_link", "telemetry"]),
    ("guard", &["clock", "config", "fault", "redis_link", "telemetry"]),
    (
        "wire",
        &[
            "auth",
            "engine",
            "session",
            "guard",
            "network",
            "upload",
            "clock",
            "fault",
            "id",
            "telemetry",
            "config",
        ],
    ),
    ("listen", &["wire", "guard", "config", "clock", "telemetry"]),
    ("cli", &["app", "auth", "config", "clock", "fault", "id", "telemetry", "upload", "private"]),
    ("app", EVERYTHING),
    ("main", EVERYTHING),
    ("lib", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];

/// Who knows nothing of HTTP: not its requests, and not its vocabulary either.
const FREE_OF_HTTP: [&str; 13] = [
    "clock",
    "fault",
    "id",
    "upload",
    "ledger",
    "blobs",
    "leases",
    "engine",
    "auth",
    "session",
    "guard",
    "network",
    "redis_link",
];
const HTTP_CRATES: [&str; 9] =
    ["salvo", "http", "http_body", "http_body_util", "hyper", "h2", "headers", "reqwest", "axum"];
/// And the server's own crate is named by these only.
const MAY_SERVE: [&str; 4] = ["wire", "listen", "app", "main"];
/// Crates that only few modules may name.
const AT_HOME: [(&str, &[&str]); 4] = [
    ("h2", &["listen"]),
    ("sqlx", &["ledger"]),
    ("object_store", &["blobs"]),
    ("redis", &["redis_link", "session", "guard"]),
];

/// The stores themselves, which only the composition root names; everyone else names their traits.
const STORES: [&str; 11] = [
    "ledger::sqlite",
    "ledger::postgres",
    "blobs::disk",
    "blobs::s3",
    "leases::local",
    "leases::postgres",
    "leases::redis",
    "session::redis",
    "session::fallback",
    "guard::memory",
    "guard::redis",
];

/// Dialects: each can be deleted without the others noticing. `front` picks one for a request.
const ADAPTERS: [&str; 5] =
    ["wire::xep0363", "wire::content_range", "wire::download", "wire::tus", "wire::ietf"];
const MAY_PICK_ADAPTERS: [&str; 2] = ["wire", "wire::front"];

/// A path that some source names, with the module it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Naming {
    file: String,
    line: usize,
    /// The naming module, e.g. `wire::tus::headers`.
    from: String,
    /// What it names: `upload::Name` for our own, with the crate in front for others.
    to: String,
    is_ours: bool,
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn layer(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

/// What is wrong with a path, if anything.
fn objection(naming: &Naming) -> Option<String> {
    let (from, to) = (naming.from.as_str(), naming.to.as_str());
    let here = layer(from);
    let Some((_, may_name)) = MAY_NAME.iter().find(|(module, _)| *module == here) else {
        return Some(format!("module `{here}` is not in the table of what may name what"));
    };
    if !naming.is_ours {
        let named = layer(to);
        let is_barred = HTTP_CRATES.contains(&named) && FREE_OF_HTTP.contains(&here);
        if is_barred || named == "salvo" && !MAY_SERVE.contains(&here) {
            return Some(format!("`{here}` knows nothing of HTTP, so it may not name the crate `{named}`"));
        }
        let home = AT_HOME.iter().find(|(krate, _)| *krate == named);
        return home
            .filter(|(_, home)| !home.contains(&here))
            .map(|(krate, home)| format!("only `{}` may name the crate `{krate}`", home.join("`, `")));
    }
    let there = layer(to);
    if here != there && *may_name != EVERYTHING && !may_name.contains(&there) {
        return Some(format!("`{here}` may name {may_name:?} and not `{there}`"));
    }
    if here != "app"
        && let Some(store) = STORES.iter().find(|store| is_in(to, store) && layer(store) != here)
    {
        return Some(format!("only `app` may name the store `{store}`"));
    }
    let adapter_of = |path: &str| ADAPTERS.into_iter().find(|adapter| is_in(path, adapter));
    match adapter_of(to) {
        Some(other) if !is_in(from, other) && !MAY_PICK_ADAPTERS.contains(&from) => {
            Some(match adapter_of(from) {
                Some(adapter) => format!("the dialect `{adapter}` may not name the dialect `{other}`"),
                None => format!("only `wire::front` may name the dialect `{other}`"),
            })
        }
        Some(_) | None => None,
    }
}

/// A word or a mark of a source, and its line.
type Token = (String, usize);

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// The tokens of a source: names, `::`, and single marks; no comments, no texts.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    let get = |n: usize| chars.get(n).copied().unwrap_or('\0');
    while at < chars.len() {
        let from = at;
        match (get(at), get(at + 1)) {
            ('/', '/') => {
                while at < chars.len() && get(at) != '\n' {
                    at += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (get(at), get(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') | ('b', 'r') if raw_text(&chars, at).is_some() => {
                at = raw_text(&chars, at).expect("it was there a moment ago");
            }
            ('"', _) => at = text(&chars, at),
            ('\'', next) => {
                // A character, or a lifetime.
                at = if next == '\\' {
                    text(&chars, at)
                } else if get(at + 2) == '\'' {
                    at + 3
                } else {
                    at + 2
                };
            }
            (':', ':') => {
                at += 2;
                tokens.push(("::".to_owned(), line));
            }
            (c, _) if c.is_alphabetic() || c == '_' => {
                while get(at).is_alphanumeric() || get(at) == '_' {
                    at += 1;
                }
                tokens.push((chars[from..at].iter().collect(), line));
            }
            (c, _) => {
                at += 1;
                if !c.is_whitespace() {
                    tokens.push((c.to_string(), line));
                }
            }
        }
        line += chars[from..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// Behind the quoted text that begins here.
fn text(chars: &[char], from: usize) -> usize {
    let quote = chars[from];
    let mut at = from + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind the raw text that begins here, if one does.
fn raw_text(chars: &[char], from: usize) -> Option<usize> {
    let mut at = from + chars[from..].iter().take_while(|c| matches!(c, 'b' | 'r')).count();
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    at += hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    (at + 1..chars.len()).find(|n| chars[*n..].starts_with(&end)).map(|n| n + end.len())
}

/// Behind the brackets that open at `from`.
fn closed(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0usize;
    for (n, (token, _)) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n + 1;
        }
    }
    tokens.len()
}

/// The tokens without items under `#[cfg(test)]`, and the modules of other files that stand under one.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let word = |n: usize| tokens.get(n).map_or("", |(token, _)| token.as_str());
    let mut at = 0;
    while at < tokens.len() {
        let is_test_only = word(at) == "#" && word(at + 1) == "[" && word(at + 2) == "cfg" && {
            let inside = &tokens[at + 2..closed(tokens, at + 1)];
            inside.iter().any(|(t, _)| t == "test") && !inside.iter().any(|(t, _)| t == "not")
        };
        if !is_test_only {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        while word(at) == "#" {
            at = closed(tokens, at + 1);
        }
        if word(at) == "mod" && word(at + 2) == ";" {
            modules.push(word(at + 1).to_owned());
        }
        while at < tokens.len() && !matches!(word(at), "{" | ";") {
            at += 1;
        }
        at = if word(at) == "{" { closed(tokens, at) } else { at + 1 };
    }
    (kept, modules)
}

/// Every path below the tokens at `at`, which stand behind `so_far`; returns where it ends.
fn paths(tokens: &[Token], mut at: usize, so_far: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let word = |n: usize| tokens.get(n).map_or("", |(token, _)| token.as_str());
    let mut path = so_far.to_vec();
    let line = tokens.get(at).map_or(0, |(_, line)| *line);
    loop {
        if word(at) == "{" {
            at += 1;
            while !matches!(word(at), "}" | "") {
                at = paths(tokens, at, &path, found);
                // `as name` and the comma.
                while !matches!(word(at), "," | "}" | "") {
                    at += 1;
                }
                if word(at) == "," {
                    at += 1;
                }
            }
            return at + 1;
        }
        if word(at) != "self" || path.is_empty() {
            path.push(word(at).to_owned());
        }
        at += 1;
        let goes_on = |next: &str| next == "{" || next == "*" || is_word(next);
        if word(at) != "::" || !goes_on(word(at + 1)) {
            found.push((path, line));
            return at;
        }
        at += 1;
    }
}

/// The module of a file below `src/`.
fn module_of(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// What the code of these files names; tests are left out.
fn namings(files: &BTreeMap<String, String>) -> Vec<Naming> {
    let modules: BTreeSet<String> = files.keys().map(|file| module_of(file)).collect();
    let mut sources = Vec::new();
    let mut test_only = BTreeSet::new();
    for (file, source) in files {
        let module = module_of(file);
        let (tokens, tests) = without_tests(&tokens(source));
        let inside =
            if matches!(module.as_str(), "lib" | "main") { String::new() } else { format!("{module}::") };
        test_only.extend(tests.into_iter().map(|name| format!("{inside}{name}")));
        sources.push((file, module, tokens));
    }
    sources.retain(|(_, module, _)| !test_only.iter().any(|test| is_in(module, test)));
    let mut namings = Vec::new();
    for (file, module, tokens) in sources {
        let mut found = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let begins = |n: usize| {
                let before = if n == 0 { "" } else { tokens[n - 1].0.as_str() };
                let is_rooted = n < 2 || !is_word(&tokens[n - 2].0) && tokens[n - 2].0 != ">";
                (before != "::" || is_rooted) && tokens.get(n + 1).is_some_and(|(t, _)| t == "::")
            };
            if tokens[at].0 == "use" {
                // `use ::name` and `use name;` are paths too.
                at += 1;
                if tokens.get(at).is_some_and(|(t, _)| t == "::") {
                    at += 1;
                }
                at = paths(&tokens, at, &[], &mut found);
            } else if is_word(&tokens[at].0) && begins(at) {
                at = paths(&tokens, at, &[], &mut found);
            } else {
                at += 1;
            }
        }
        for (path, line) in found {
            if let Some((to, is_ours)) = resolve(&module, &path, &modules) {
                namings.push(Naming { file: file.clone(), line, from: module.clone(), to, is_ours });
            }
        }
    }
    namings
}

/// What a path means in a module: a path of ours, or one of another crate; `None` for what is neither.
fn resolve(module: &str, path: &[String], modules: &BTreeSet<String>) -> Option<(String, bool)> {
    let is_root = matches!(module, "lib" | "main");
    let mut inside: Vec<&str> = if is_root { Vec::new() } else { module.split("::").collect() };
    let first = path.first()?.as_str();
    let mut rest = path;
    match first {
        "crate" | "plimsoll" => (inside, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                inside.pop();
                rest = &rest[1..];
            }
        }
        _ => {
            let child: String = inside.iter().copied().chain([first]).collect::<Vec<_>>().join("::");
            if !modules.contains(&child) {
                // A crate, or a type, or a name that is in scope; only crates are in the tables.
                return first.chars().all(|c| !c.is_uppercase()).then(|| (path.join("::"), false));
            }
        }
    }
    let full: Vec<&str> = inside.into_iter().chain(rest.iter().map(String::as_str)).collect();
    let ours = full.first().is_some_and(|top| modules.contains(*top));
    ours.then(|| (full.join("::"), true))
}

fn objections(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut objections: Vec<String> = namings(files)
        .iter()
        .filter_map(|n| objection(n).map(|why| format!("{}:{}: `{}`: {why}", n.file, n.line, n.to)))
        .collect();
    objections.dedup();
    objections
}

fn sources() -> BTreeMap<String, String> {
    fn read(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, root, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    read(&root.join("src"), root, &mut found);
    found
}

#[test]
fn no_module_names_another_against_the_arrow() {
    let sources = sources();
    let named = namings(&sources);
    // A reader that finds nothing would object to nothing.
    for (from, to) in [
        ("engine", "ledger"),
        ("engine", "blobs"),
        ("wire", "engine"),
        ("app", "ledger"),
        ("ledger", "upload"),
    ] {
        let is_seen = named.iter().any(|n| layer(&n.from) == from && n.is_ours && layer(&n.to) == to);
        assert!(is_seen, "`{from}` names `{to}`, and it was not seen");
    }
    let objections = objections(&sources);
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

mod the_reader {
    use super::*;

    /// A small house that keeps the rules, with one file replaced or added.
    fn house(file: &str, source: &str) -> Vec<String> {
        let plain = [
            ("src/lib.rs", "pub mod engine; pub mod wire; pub mod upload; pub mod ledger; pub mod app;"),
            ("src/app.rs", "use crate::ledger::sqlite::SqliteLedger; use salvo::Server;"),
            ("src/upload.rs", "use crate::clock::Timestamp;"),
            ("src/clock.rs", ""),
            ("src/fault.rs", ""),
            ("src/auth/mod.rs", ""),
            ("src/config/mod.rs", ""),
            ("src/leases/mod.rs", "mod local; use local::Release;"),
            ("src/leases/local.rs", "use super::Lease;"),
            ("src/blobs/mod.rs", "pub mod disk;"),
            ("src/blobs/disk.rs", "use super::Blobs; use crate::{fault::Fault, upload::{BlobKey, Offset}};"),
            ("src/ledger/mod.rs", "pub mod sqlite; use crate::upload::Upload;"),
            ("src/ledger/sqlite.rs", "use sqlx::SqlitePool; use super::Ledger;"),
            ("src/engine/mod.rs", "use crate::{ledger::Ledger, upload::Upload}; use bytes::Bytes;"),
            ("src/engine/decide.rs", "use crate::upload::{Offset, Phase}; use super::Refusal;"),
            ("src/wire/mod.rs", "mod front; mod tus; use http::Method; use crate::engine::Engine;"),
            ("src/wire/front.rs", "use super::{tus, xep0363, download}; fn a() { tus::answer(); }"),
            ("src/wire/tus/mod.rs", "mod headers; use headers::Offset; use super::reply::Reply;"),
            ("src/wire/tus/headers.rs", "use super::Thing; use crate::wire::tus;"),
            ("src/wire/xep0363.rs", "use super::reply::Reply; use crate::auth::Grant;"),
            ("src/wire/download.rs", ""),
            ("src/wire/reply.rs", "use crate::fault::Fault;"),
        ];
        let mut files: BTreeMap<String, String> =
            plain.into_iter().map(|(file, source)| (file.to_owned(), source.to_owned())).collect();
        files.insert(file.to_owned(), source.to_owned());
        objections(&files)
    }

    #[test]
    fn objects_to_nothing_in_a_house_that_keeps_the_rules() {
        assert_eq!(house("src/id.rs", ""), [""; 0]);
    }

    #[test]
    fn names_file_line_and_rule_of_a_forbidden_path() {
        let found = house(
            "src/engine/decide.rs",
            "//! Rules.\n\nuse crate::{\n    upload::Phase,\n    wire::reply,\n};\n",
        );
        let may = r#"["upload", "clock", "fault", "id", "telemetry", "ledger", "blobs", "leases"]"#;
        let rule = format!("src/engine/decide.rs:5: `wire::reply`: `engine` may name {may} and not `wire`");
        assert_eq!(found, [rule]);
    }

    #[test]
    fn objects_to_each_forbidden_path_however_it_is_written() {
        for (file, source, rule) in [
            ("src/engine/decide.rs", "use crate::auth::Grant;", "not `auth`"),
            ("src/engine/decide.rs", "use crate::config::{self as c, Config};", "not `config`"),
            ("src/engine/decide.rs", "fn a() -> crate::wire::Reply { crate::wire::Reply }", "not `wire`"),
            ("src/engine/decide.rs", "use super::super::wire::Reply;", "not `wire`"),
            ("src/engine/decide.rs", "use salvo::http::StatusCode;", "nothing of HTTP"),
            ("src/engine/decide.rs", "use http as h;", "nothing of HTTP"),
            ("src/engine/decide.rs", "fn a() { let x = ::http::StatusCode::OK; }", "nothing of HTTP"),
            ("src/engine/decide.rs", "use {bytes::Bytes, hyper::{body, Uri}};", "nothing of HTTP"),
            ("src/engine/decide.rs", "use headers::Range;", "nothing of HTTP"),
            (
                "src/engine/mod.rs",
                "use crate::ledger::sqlite::SqliteLedger;",
                "only `app` may name the store",
            ),
            ("src/engine/mod.rs", "use crate::ledger::{Ledger, sqlite};", "only `app` may name the store"),
            ("src/engine/mod.rs", "use sqlx::query;", "only `ledger` may name the crate"),
            (
                "src/ledger/mod.rs",
                "use redis::Client;",
                "only `redis_link`, `session`, `guard` may name the crate",
            ),
            ("src/wire/reply.rs", "use crate::blobs::disk::DiskBlobs;", "not `blobs`"),
            ("src/wire/reply.rs", "use crate::ledger::Ledger;", "not `ledger`"),
            ("src/wire/reply.rs", "use super::tus::headers;", "only `wire::front` may name the dialect"),
            ("src/wire/xep0363.rs", "use super::tus;", "may not name the dialect `wire::tus`"),
            ("src/wire/tus/headers.rs", "use crate::wire::{download::serve};", "may not name the dialect"),
            ("src/wire/tus/mod.rs", "fn a() { super::xep0363::put() }", "may not name the dialect"),
            ("src/upload.rs", "use crate::fault::Fault;", "not `fault`"),
            ("src/ledger/mod.rs", "use crate::engine::Engine;", "not `engine`"),
            ("src/blobs/disk.rs", "use crate::ledger::Ledger;", "not `ledger`"),
            ("src/auth/mod.rs", "use crate::engine::Refusal;", "not `engine`"),
            ("src/auth/mod.rs", "use salvo::Request;", "nothing of HTTP"),
            ("src/config/mod.rs", "use salvo::Request;", "nothing of HTTP"),
            ("src/gadget.rs", "use crate::upload::Name;", "not in the table"),
        ] {
            let found = house(file, source);
            assert!(found.iter().any(|o| o.starts_with(file) && o.contains(rule)), "{source}: {found:?}");
        }
    }

    #[test]
    fn takes_no_notice_of_comments_texts_and_tests() {
        for source in [
            "// use crate::wire::Reply;\n/* crate::wire::a /* crate::wire::b */ crate::wire::c */",
            r##"const A: &str = "use crate::wire;"; const B: &str = r#"crate::wire::"x""#; const C: char = '"';"##,
            "fn a<'a>(x: &'a str) -> char { '\\'' } // crate::wire::x",
            "#[cfg(test)]\nmod tests { use crate::wire::Reply; fn a() { { crate::auth::b() } } }\nuse crate::upload::Name;",
            "#[cfg(test)]\n#[allow(dead_code)]\nuse crate::wire::Reply;\nuse crate::upload::Name;",
            "#[cfg(all(test, unix))] fn a() { crate::wire::x() }",
        ] {
            assert_eq!(house("src/engine/decide.rs", source), [""; 0], "{source}");
        }
        // But what stands behind a test counts again, and so does what is not a test.
        for source in [
            "#[cfg(test)]\nmod tests { use crate::wire::Reply; }\nuse crate::wire::Reply;",
            "#[cfg(not(test))]\nuse crate::wire::Reply;",
            "const C: char = '\"'; use crate::wire::Reply; const D: char = '\"';",
        ] {
            assert_eq!(house("src/engine/decide.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn leaves_out_test_modules_in_files_of_their_own() {
        assert_eq!(house("src/engine/tests.rs", "use crate::wire::Reply;").len(), 1);
        let mut files = BTreeMap::from([
            ("src/engine/mod.rs".to_owned(), "#[cfg(test)]\nmod tests;".to_owned()),
            ("src/engine/tests/mod.rs".to_owned(), "use crate::wire::Reply;".to_owned()),
            ("src/engine/tests/more.rs".to_owned(), "use crate::wire::Reply;".to_owned()),
            ("src/wire.rs".to_owned(), String::new()),
        ]);
        assert_eq!(objections(&files), [""; 0]);
        files.insert("src/engine/more.rs".to_owned(), "use crate::wire::Reply;".to_owned());
        assert_eq!(objections(&files).len(), 1);
    }
}
