//! From a file and the environment to a [`Config`], or to every problem there is.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ALSO, Config, Field, Raw, Section, SlotsAlso, nearest, validate::validate};

/// What the environment variables that set keys begin with; `PLIMSOLL_SERVER__LISTEN` is `[server] listen`.
pub const ENV_PREFIX: &str = "PLIMSOLL_";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody set it.
    Default,
    /// A line, counted from 1, of the configuration file.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Env(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Env(name) => f.write_str(name),
        }
    }
}

/// One mistake: where, in which key, what, what is accepted instead, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// As in `[server] listen`; empty when the mistake is not in a key.
    pub key: String,
    pub wrong: String,
    /// Empty when nothing can be said.
    pub accepted: String,
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.wrong)?;
        if !self.accepted.is_empty() {
            write!(f, "\n    accepted: {}", self.accepted)?;
        }
        write!(f, "\n    to do: {}", self.advice)
    }
}

/// Every mistake that was found, one after the other; never empty.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

/// A valid configuration and where each of its values came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    origins: Origins,
}

/// Places of the values that somebody set, by section and key.
pub(super) type Origins = BTreeMap<(String, String), Place>;

impl Loaded {
    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> &Place {
        self.origins.get(&(section.to_owned(), key.to_owned())).unwrap_or(&Place::Default)
    }
}

/// Reads `file` (none: defaults), lays the environment over it and checks the whole.
///
/// `env` is what `std::env::vars_os` yields; of it, names of the form `PLIMSOLL_SECTION__KEY` count.
///
/// # Errors
/// All problems of the file and the environment; the checks between keys run once these are gone.
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let mut loader = Loader::default();
    if let Some(path) = file {
        loader.read_file(path);
    }
    let mut env: Vec<_> = env.into_iter().collect();
    env.sort();
    for (name, value) in env {
        loader.read_env(&name, value);
    }
    let Loader { config, origins, mut problems } = loader;
    if problems.is_empty() {
        problems = validate(&config, &origins);
    }
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(ConfigError { problems }) }
}

#[derive(Default)]
struct Loader {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
}

/// A file that is being read, to tell the lines of its values.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Place::File { path: self.path.to_owned(), line }
    }
}

impl Loader {
    fn complain(
        &mut self,
        place: Place,
        key: impl Into<String>,
        wrong: String,
        accepted: &str,
        advice: String,
    ) {
        self.problems.push(Problem { place, key: key.into(), wrong, accepted: accepted.to_owned(), advice });
    }

