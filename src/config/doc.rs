//! The configuration printed: annotated with every meaning, or as it takes effect.

use super::{
    Config, Field, Place, Section, SlotsAlso,
    load::{Loaded, also_name, heading},
    setting::quoted,
};

const INTRODUCTION: &str = "\
# Plimsoll: every key with its default and its meaning.
#
# Printed by `plimsoll config`. Only what differs from the default needs to stand in a file. A line that
# begins with # and a key has no default, and shows an example.
#
# Sizes:     \"64 MiB\" (units of 1024: KiB, MiB, GiB, TiB), \"1.5 GB\" (units of 1000), or a number of bytes.
# Durations: \"250ms\", \"60s\", \"5m\", \"72h\", \"3 days\", \"1h 30m\".
#
# The environment overrides the file: PLIMSOLL_SERVER__LISTEN sets listen in [server], and so on for every
# key. Members of a list stand between commas there.
";

/// A file with every key, its default and its meaning; itself a valid configuration equal to the default.
#[must_use]
pub fn annotated() -> String {
    let config = Config::default();
    let mut out = INTRODUCTION.to_owned();
    for section in config.sections() {
        out.push('\n');
        comment(&mut out, section.doc());
        out.push_str(&format!("[{}]\n", section.name()));
        fields(&mut out, section, |field| section.get(field.key));
        if section.name() == "slots" {
            let also = SlotsAlso::default();
            out.push('\n');
            comment(&mut out, also.doc());
            out.push_str(&format!("# {}\n", heading(also.name())));
            fields(&mut out, &also, |_| None);
        }
    }
    out
}

fn fields(out: &mut String, section: &dyn Section, value: impl Fn(&Field) -> Option<String>) {
    for field in section.fields() {
        out.push('\n');
        comment(out, field.doc);
        match (value(field), field.examples.first()) {
            (Some(value), _) => out.push_str(&format!("{} = {value}\n", field.key)),
            (None, example) => out.push_str(&format!("# {} = {}\n", field.key, example.unwrap_or(&""))),
        }
    }
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        out.push_str(format!("# {}", line.trim()).trim_end());
        out.push('\n');
    }
}

impl Loaded {
    /// The configuration as it takes effect, in TOML, secrets masked; a value that is not the default says
    /// where it comes from.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut out = String::new();
        for section in self.config.sections() {
            self.effective_section(&mut out, section, section.name());
        }
        for (at, also) in self.config.slots_also.iter().enumerate() {
            self.effective_section(&mut out, also, &also_name(at));
        }
        out.trim_start().to_owned()
    }

    fn effective_section(&self, out: &mut String, section: &dyn Section, place_name: &str) {
        out.push_str(&format!("\n{}\n", heading(section.name())));
        for field in section.fields() {
            let line = match section.get(field.key) {
                Some(value) => format!("{} = {value}", field.key),
                None => self.unset(section.name(), field.key),
            };
            out.push_str(&line);
            match self.origin(place_name, field.key) {
                Place::Default => {}
                set @ (Place::File { .. } | Place::Env(_)) => out.push_str(&format!("  # {set}")),
            }
            out.push('\n');
        }
    }

    fn unset(&self, section: &str, key: &str) -> String {
        match (section, key) {
            ("server", "public_url") => {
                let url = self.config.public_url(self.config.server.listen);
                format!("# public_url is not set; in effect {}", quoted(&url))
            }
            ("ledger", "url") => {
                format!("# url is not set; in effect {}", quoted(self.config.ledger_url().as_str()))
            }
            ("slots", "secret") if self.config.secret_is_generated() => {
                let path = self.config.generated_secret_path();
                format!("# secret is not set; a generated one is kept in {}", quoted(&path.to_string_lossy()))
            }
            _ => format!("# {key} is not set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::load;

    fn load_text(text: &str, env: &[(&str, &str)]) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        fs::write(&path, text).unwrap();
        load(Some(&path), env.iter().map(|(name, value)| (name.into(), value.into()))).unwrap()
    }

    #[test]
    fn the_annotated_file_in_the_repository_is_the_one_that_the_types_make() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/plimsoll.toml");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == annotated(), "config/plimsoll.toml differs from the types: run `make config`");
    }

    #[test]
    fn the_annotated_file_reads_back_as_the_default() {
        let loaded = load_text(&annotated(), &[]);
        assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    }

    /// The examples are what a reader uncomments: together they have to be a valid file.
    #[test]
    fn the_examples_of_the_annotated_file_are_valid() {
        let uncommented: String = annotated()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest.starts_with("[[") || rest.split_once(" = ").is_some_and(|(k, _)| is_key(k)) =>
                {
                    rest
                }
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = load_text(&uncommented, &[]).config;
        assert!(
            config.server.public_url.is_some() && config.ledger.url.is_some() && config.log.file.is_some()
        );
        assert_eq!(config.slots_also.len(), 1);
    }

    fn is_key(text: &str) -> bool {
        text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    }

    #[test]
    fn the_effective_configuration_masks_secrets_and_names_origins() {
        let text =
            "[slots]\nsecret = 'hunter2'\n[[slots.also]]\nbase_path = '/two'\nsecrets = ['hunter2', 'b']\n";
        let loaded = load_text(text, &[("PLIMSOLL_STORE__MAX_SIZE", "3 GiB")]);
        let printed = loaded.effective();
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("secrets = [\"********\", \"********\"]  # "), "{printed}");
        assert!(printed.contains("max_size = \"3 GiB\"  # PLIMSOLL_STORE__MAX_SIZE\n"), "{printed}");
        assert!(printed.contains("test.toml, line 2\n"), "{printed}");
        assert!(printed.contains("base_path = \"/upload\"\n"), "a default names no origin: {printed}");
        assert!(printed.contains("in effect \"sqlite:./plimsoll-data/ledger.db\""), "{printed}");
    }

    #[test]
    fn the_effective_configuration_is_toml_that_reads_back() {
        let loaded = load_text("[limits]\nbody_gap = '90s'\n[server]\nthreads = 3\n", &[]);
        let again = load_text(&loaded.effective(), &[]);
        assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
    }
}
