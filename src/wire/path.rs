//! From a request's path to the name of an upload.

use percent_encoding::percent_decode_str;

/// Paths longer than this many bytes, decoded, are refused. A file name of 255 characters in four bytes each fits.
const LONGEST: usize = 4096;

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// The decoded bytes are not UTF-8.
    NotUtf8,
    /// It holds a NUL, which no XMPP server can sign and which separates the fields of v2 tokens.
    Nul,
    /// It is longer than any client needs.
    TooLong,
}

/// Decode `%XX` once; `+`, dots and slashes stay what they are.
///
/// # Errors
/// See [`BadPath`].
pub fn decode(raw: &str) -> Result<String, BadPath> {
    let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| BadPath::NotUtf8)?;
    if decoded.contains('\0') {
        return Err(BadPath::Nul);
    }
    if decoded.len() > LONGEST {
        return Err(BadPath::TooLong);
    }
    Ok(decoded.into_owned())
}

/// What follows `base` and its slash; `None` when the path is not below it or names nothing.
#[must_use]
pub fn below<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(base)?.strip_prefix('/').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_leaves_plus_and_dots_alone() {
        assert_eq!(decode("/upload/a%20b+c%2520/..%2fx").unwrap(), "/upload/a b+c%20/../x");
        assert_eq!(decode("/%e2%98%83").unwrap(), "/\u{2603}");
        assert_eq!(decode("/100%").unwrap(), "/100%");
    }

    #[test]
    fn refuses_what_is_no_text() {
        assert_eq!(decode("/%ff"), Err(BadPath::NotUtf8));
        assert_eq!(decode("/a%00b"), Err(BadPath::Nul));
        assert_eq!(decode(&format!("/{}", "a".repeat(LONGEST))), Err(BadPath::TooLong));
    }

    #[test]
    fn only_what_is_below_the_base_has_a_name() {
        assert_eq!(below("/upload", "/upload/a/b"), Some("a/b"));
        assert_eq!(below("/upload", "/upload//b"), Some("/b"));
        for other in ["/upload", "/upload/", "/uploads/a", "/other/a", "upload/a"] {
            assert_eq!(below("/upload", other), None, "{other}");
        }
        assert_eq!(below("", "/a/b"), Some("a/b"));
    }
}
