//! Texts with a form of their own: parts of User-Agents, classes of networks, the URL of Redis.

use std::fmt;

use super::{
    setting::{Raw, Setting, quoted},
    values::{Cidr, MASK},
};

/// A word that is looked for in a text, without regard to its case. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// These words, which are not empty.
    pub(super) fn all(words: &[&str]) -> Vec<Self> {
        words.iter().filter(|word| !word.is_empty()).map(|word| Self((*word).to_owned())).collect()
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Word {
    const ACCEPTS: &'static str = "a list of words, such as [\"Dino\", \"Gajim\"]";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text()?.trim() {
            "" => Err("an empty word would be found in everything".to_owned()),
            word => Ok(Self(word.to_owned())),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// The name of a class of networks, and one network of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkClass {
    name: String,
    network: Cidr,
}

impl NetworkClass {
    /// The name, such as `wifi`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> Cidr {
        self.network
    }
}

impl Setting for NetworkClass {
    const ACCEPTS: &'static str =
        "a list of classes, such as [\"office=192.0.2.0/24\", \"mobile=100.64.0.0/10\"]";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let (name, network) = text.split_once('=').ok_or_else(|| format!("in {text:?} there is no ="))?;
        let name = name.trim();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
            return Err(format!("in {text:?} the name is not 1 to 32 letters, digits, -, _ or ."));
        }
        Ok(Self { name: name.to_owned(), network: Cidr::parse(network)? })
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&format!("{}={}", self.name, self.network)))
    }
}

/// Where Redis is. May hold a password, so it is printed without its user part.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The whole URL, with its password. It must not reach a log (ENG-10).
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, rest)) => write!(f, "{scheme}://{MASK}@{rest}"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl Setting for RedisUrl {
    const ACCEPTS: &'static str =
        "redis://HOST:PORT/DATABASE, redis://USER:PASSWORD@HOST, or unix:///PATH of a socket";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("unix://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Self(text.to_owned())),
            // Told without its text, which may hold a password.
            Some(_) | None => Err("this is no URL of a Redis server".to_owned()),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn a_class_is_a_plain_name_and_a_network() {
        let class = NetworkClass::read(&text(" office = 192.0.2.0/24")).unwrap();
        assert_eq!((class.name(), class.network().to_string().as_str()), ("office", "192.0.2.0/24"));
        assert_eq!(class.to_toml().unwrap(), "\"office=192.0.2.0/24\"");
        for bad in ["office", "=192.0.2.0/24", "a b=192.0.2.0/24", "office=", "office=192.0.2.1/24"] {
            assert!(NetworkClass::read(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_password_of_redis_is_never_printed() {
        let url = RedisUrl::read(&text("redis://plimsoll:hunter2@127.0.0.1:6379/1")).unwrap();
        assert_eq!(url.to_string(), format!("redis://{MASK}@127.0.0.1:6379/1"));
        assert!(!format!("{url:?} {}", url.to_toml().unwrap()).contains("hunter2"));
        assert!(url.expose().contains("hunter2"));
        for bad in ["", "redis://", "http://127.0.0.1", "hunter2@127.0.0.1"] {
            assert!(!RedisUrl::read(&text(bad)).unwrap_err().contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn an_empty_word_is_refused() {
        assert!(Word::read(&text("  ")).is_err());
        assert_eq!(Word::read(&text("Dino")).unwrap().as_str(), "Dino");
    }
}
