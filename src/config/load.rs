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

use super::{
    ALSO, Config, Field, Raw, Section, SlotsAlso,
    mistakes::{self, Mistake, Variable},
    nearest,
    reload::Origin,
    validate::validate,
};

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
    /// Environment variables that begin like ours and set no key; they are named in the log.
    pub ignored: Vec<String>,
    /// What it was read from.
    pub(super) origin: Origin,
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
    let mut env: Vec<_> =
        env.into_iter().filter(|(name, _)| name.to_string_lossy().starts_with(ENV_PREFIX)).collect();
    env.sort();
    let origin = Origin { file: file.map(Path::to_owned), env: env.clone() };
    for (name, value) in env {
        loader.read_env(&name, value);
    }
    let Loader { config, origins, mut problems, ignored } = loader;
    // In the order of the file; those of the environment stay last.
    problems.sort_by_key(|problem| match &problem.place {
        Place::File { line, .. } => *line,
        Place::Default | Place::Env(_) => usize::MAX,
    });
    if problems.is_empty() {
        problems = validate(&config, &origins);
    }
    if problems.is_empty() {
        Ok(Loaded { config, origins, origin, ignored })
    } else {
        Err(ConfigError { problems })
    }
}

#[derive(Default)]
struct Loader {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
    ignored: Vec<String>,
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
            let offset = error.span().map_or(0, |span| span.start);
            let Mistake { wrong, advice } = mistakes::in_toml(&text, offset, error.message());
            self.complain(place, "", wrong, "", advice);
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
            let is_table = value.get_ref().is_table();
            let Mistake { wrong, advice } = mistakes::at_top(&self.config, name, is_table);
            let accepted = names(self.config.sections().iter().map(|s| s.name()));
            let key = if is_table { format!("[{name}]") } else { name.to_owned() };
            return self.complain(place, key, wrong, &accepted, advice);
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
            let meant = if rest.contains("__") {
                nearest(&name.to_lowercase(), known.iter().map(|k| k.lower.as_str()))
                    .and_then(|lower| known.iter().find(|k| k.lower == lower))
            } else {
                known.iter().find(|k| flat(&k.name) == flat(name))
            };
            let advice = match meant {
                Some(meant) => format!("did you mean {}? rename or unset it", meant.name),
                None if rest == "SLOTS__ALSO" => "further base paths can be set in a file only".to_owned(),
                None if rest.contains("__") => "unset it; `plimsoll config` lists every key".to_owned(),
                None => match mistakes::variable(&self.config, rest, &value.to_string_lossy()) {
                    Variable::Mistaken(advice) => advice,
                    Variable::Ignored => return self.ignored.push(name.to_owned()),
                    Variable::Foreign => return,
                },
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
                if let [owner] = mistakes::owners(&self.config, key).as_slice()
                    && *owner != section
                    && problem.accepted.is_empty()
                {
                    problem.advice = format!("move it to [{owner}], where this key belongs");
                }
                self.problems.push(*problem);
            }
        }
    }
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
mod tests;
