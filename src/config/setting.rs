//! What a value in a file or in the environment is, and how a type of ours reads one.

use std::{net::SocketAddr, path::PathBuf};

use toml::de::DeValue;

/// A value as it was written, before anyone knows which type the key has.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Raw>),
    /// From the environment, where everything is text: the key's type decides how it is read.
    Env(String),
    /// A TOML value of a kind that no key takes, by the name of its kind.
    Other(&'static str),
}

impl Raw {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(yes) => Self::Bool(*yes),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .map_or(Self::Other("number beyond 64 bits"), Self::Integer),
            DeValue::Array(items) => Self::List(items.iter().map(|i| Self::from_toml(i.get_ref())).collect()),
            DeValue::Float(_) => Self::Other("fraction"),
            DeValue::Datetime(_) => Self::Other("date"),
            DeValue::Table(_) => Self::Other("table"),
        }
    }

    /// The value where the key's type is written as text.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) | Self::Env(text) => Ok(text),
            Self::Integer(_) | Self::Bool(_) | Self::List(_) | Self::Other(_) => {
                Err(format!("a {} stands where a text in quotes belongs", self.kind()))
            }
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Env(_) => "text",
            Self::Integer(_) => "number",
            Self::Bool(_) => "boolean",
            Self::List(_) => "list",
            Self::Other(kind) => kind,
        }
    }
}

/// What a shell would have replaced, and nobody replaces here.
pub(super) const NOT_EXPANDED_HOME: &str =
    "the path begins with \"~\", which stands for a home directory in a shell only: write the whole path";
/// See [`NOT_EXPANDED_HOME`].
pub(super) const NOT_EXPANDED_VARIABLE: &str =
    "the path begins with \"$\", and variables are not replaced here: write the whole path";

/// A type that can stand behind a key.
///
/// `read` says only what is wrong with the value; whoever calls it knows the place and the key, and adds
/// [`Setting::ACCEPTS`].
pub(super) trait Setting: Sized {
    /// What may be written, as the end of the sentence "accepted is ...".
    const ACCEPTS: &'static str;

    fn read(raw: &Raw) -> Result<Self, String>;

    /// The value as the right-hand side of a TOML line (masked if secret); none when the key is not set.
    fn to_toml(&self) -> Option<String>;
}

/// `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Setting for bool {
    const ACCEPTS: &'static str = "true or false";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Bool(yes) => Ok(*yes),
            Raw::Env(text) => text.trim().parse().map_err(|_| format!("{text:?} is neither true nor false")),
            Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Other(_) => {
                Err(format!("a {} is neither true nor false", raw.kind()))
            }
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    const ACCEPTS: &'static str = "a whole number from 0 to 4294967295";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(n) => Self::try_from(*n).map_err(|_| format!("{n} is out of range")),
            Raw::Env(text) => text.trim().parse().map_err(|_| format!("{text:?} is no such number")),
            Raw::Text(_) | Raw::Bool(_) | Raw::List(_) | Raw::Other(_) => {
                Err(format!("a {} stands where a whole number belongs", raw.kind()))
            }
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for SocketAddr {
    const ACCEPTS: &'static str = "an IP address and a port, such as \"127.0.0.1:8080\", \"[::1]:8080\" or, for every address, \"[::]:8080\"; port 0 takes a free one";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        text.parse().map_err(|_| match text.rsplit_once(':') {
            _ if text.is_empty() => "the address is empty".to_owned(),
            None => format!("{text:?} has no port"),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                format!("in {text:?} the port is not a number from 0 to 65535")
            }
            Some(_) => {
                format!("in {text:?} the part before the port is not an IP address (a name is not looked up)")
            }
        })
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Setting for PathBuf {
    const ACCEPTS: &'static str = "a path; a relative one starts at the working directory";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text()? {
            "" => Err("the path is empty".to_owned()),
            text if text.contains('\0') => Err("a path cannot contain NUL".to_owned()),
            text if text.starts_with('~') => Err(NOT_EXPANDED_HOME.to_owned()),
            text if text.starts_with('$') => Err(NOT_EXPANDED_VARIABLE.to_owned()),
            text => Ok(Self::from(text)),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

/// Not set, which in the environment is the empty text.
impl<T: Setting> Setting for Option<T> {
    const ACCEPTS: &'static str = T::ACCEPTS;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Env(text) if text.is_empty() => Ok(None),
            Raw::Text(_) | Raw::Integer(_) | Raw::Bool(_) | Raw::List(_) | Raw::Env(_) | Raw::Other(_) => {
                T::read(raw).map(Some)
            }
        }
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(T::to_toml)
    }
}

/// A list; in the environment its members stand between commas.
impl<T: Setting> Setting for Vec<T> {
    const ACCEPTS: &'static str = T::ACCEPTS;

    fn read(raw: &Raw) -> Result<Self, String> {
        let members = match raw {
            Raw::List(members) => members.clone(),
            Raw::Env(text) if text.is_empty() => Vec::new(),
            Raw::Env(text) => text.split(',').map(|member| Raw::Env(member.trim().to_owned())).collect(),
            Raw::Text(_) | Raw::Integer(_) | Raw::Bool(_) | Raw::Other(_) => {
                return Err(format!("a {} stands where a list in brackets belongs", raw.kind()));
            }
        };
        members
            .iter()
            .enumerate()
            .map(|(at, member)| T::read(member).map_err(|wrong| format!("member {}: {wrong}", at + 1)))
            .collect()
    }

    fn to_toml(&self) -> Option<String> {
        let members: Vec<_> = self.iter().filter_map(T::to_toml).collect();
        Some(format!("[{}]", members.join(", ")))
    }
}
