//! Common mistakes in a configuration, recognised by their shape: each gets a text that says what to write instead.
//!
//! No text here repeats a value: it may be a secret. Names of keys and sections are repeated.

use super::{Config, nearest};

/// What is wrong, and what to do about it.
pub(super) struct Mistake {
    pub(super) wrong: String,
    pub(super) advice: String,
}

impl Mistake {
    fn new(wrong: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), advice: advice.into() }
    }
}

/// Quotation marks that an editor for prose puts in place of the straight ones.
const CURLY: [char; 8] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}'];

/// A report of the TOML parser at the byte `offset` of `text`. The message of the parser alone names neither the key
/// nor the way out.
pub(super) fn in_toml(text: &str, offset: usize, message: &str) -> Mistake {
    let line = line_at(text, offset);
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_bare(key));
    if message.contains("duplicate key") {
        return twice(text, offset);
    }
    let value = line.split_once('=').map(|(_, value)| value.trim()).unwrap_or_default();
    if value.contains(CURLY) {
        let wrong = format!("not TOML: the value of {} stands in curly quotes", key.unwrap_or("a key"));
        return Mistake::new(wrong, "write straight double quotes: \"...\"");
    }
    let is_quoted = value.starts_with(['"', '\'', '[', '{']);
    if let Some(key) = key.filter(|_| !value.is_empty() && !is_quoted) {
        let wrong = format!("not TOML: the value of {key} is neither a number nor true or false");
        return Mistake::new(wrong, format!("put the value in double quotes: {key} = \"...\""));
    }
    let advice = "correct the TOML of this line; `plimsoll config` prints a file to start from";
    Mistake::new(format!("not TOML: {message}"), advice)
}

/// A key or section that was set before.
fn twice(text: &str, offset: usize) -> Mistake {
    let line = line_at(text, offset);
    let before = text.get(..offset).unwrap_or_default();
    let number = |matches: &dyn Fn(&str) -> bool| before.lines().position(matches).map(|at| at + 1);
    if line.trim_start().starts_with('[') {
        let heading =
            line.split_once(']').map_or(line, |(name, _)| name).trim().trim_start_matches('[').trim();
        let is_same = |other: &str| {
            let name = other.trim().strip_prefix('[').and_then(|rest| rest.split_once(']'));
            name.is_some_and(|(name, _)| name.trim() == heading)
        };
        let first = number(&is_same).map_or_else(String::new, |line| format!(", first in line {line}"));
        let advice = format!("move the keys below this line to the first [{heading}], and remove this line");
        return Mistake::new(format!("[{heading}] stands twice{first}"), advice);
    }
    let key = line.split_once('=').map_or(line, |(key, _)| key).trim();
    let is_same = |other: &str| other.split_once('=').is_some_and(|(other, _)| other.trim() == key);
    let first = before.lines().enumerate().filter(|(_, line)| is_same(line)).last();
    let first = first.map_or_else(String::new, |(at, _)| format!(", first in line {}", at + 1));
    Mistake::new(format!("{key} is set twice{first}"), "remove one of the two lines")
}

/// The line that holds the byte at `offset`.
fn line_at(text: &str, offset: usize) -> &str {
    let at = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = text.split_at(at);
    let from = before.rfind('\n').map_or(0, |newline| newline + 1);
    let to = after.find('\n').map_or(text.len(), |newline| at + newline);
    text.get(from..to).unwrap_or_default()
}

/// Whether a key can stand without quotes.
fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Names under which operators look for TLS.
const TLS: [&str; 5] = ["tls", "ssl", "https", "acme", "certificate"];

/// A name at the top of the file that is no section. A key there belongs below the heading of its section.
pub(super) fn at_top(config: &Config, name: &str, is_table: bool) -> Mistake {
    let what = if is_table { "section" } else { "key or section" };
    let unknown = format!("there is no such {what}");
    if TLS.contains(&name.to_ascii_lowercase().as_str()) {
        let wrong = format!("{unknown}: this server speaks HTTP without TLS");
        let advice = "remove it; let nginx, haproxy or Caddy in front terminate TLS, and set [server] public_url to \
                      its https URL";
        return Mistake::new(wrong, advice);
    }
    if !is_table {
        let owners = owners(config, name);
        if !owners.is_empty() {
            let headings: Vec<_> = owners.iter().map(|owner| format!("[{owner}]")).collect();
            let advice = format!("move it below a line {}", headings.join(" or "));
            return Mistake::new("this key stands outside of its section", advice);
        }
    }
    let advice = match nearest(name, config.sections().map(|section| section.name())) {
        Some(meant) => format!("did you mean [{meant}]? rename it"),
        None => "remove it; `plimsoll config` prints every section and key".to_owned(),
    };
    Mistake::new(unknown, advice)
}

/// The sections that have a key of this name.
pub(super) fn owners(config: &Config, key: &str) -> Vec<&'static str> {
    let has = |section: &&dyn super::Section| section.fields().iter().any(|field| field.key == key);
    config.sections().into_iter().filter(has).map(|section| section.name()).collect()
}

