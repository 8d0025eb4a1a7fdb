//! The `Forwarded` header, RFC 7239 section 4:
//!
//! ```text
//!  Forwarded: for="[2001:db8::1]:4711";proto=https;host=up.example.org, for=10.0.0.2;by=_inner
//!             `--------------------- element ------------------------'  `---- element -----'
//! ```
//!
//! Rejected: the crates `forwarded-header-value` and `rfc7239`. Both split at commas and semicolons without regard to
//! quotes, so that a client who writes a quote could move the borders of what our proxy adds behind it.

use std::{borrow::Cow, net::IpAddr};

/// What one proxy says, unquoted. Parameters that we do not use are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// `for`: a node, see [`node`].
    pub(super) client: Option<Cow<'a, str>>,
    pub(super) proto: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
}

/// The elements of one header line, the last first.
///
/// Quotes are followed from the right as well: an element that is well formed is cut out exactly, whatever stands to
/// the left of it. A quotation mark begins a quoted string, read backwards, which ends at the next one without a
/// backslash before it; the opening mark has a `=` there.
pub(super) fn elements_from_the_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut is_quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if is_quoted && is_escaped(line, at) => {}
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    rest = line.get(..at);
                    return line.get(at + 1..);
                }
                _ => {}
            }
        }
        rest = None;
        Some(line)
    })
}

fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// One element; `None` when it is not of the form that the RFC asks for, or names a parameter twice.
pub(super) fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut rest = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let mut element = Element::default();
    loop {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = value(after)?;
        let place = if name.eq_ignore_ascii_case("for") {
            Some(&mut element.client)
        } else if name.eq_ignore_ascii_case("proto") {
            Some(&mut element.proto)
        } else if name.eq_ignore_ascii_case("host") {
            Some(&mut element.host)
        } else {
            None
        };
        if let Some(place) = place
            && place.replace(value).is_some()
        {
            return None;
        }
        if after.is_empty() {
            return Some(element);
        }
        rest = after.strip_prefix(';')?;
    }
}

/// A token or a quoted string at the beginning of `text`, and what follows.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then_some((Cow::Borrowed(value), rest));
    };
    let mut unquoted = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Cow::Owned(unquoted), chars.as_str())),
            '\\' => unquoted.push(chars.next()?),
            other => unquoted.push(other),
        }
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The address of a node: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`; the port may be obfuscated.
/// `None` for `unknown`, for an obfuscated name such as `_hidden`, and for what is no node.
pub(super) fn node(text: &str) -> Option<IpAddr> {
    let (ip, port): (IpAddr, _) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']')?;
            (IpAddr::V6(inner.parse().ok()?), port)
        }
        None => {
            let (host, port) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
            (IpAddr::V4(host.parse().ok()?), port)
        }
    };
    let is_obfuscated = |port: &str| {
        port.strip_prefix('_').is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        })
    };
    let is_number = |port: &str| {
        (1..=5).contains(&port.len())
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    };
    let is_good =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| is_number(port) || is_obfuscated(port));
    is_good.then(|| ip.to_canonical())
}
