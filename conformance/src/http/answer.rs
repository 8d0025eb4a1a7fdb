//! An answer, and what cases ask of it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;

use crate::case::{CaseResult, Failure, expect, expect_eq};

/// A final or informational answer with its whole body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Field lines.
    pub headers: HeaderMap,
    /// The decoded body.
    pub body: Bytes,
}

impl Answer {
    /// The field's first value, when it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The members of a comma-separated field over all its lines, in lower case.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|member| member.trim().to_ascii_lowercase())
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// Status and the start of a textual body, for reports; web pages are left out.
    pub fn summary(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let printable = !text.is_empty()
            && !text.starts_with('<')
            && text.chars().all(|c| !c.is_control() && c != char::REPLACEMENT_CHARACTER);
        if printable { format!("{} ({text})", self.status) } else { self.status.to_string() }
    }

    /// Exactly this status.
    pub fn expect_status(&self, status: u16) -> Result<&Self, Failure> {
        self.expect_status_in(&[status])
    }

    /// One of these statuses.
    pub fn expect_status_in(&self, statuses: &[u16]) -> Result<&Self, Failure> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        let wanted = statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
        Err(Failure::new(format_args!("status {wanted}"), self.summary()))
    }

    /// A refusal that blames the client.
    pub fn expect_refused(&self) -> Result<&Self, Failure> {
        expect((400..500).contains(&self.status), "a 4xx refusal", self.summary())?;
        Ok(self)
    }

    /// The field, or a failure that names it.
    pub fn require(&self, name: &'static str) -> Result<&str, Failure> {
        self.header(name).ok_or_else(|| {
            Failure::new(format_args!("a {name} field"), format_args!("none, with status {}", self.status))
        })
    }

    /// The field with exactly this value.
    pub fn expect_header(&self, name: &'static str, value: &str) -> Result<&Self, Failure> {
        let seen = self.require(name)?;
        expect(seen == value, format_args!("{name}: {value}"), format_args!("{name}: {seen}"))?;
        Ok(self)
    }

    /// No such field.
    pub fn expect_no_header(&self, name: &'static str) -> Result<&Self, Failure> {
        match self.headers.get(name) {
            None => Ok(self),
            Some(value) => {
                Err(Failure::new(format_args!("no {name} field"), format_args!("{name}: {value:?}")))
            }
        }
    }

    /// The list field has every one of these members.
    pub fn expect_members(&self, name: &'static str, members: &[&str]) -> Result<&Self, Failure> {
        let seen = self.list(name);
        let missing: Vec<&str> =
            members.iter().copied().filter(|member| !seen.contains(&member.to_ascii_lowercase())).collect();
        expect(
            missing.is_empty(),
            format_args!("{name} to name {}", missing.join(", ")),
            if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") },
        )?;
        Ok(self)
    }

    /// No body at all, and a Content-Length that says so.
    pub fn expect_empty(&self) -> CaseResult {
        self.expect_header("content-length", "0")?.expect_no_header("transfer-encoding")?;
        expect_eq("a body of bytes", &0, &self.body.len())
    }

    /// A number of bytes in a field.
    pub fn number(&self, name: &'static str) -> Result<u64, Failure> {
        let text = self.require(name)?;
        text.parse().map_err(|_| Failure::new(format_args!("a number in {name}"), text))
    }

    /// RFC 9457: a problem document whose `status` repeats the answer's.
    pub fn expect_problem(&self) -> CaseResult {
        let kind = self.require("content-type")?;
        expect(
            kind.split(';').next().is_some_and(|kind| kind.trim() == "application/problem+json"),
            "Content-Type: application/problem+json",
            kind,
        )?;
        let document: serde_json::Value = serde_json::from_slice(&self.body).map_err(|error| {
            Failure::new("a JSON document", format_args!("{error} in {}", self.summary()))
        })?;
        expect_eq(
            "status member",
            &Some(u64::from(self.status)),
            &document.get("status").and_then(|s| s.as_u64()),
        )?;
        let title = document.get("title").and_then(|title| title.as_str()).unwrap_or_default();
        expect(!title.is_empty(), "a title member", document.to_string())
    }

    /// Parses field lines that a reader found.
    pub(crate) fn from_parts<'a>(
        status: u16,
        lines: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Failure::new("a field name", format_args!("{name:?}")))?;
            let value = http::HeaderValue::from_bytes(value)
                .map_err(|_| Failure::new("a field value", format_args!("{value:?}")))?;
            headers.append(name, value);
        }
        Ok(Self { status, headers, body: Bytes::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, lines: &[(&str, &str)], body: &str) -> Answer {
        let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
        Answer { body: Bytes::from(body.to_owned()), ..Answer::from_parts(status, lines).unwrap() }
    }

    #[test]
    fn list_fields_are_joined_over_their_lines() {
        let answer = answer(200, &[("allow", "GET, Put"), ("allow", "HEAD")], "");
        assert_eq!(answer.list("Allow"), ["get", "put", "head"]);
        assert!(answer.expect_members("allow", &["PUT", "HEAD"]).is_ok());
        let failure = answer.expect_members("allow", &["PATCH"]).unwrap_err();
        assert_eq!(failure.to_string(), "expected allow to name PATCH; saw get, put, head");
    }

    #[test]
    fn an_html_error_page_is_no_problem_document() {
        let page = answer(404, &[("content-type", "text/html")], "<h1>404</h1>");
        assert!(page.expect_problem().is_err());
        let kind = ("content-type", "application/problem+json");
        assert!(answer(404, &[kind], r#"{"status":404,"title":"Not found"}"#).expect_problem().is_ok());
        assert!(answer(404, &[kind], r#"{"status":500,"title":"Not found"}"#).expect_problem().is_err());
    }

    #[test]
    fn summaries_quote_problems_and_leave_out_pages() {
        assert_eq!(answer(409, &[], r#"{"title": "Conflict"}"#).summary(), r#"409 ({"title": "Conflict"})"#);
        assert_eq!(answer(404, &[], "<html><h1>404</h1></html>").summary(), "404");
    }

    #[test]
    fn an_empty_answer_must_say_its_length() {
        assert!(answer(201, &[("content-length", "0")], "").expect_empty().is_ok());
        assert!(answer(201, &[], "").expect_empty().is_err());
        assert!(answer(201, &[("content-length", "2")], "ok").expect_empty().is_err());
    }
}
