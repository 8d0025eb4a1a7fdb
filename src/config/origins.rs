//! The origins of web pages, as browsers send them.

use super::{
    setting::{Raw, Setting, quoted},
    values::http_url,
};

/// Which web pages may read the answers: any, or those of some origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowOrigin(Vec<String>);

impl AllowOrigin {
    pub(super) fn any() -> Self {
        Self(Vec::new())
    }

    /// The origins that are named; `None` for any.
    #[must_use]
    pub fn named(&self) -> Option<&[String]> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let path = http_url(text)?.split_once("://").map_or("", |(_, rest)| rest);
    if path.contains('/') || text.ends_with('/') {
        return Err(format!("{text:?} has a path, and an origin has none"));
    }
    // Browsers write them in small letters, and compare bytes.
    Ok(text.to_ascii_lowercase())
}

impl Setting for AllowOrigin {
    const ACCEPTS: &'static str =
        "\"*\", one origin as a browser sends it, such as \"https://chat.example.org\", or a list of them";

    fn read(raw: &Raw) -> Result<Self, String> {
        let texts = match raw {
            Raw::List(_) | Raw::Env(_) => Vec::<Text>::read(raw)?,
            Raw::Text(_) | Raw::Integer(_) | Raw::Bool(_) | Raw::Other(_) => vec![Text::read(raw)?],
        };
        match texts.as_slice() {
            [] => {
                Err("the list names no origin: to keep every web page out, name one of your own".to_owned())
            }
            [Text(any)] if any == "*" => Ok(Self::any()),
            several if several.iter().any(|Text(text)| text == "*") => {
                Err("\"*\" stands for every origin, and needs none beside it".to_owned())
            }
            named => named.iter().map(|Text(text)| origin(text)).collect::<Result<_, _>>().map(Self),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(match self.0.as_slice() {
            [] => quoted("*"),
            [one] => quoted(one),
            several => {
                let all: Vec<String> = several.iter().map(|origin| quoted(origin)).collect();
                format!("[{}]", all.join(", "))
            }
        })
    }
}

/// One member, not looked at yet.
struct Text(String);

impl Setting for Text {
    const ACCEPTS: &'static str = AllowOrigin::ACCEPTS;

    fn read(raw: &Raw) -> Result<Self, String> {
        raw.text().map(|text| Self(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(members: &[&str]) -> Raw {
        Raw::List(members.iter().map(|text| Raw::Text((*text).to_owned())).collect())
    }

    #[test]
    fn origins_are_any_or_some_without_a_path() {
        assert_eq!(AllowOrigin::read(&Raw::Text("*".to_owned())).unwrap().named(), None);
        let one = AllowOrigin::read(&Raw::Text("https://Chat.example.org".to_owned())).unwrap();
        assert_eq!(one.named().unwrap(), ["https://chat.example.org"]);
        assert_eq!(one.to_toml().unwrap(), "\"https://chat.example.org\"");
        let two = ["https://a.example.org", "http://localhost:3000"];
        for raw in [list(&two), Raw::Env(two.join(", "))] {
            let read = AllowOrigin::read(&raw).unwrap();
            assert_eq!(read.named().unwrap(), two);
            assert_eq!(read.to_toml().unwrap(), "[\"https://a.example.org\", \"http://localhost:3000\"]");
        }
        for text in
            ["", "https://chat.example.org/", "https://chat.example.org/x", "chat.example.org", "null"]
        {
            assert!(AllowOrigin::read(&Raw::Text(text.to_owned())).is_err(), "{text:?}");
        }
        assert!(AllowOrigin::read(&list(&[])).is_err());
        assert!(AllowOrigin::read(&list(&["https://a.example.org", "*"])).is_err());
    }
}