    fn read_file(&mut self, path: &Path) {
        let whole = Place::File { path: path.to_owned(), line: 0 };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                let advice = "name a readable file with --config, or leave --config away".to_owned();
                return self.complain(whole, "", format!("cannot be read: {why}"), "", advice);
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(why) => {
                let good = why.utf8_error().valid_up_to();
                let line = 1 + why.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
                let place = Place::File { path: path.to_owned(), line };
                let advice = "save the file as UTF-8".to_owned();
                return self.complain(place, "", "a byte here is not UTF-8".to_owned(), "", advice);
            }
        };
        let source = Source { path, text: &text };
        // The parser's own report shows the line, which may hold a secret: only its message is passed on.
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let place = error.span().map_or(whole.clone(), |span| source.place(span.start));
            let advice =
                "correct the TOML of this line; `plimsoll config` prints a file to start from".to_owned();
            self.complain(place, "", format!("not TOML: {}", error.message()), "", advice);
        }
        if self.problems.is_empty() {
            for (name, value) in table.get_ref() {
                self.read_section(&source, name, value);
            }
        }
    }

    fn read_section(
        &mut self,
        source: &Source<'_>,
        name: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let place = source.place(name.span().start);
        let name = name.get_ref().as_ref();
        let Some(section) = self.config.section_mut(name) else {
            let (wrong, advice) = unknown_section(&self.config, name, value.get_ref().is_table());
            let accepted = names(self.config.sections().iter().map(|s| s.name()));
            return self.complain(place, format!("[{name}]"), wrong, &accepted, advice);
        };
        let DeValue::Table(table) = value.get_ref() else {
            let wrong =
                format!("a {} stands where a section belongs", Raw::from_toml(value.get_ref()).kind());
            let keys = names(section.fields().iter().map(|f| f.key));
            let advice = format!("write [{name}] on a line of its own and the keys below it: {keys}");
            return self.complain(place, format!("[{name}]"), wrong, "", advice);
        };
        for (key, value) in table {
            let place = source.place(key.span().start);
            let key = key.get_ref().as_ref();
            if name == "slots" && key == ALSO {
                self.read_also(source, place, value.get_ref());
            } else {
                let raw = Raw::from_toml(value.get_ref());
                self.set(name, key, &raw, place);
            }
        }
    }

    fn read_also(&mut self, source: &Source<'_>, place: Place, value: &DeValue<'_>) {
        let tables: Option<Vec<_>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.get_ref().as_table()).collect());
        let Some(tables) = tables else {
            let advice = "write [[slots.also]], in double brackets, on a line of its own".to_owned();
            return self.complain(
                place,
                "[[slots.also]]",
                "this is no list of tables".to_owned(),
                "",
                advice,
            );
        };
        for table in tables {
            let mut also = SlotsAlso::default();
            let section = also_name(self.config.slots_also.len());
            // Complaints about what a table lacks point at its first key, as the table itself has no line here.
            let first = table.keys().map(|key| key.span().start).min();
            self.origins
                .insert((section.clone(), String::new()), first.map_or(place.clone(), |at| source.place(at)));
            for (key, value) in table {
                let place = source.place(key.span().start);
                let raw = Raw::from_toml(value.get_ref());
                match set_in(&mut also, key.get_ref(), &raw, &place) {
                    Ok(key) => {
                        self.origins.insert((section.clone(), key.to_owned()), place);
                    }
                    Err(problem) => self.problems.push(*problem),
                }
            }
            self.config.slots_also.push(also);
        }
    }

    fn read_env(&mut self, name: &OsString, value: OsString) {
        let Some(name) = name.to_str() else { return };
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return };
        let place = Place::Env(name.to_owned());
        let known = env_names(&self.config);
        let Some(target) = known.iter().find(|known| known.name == name) else {
            let flat = |name: &str| name.replace("__", "_");
            // Other PLIMSOLL_ variables are not ours: orchestrators inject some for a service of our name.
            let meant = if rest.contains("__") {
                nearest(&name.to_lowercase(), known.iter().map(|k| k.lower.as_str()))
                    .and_then(|lower| known.iter().find(|k| k.lower == lower))
            } else {
                let Some(meant) = known.iter().find(|k| flat(&k.name) == flat(name)) else { return };
                Some(meant)
            };
            let advice = match meant {
                Some(meant) => format!("did you mean {}? rename or unset it", meant.name),
                None if rest == "SLOTS__ALSO" => "further base paths can be set in a file only".to_owned(),
                None => "unset it; `plimsoll config` lists every key".to_owned(),
            };
            let wrong = "this environment variable sets no key".to_owned();
            let accepted = "PLIMSOLL_SECTION__KEY, in capitals, with two underscores between section and key";
            return self.complain(place, "", wrong, accepted, advice);
        };
        let (section, key) = (target.section, target.key);
        match value.into_string() {
            Ok(value) => self.set(section, key, &Raw::Env(value), place),
            Err(_) => {
                let advice =
                    "set it to UTF-8 text; a secret of other bytes goes into a secret_file".to_owned();
                self.complain(
                    place,
                    format!("[{section}] {key}"),
                    "the value is not UTF-8".to_owned(),
                    "",
                    advice,
                );
            }
        }
    }

    fn set(&mut self, section: &str, key: &str, raw: &Raw, place: Place) {
        let Some(target) = self.config.section_mut(section) else { return };
        match set_in(target, key, raw, &place) {
            Ok(key) => {
                self.origins.insert((section.to_owned(), key.to_owned()), place);
            }
            Err(mut problem) => {
                if let Some(owner) = owner_of(&self.config, key).filter(|owner| *owner != section)
                    && problem.accepted.is_empty()
                {
                    problem.advice = format!("move it to [{owner}], where this key belongs");
                }
                self.problems.push(*problem);
            }
        }
    }
}