/// An environment variable of our prefix that sets no key: a mistake, or a foreign one that is left alone.
pub(super) enum Variable {
    /// It was meant for a key.
    Mistaken(String),
    /// It sets nothing and is named in the log.
    Ignored,
    /// Made by an orchestrator for a service of our name, or read by our own tests: not worth a line.
    Foreign,
}

/// Judge a variable without the two underscores of a key, by the rest of its name and its value.
pub(super) fn variable(config: &Config, rest: &str, value: &str) -> Variable {
    if rest == "CONFIG" || is_injected(rest, value) {
        return Variable::Foreign;
    }
    let lower = rest.to_ascii_lowercase();
    if rest == "PORT" || rest == "HOST" || rest == "ADDRESS" {
        return Variable::Mistaken(
            "did you mean PLIMSOLL_SERVER__LISTEN=ADDRESS:PORT? rename or unset it".to_owned(),
        );
    }
    match owners(config, &lower).as_slice() {
        [one] => {
            let meant = format!("PLIMSOLL_{}__{rest}", one.to_ascii_uppercase());
            Variable::Mistaken(format!("did you mean {meant}? rename or unset it"))
        }
        // A name as common as "secret" may be another program's.
        _ => Variable::Ignored,
    }
}

/// What container runtimes set for a service called "plimsoll": PLIMSOLL_SERVICE_HOST, PLIMSOLL_PORT=tcp://...,
/// PLIMSOLL_PORT_8080_TCP_ADDR.
fn is_injected(rest: &str, value: &str) -> bool {
    rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.contains("PORT_")
        || (rest.ends_with("PORT") && value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> String {
        let (_, errors) = toml::de::DeTable::parse_recoverable(text);
        let error = errors.into_iter().next().expect("an error");
        let Mistake { wrong, advice } = in_toml(text, error.span().unwrap().start, error.message());
        format!("{wrong}; {advice}")
    }

    #[test]
    fn a_value_without_quotes_is_told_to_have_them() {
        for text in [
            "[server]\nlisten = 127.0.0.1:8080\n",
            "[server]\nlisten = localhost:8080\n",
            "[server]\nlisten = :8080\n",
            "[server]\nlisten = [::1]:8080\n",
            "[store]\npath = /var/lib/plimsoll # here\n",
            "[store]\npath = ./data",
            "[limits]\nbody_gap = 60s\n",
            "[store]\nmax_size = 1 GiB\n",
            "[metrics]\nenabled = yes\n",
        ] {
            let told = toml(text);
            assert!(told.contains("double quotes") || text.contains("[::1]"), "{text}: {told}");
            assert!(!told.contains("127.0.0.1") && !told.contains("var/lib"), "a value is repeated: {told}");
        }
    }

    #[test]
    fn curly_quotes_are_named() {
        let told = toml("[slots]\nsecret = “hush”\n");
        assert!(told.contains("curly") && told.contains("secret") && !told.contains("hush"), "{told}");
    }

    #[test]
    fn what_stands_twice_is_named_with_its_first_line() {
        let told = toml("[server]\nlisten = \"a\"\nthreads = 1\nlisten = \"b\"\n");
        assert_eq!(told, "listen is set twice, first in line 2; remove one of the two lines");
        let told = toml("[server]\nthreads = 1\n\n[store]\n[server] # again\nlisten = \"b\"\n");
        assert!(told.starts_with("[server] stands twice, first in line 1; move the keys"), "{told}");
    }

    #[test]
    fn a_broken_line_of_any_kind_is_survived() {
        for text in [
            "=",
            "[",
            "[[",
            "é = ",
            "a = \"\u{1f600}",
            "\"",
            "[server]\nlisten = \"127.0.0.1:8080",
            "a = 'é\n",
        ] {
            assert!(!toml(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn tls_is_told_where_to_go() {
        let Mistake { wrong, advice } = at_top(&Config::default(), "tls", true);
        assert!(wrong.contains("without TLS") && advice.contains("nginx"), "{wrong} {advice}");
    }

    #[test]
    fn a_key_at_the_top_is_sent_to_each_section_that_has_it() {
        let config = Config::default();
        assert_eq!(at_top(&config, "listen", false).advice, "move it below a line [server] or [metrics]");
        assert!(at_top(&config, "trusted_proxies", false).advice.contains("[server]"));
        assert!(at_top(&config, "serverr", true).advice.contains("did you mean [server]"));
        assert!(at_top(&config, "xyzzy", true).advice.contains("plimsoll config"));
    }

    #[test]
    fn variables_are_told_apart() {
        let config = Config::default();
        for (rest, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT_HTTP", "80"),
            ("PORT", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP_ADDR", "10.0.0.1"),
            ("CONFIG", "x"),
        ] {
            assert!(matches!(variable(&config, rest, value), Variable::Foreign), "{rest}");
        }
        for rest in ["TRUSTED_PROXIES", "MAX_SIZE", "PORT", "DURABILITY"] {
            assert!(matches!(variable(&config, rest, "x"), Variable::Mistaken(_)), "{rest}");
        }
        for rest in ["BIN", "SECRET", "FOO", ""] {
            assert!(matches!(variable(&config, rest, "x"), Variable::Ignored), "{rest}");
        }
    }
}