/// The section that has a key of this name, if just one has.
fn owner_of(config: &Config, key: &str) -> Option<&'static str> {
    let mut owners = config.sections().into_iter().filter(|s| s.fields().iter().any(|f| f.key == key));
    let owner = owners.next()?;
    owners.next().is_none().then(|| owner.name())
}

/// The name under which the places of a `[[slots.also]]` table are kept.
pub(super) fn also_name(at: usize) -> String {
    format!("slots.also.{at}")
}

/// Sets one key of a section and answers the key's name, or says what was wrong.
fn set_in(
    section: &mut dyn Section,
    key: &str,
    raw: &Raw,
    place: &Place,
) -> Result<&'static str, Box<Problem>> {
    let heading = heading(section.name());
    let Some(field) = section.fields().iter().find(|field| field.key == key) else {
        let known = section.fields().iter().map(|field| field.key);
        let advice = match nearest(key, known.clone()) {
            Some(meant) => format!("did you mean {meant:?}? rename it"),
            None => format!("remove it; the keys of {heading} are {}", names(known)),
        };
        let wrong = "there is no such key".to_owned();
        let key = format!("{heading} {key}");
        return Err(Box::new(Problem { place: place.clone(), key, wrong, accepted: String::new(), advice }));
    };
    match section.set(key, raw) {
        Some(Err(wrong)) => Err(Box::new(Problem {
            place: place.clone(),
            key: format!("{heading} {key}"),
            wrong,
            accepted: field.accepts.to_owned(),
            advice: example_line(section, field, place),
        })),
        Some(Ok(())) | None => Ok(field.key),
    }
}

/// `[server]`, or `[[slots.also]]` for the one that repeats.
pub(super) fn heading(section: &str) -> String {
    if section.contains('.') { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// How the key could be written where the wrong value stands.
fn example_line(section: &dyn Section, field: &Field, place: &Place) -> String {
    let untouched = Config::default();
    let default =
        untouched.sections().into_iter().find(|s| s.name() == section.name()).and_then(|s| s.get(field.key));
    let value = field.examples.first().map(|text| (*text).to_owned()).or(default).unwrap_or_default();
    match place {
        Place::Env(name) => format!("write for example {name}={}", value.trim_matches(['"', '[', ']'])),
        Place::File { .. } | Place::Default => format!("write for example {} = {value}", field.key),
    }
}

fn unknown_section(config: &Config, name: &str, is_table: bool) -> (String, String) {
    let sections = config.sections().map(|section| section.name());
    if !is_table && let Some(owner) = owner_of(config, name) {
        return (
            "this key stands outside of its section".to_owned(),
            format!("move it below a line [{owner}]"),
        );
    }
    let what = if is_table { "section" } else { "key or section" };
    let advice = match nearest(name, sections) {
        Some(meant) => format!("did you mean [{meant}]? rename it"),
        None => "remove it".to_owned(),
    };
    (format!("there is no such {what}"), advice)
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

struct EnvName {
    name: String,
    lower: String,
    section: &'static str,
    key: &'static str,
}

/// The environment variable of every key that has one.
fn env_names(config: &Config) -> Vec<EnvName> {
    let keys = config.sections().into_iter().flat_map(|s| s.fields().iter().map(move |f| (s.name(), f.key)));
    keys.map(|(section, key)| {
        let name = format!("{ENV_PREFIX}{section}__{key}").to_uppercase();
        EnvName { lower: name.to_lowercase(), name, section, key }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStringExt as _};

    use super::*;
    use crate::config::{Durability, Size};

    fn load_text(text: impl AsRef<[u8]>, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        fs::write(&path, text).unwrap();
        load(Some(&path), env.iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// The only problem of a file and an environment.
    fn problem(text: impl AsRef<[u8]>, env: &[(&str, &str)]) -> Problem {
        let problems = load_text(text, env).unwrap_err().problems;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(!problems[0].wrong.is_empty() && !problems[0].advice.is_empty(), "{problems:#?}");
        problems.into_iter().next().unwrap()
    }

    fn line(problem: &Problem) -> usize {
        match &problem.place {
            Place::File { line, .. } => *line,
            Place::Default | Place::Env(_) => panic!("{problem:?}"),
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let loaded = load_text("", &[]).unwrap();
        assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
        assert_eq!(loaded.origin("server", "listen"), &Place::Default);
    }

    #[test]
    fn a_missing_file_and_a_directory_are_explained() {
        for path in ["/nowhere/plimsoll.toml", "/"] {
            let problems = load(Some(Path::new(path)), []).unwrap_err().problems;
            assert!(problems[0].wrong.contains("cannot be read") && problems[0].advice.contains("--config"));
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_both_are_remembered() {
        let text = "[server]\nthreads = 2\n[store]\nmax_size = '2 GiB'\ndurability = 'relaxed'\n";
        let loaded = load_text(text, &[("PLIMSOLL_STORE__MAX_SIZE", "3 GiB"), ("HOME", "/")]).unwrap();
        assert_eq!(loaded.config.store.max_size, Size::gib(3));
        assert_eq!(loaded.config.store.durability, Durability::Relaxed);
        assert_eq!(loaded.config.server.threads, 2);
        assert_eq!(loaded.origin("store", "max_size"), &Place::Env("PLIMSOLL_STORE__MAX_SIZE".into()));
        assert!(matches!(loaded.origin("store", "durability"), Place::File { line: 5, .. }));
    }

    #[test]
    fn every_key_can_be_set_by_the_environment() {
        for known in env_names(&Config::default()) {
            let config = Config::default();
            let section = config.sections().into_iter().find(|s| s.name() == known.section).unwrap();
            let field = section.fields().iter().find(|f| f.key == known.key).unwrap();
            let shown = field.examples.first().map(|e| (*e).to_owned()).or(section.get(known.key)).unwrap();
            let value = shown.trim_matches(['[', ']', '"']);
            let loaded = load(None, [(known.name.clone().into(), value.into())]).unwrap();
            assert_eq!(loaded.origin(known.section, known.key), &Place::Env(known.name));
        }
    }

    #[test]
    fn environment_lists_stand_between_commas_and_an_empty_value_unsets() {
        let env = [
            ("PLIMSOLL_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("PLIMSOLL_SLOTS__SECRETS", "a,b"),
            ("PLIMSOLL_SERVER__PUBLIC_URL", ""),
            ("PLIMSOLL_METRICS__ENABLED", "false"),
        ];
        let config = load_text("[server]\npublic_url = 'https://x.org'\n", &env).unwrap().config;
        assert_eq!(config.server.trusted_proxies.len(), 2);
        let secrets: Vec<_> = config.slots.secrets.iter().map(|s| s.expose()).collect();
        assert_eq!(secrets, [b"a", b"b"]);
        assert!(config.server.public_url.is_none() && !config.metrics.enabled);
        let none = load_text("[slots]\nsecrets = ['x']\n", &[("PLIMSOLL_SLOTS__SECRETS", "")]).unwrap();
        assert!(none.config.slots.secrets.is_empty());
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        let found = problem("\n[server]\nlisen = 'x'\n", &[]);
        assert_eq!((line(&found), found.key.as_str()), (3, "[server] lisen"));
        assert!(found.advice.contains("\"listen\""), "{found}");
    }

    #[test]
    fn a_key_of_another_section_is_sent_there() {
        assert!(problem("[server]\nmax_size = 1\n", &[]).advice.contains("[store]"));
        let outside = problem("durability = 'full'\n", &[]);
        assert!(outside.wrong.contains("outside") && outside.advice.contains("[store]"), "{outside}");
    }

    #[test]
    fn an_unknown_section_names_the_nearest() {
        let found = problem("[sever]\nlisten = 'x'\n", &[]);
        assert!(line(&found) == 1 && found.advice.contains("[server]") && found.accepted.contains("slots"));
        assert!(problem("[qqqqqqqqq]\n", &[]).advice.contains("remove"));
        assert!(problem("[[server]]\nthreads = 1\n", &[]).wrong.contains("list"));
        assert!(problem("server = 3\n", &[]).wrong.contains("number"));
    }

    #[test]
    fn an_unknown_environment_key_names_the_nearest() {
        for (name, meant) in [
            ("PLIMSOLL_SERVER__LISEN", "PLIMSOLL_SERVER__LISTEN"),
            ("PLIMSOLL_SEVER__LISTEN", "PLIMSOLL_SERVER__LISTEN"),
            ("PLIMSOLL_server__listen", "PLIMSOLL_SERVER__LISTEN"),
            ("PLIMSOLL_SERVER_LISTEN", "PLIMSOLL_SERVER__LISTEN"),
            ("PLIMSOLL_SLOTS_SECRET_FILE", "PLIMSOLL_SLOTS__SECRET_FILE"),
        ] {
            let found = problem("", &[(name, "x")]);
            assert!(found.advice.contains(&format!("did you mean {meant}?")), "{found}");
            assert_eq!(found.place, Place::Env(name.into()));
        }
        assert!(problem("", &[("PLIMSOLL_COLOUR__OF_THE_SEA", "x")]).advice.contains("plimsoll config"));
        assert!(problem("", &[("PLIMSOLL_SLOTS__ALSO", "x")]).wrong.contains("no key"));
    }

    #[test]
    fn foreign_environment_variables_of_our_name_are_left_alone() {
        let env = [
            ("PLIMSOLL_CONFIG", "x"),
            ("PLIMSOLL_SERVICE_HOST", "10.0.0.1"),
            ("PLIMSOLL_PORT", "tcp://10.0.0.1:80"),
            ("PLIMSOLLX__Y", ""),
        ];
        assert!(load_text("", &env).is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_kind_says_what_is_accepted_and_how_to_write_it() {
        for (text, key, wrong) in [
            ("[server]\nlisten = 8080\n", "[server] listen", "number"),
            ("[server]\nlisten = ':8080'\n", "[server] listen", "IP address"),
            ("[server]\nlisten = '127.0.0.1'\n", "[server] listen", "no port"),
            ("[server]\nlisten = '127.0.0.1:99999'\n", "[server] listen", "65535"),
            ("[server]\nlisten = ''\n", "[server] listen", "empty"),
            ("[server]\nthreads = '2'\n", "[server] threads", "text"),
            ("[server]\nthreads = -1\n", "[server] threads", "out of range"),
            ("[server]\nthreads = 99999999999\n", "[server] threads", "out of range"),
            ("[server]\nthreads = 99999999999999999999999\n", "[server] threads", "64 bits"),
            ("[server]\nthreads = 1.5\n", "[server] threads", "fraction"),
            ("[server]\ntrusted_proxies = '10.0.0.0/8'\n", "[server] trusted_proxies", "list"),
            ("[server]\ntrusted_proxies = ['10.0.0.0/8', 'x']\n", "[server] trusted_proxies", "member 2"),
            ("[metrics]\nenabled = 'yes'\n", "[metrics] enabled", "text"),
            ("[store]\nmax_size = true\n", "[store] max_size", "boolean"),
            ("[store]\nmax_size = -5\n", "[store] max_size", "negative"),
            ("[store]\nmax_size = 1979-05-27\n", "[store] max_size", "date"),
            ("[store.max_size]\n", "[store] max_size", "table"),
            ("[store]\npath = ''\n", "[store] path", "empty"),
            ("[limits]\nbody_gap = 60\n", "[limits] body_gap", "60s"),
        ] {
            let found = problem(text, &[]);
            assert_eq!(found.key, key, "{text}");
            assert!(found.wrong.contains(wrong), "{text}: {found}");
            assert!(!found.accepted.is_empty() && found.advice.contains("write for example"), "{found}");
        }
    }

    #[test]
    fn a_wrong_environment_value_names_its_variable() {
        let found = problem("", &[("PLIMSOLL_SERVER__THREADS", "many")]);
        assert_eq!(found.place, Place::Env("PLIMSOLL_SERVER__THREADS".into()));
        assert!(found.advice.contains("PLIMSOLL_SERVER__THREADS=0"), "{found}");
        assert!(problem("", &[("PLIMSOLL_METRICS__ENABLED", "1")]).accepted.contains("true or false"));
        assert!(problem("", &[("PLIMSOLL_SLOTS__BASE_PATH", "")]).wrong.contains("slash"));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_in_file_and_environment() {
        let found = problem(b"[server]\n# \xff\n", &[]);
        assert!(line(&found) == 2 && found.wrong.contains("UTF-8"), "{found}");
        let value = OsString::from_vec(vec![0xff]);
        let error = load(None, [("PLIMSOLL_SLOTS__SECRET".into(), value)]).unwrap_err();
        assert!(error.to_string().contains("secret_file"), "{error}");
    }

    #[test]
    fn broken_toml_names_its_line_and_shows_no_secret() {
        for text in [
            "[slots]\nsecret = \"hunter2\n",
            "[slots]\nsecret = hunter2\n",
            "[slots]\nsecret = 'hunter2' 'hunter2'\n",
        ] {
            let error = load_text(text, &[]).unwrap_err();
            assert!(error.problems.iter().all(|p| line(p) == 2), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_repeated_key_or_section_is_refused() {
        let found = problem("[slots]\nbase_path = '/a'\nbase_path = '/b'\n", &[]);
        assert!(line(&found) == 3 && found.wrong.contains("duplicate"), "{found}");
        assert_eq!(line(&problem("[slots]\n[log]\n[slots]\n", &[])), 3);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error =
            load_text("[server]\nlisen = 1\nthreads = 'x'\n[lug]\n", &[("PLIMSOLL_X__Y", "")]).unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
        assert_eq!(error.to_string().matches("to do:").count(), 4);
    }

    #[test]
    fn no_problem_shows_a_secret_or_a_password() {
        let text = "[slots]\nsecret = ''\nsecrets = ['hunter2', '']\nsecert = 'hunter2'\nsecret_file = 3\n\
                    [ledger]\nurl = 'postgres://u:hunter2@h/d'\n";
        let error = load_text(text, &[]).unwrap_err();
        assert_eq!(error.problems.len(), 5, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn further_base_paths_are_read_and_checked() {
        let text = "[slots]\nsecret = 's'\n[[slots.also]]\nbase_path = '/two'\nsecret = 't'\n\
                    [[slots.also]]\nbase_path = '/three'\nsecrets = ['u', 'v']\n";
        let config = load_text(text, &[]).unwrap().config;
        let bases = config.resolve_secrets().unwrap();
        let shape: Vec<_> = bases.iter().map(|b| (b.base_path.as_str(), b.secrets.len())).collect();
        assert_eq!(shape, [("/upload", 1), ("/two", 1), ("/three", 2)]);
    }

    #[test]
    fn further_base_paths_that_are_incomplete_or_overlap_are_refused_at_their_line() {
        for (table, at, wrong) in [
            ("base_path = '/upload/x'\nsecret = 't'", 3, "overlaps"),
            ("base_path = '/two'", 3, "no secret"),
            ("secret = 't'", 3, "no base path"),
            ("base_path = '/two'\nsecret = 't'\nsecrt = 'u'", 5, "no such key"),
            ("base_path = 'two'\nsecret = 't'", 3, "slash"),
        ] {
            let error = load_text(format!("[slots]\n[[slots.also]]\n{table}\n"), &[]).unwrap_err();
            let found =
                error.problems.iter().find(|p| p.wrong.contains(wrong)).unwrap_or_else(|| panic!("{error}"));
            assert_eq!(line(found), at, "{found}");
            assert!(found.key.starts_with("[[slots.also]]"), "{found}");
        }
        assert!(problem("[slots.also]\nbase_path = '/x'\n", &[]).advice.contains("[[slots.also]]"));
        assert!(problem("[slots]\nalso = ['x']\n", &[]).advice.contains("[[slots.also]]"));
    }
}
