//! How a stranger's file is labelled so that a browser neither runs it nor saves it under a name that does harm.
//!
//! Type and name are both the uploader's text. Why a list of types that may be shown, and not one of those that may not?
//! Because browsers learn new types that run script (any `+xml`, for one) without telling us.

use http::HeaderValue;
use mime::Mime;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest name offered, in bytes of UTF-8: what file systems hold.
const LONGEST_NAME: usize = 255;

/// Longest extension kept when a name is shortened, in bytes, with its dot.
const LONGEST_EXTENSION: usize = 16;

/// The name of a file that has none left.
const NAMELESS: &str = "file";

/// Longest media type believed, in bytes.
const LONGEST_TYPE: usize = 255;

/// Everything but attr-char of RFC 8187 section 3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// What a stored file is served as: its type, and whether a browser may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The stored type as it was given where a browser may show it, else `application/octet-stream`.
    pub content_type: HeaderValue,
    /// `inline` or `attachment` with the name as of RFC 6266.
    pub content_disposition: HeaderValue,
}

/// Labels a file by its stored type and its name, neither of them trusted. No type is guessed: what browsers would find
/// out by sniffing, an uploader could make them find.
pub fn label(stored_type: Option<&str>, filename: &str) -> Label {
    let stored =
        stored_type.map(str::trim).and_then(|text| Some((HeaderValue::from_str(text).ok()?, parse(text)?)));
    let (content_type, disposition) = match stored {
        Some((value, parsed)) if may_be_shown(&parsed) => (value, "inline"),
        // [XEP-135] whatever a browser or its plug-ins know to run, they do not learn from us
        Some(_) | None => (HeaderValue::from_static("application/octet-stream"), "attachment"),
    };
    Label { content_type, content_disposition: disposition_value(disposition, &safe_name(filename)) }
}

/// A concrete media type in printable ASCII: a range such as `image/*` is none.
fn parse(text: &str) -> Option<Mime> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !printable || text.len() > LONGEST_TYPE {
        return None;
    }
    text.parse::<Mime>().ok().filter(|parsed| {
        let essence = parsed.essence_str();
        !essence.contains('*') && !essence.ends_with('/')
    })
}

/// Types that no browser runs script in. Any type ending in `+xml` is rendered as XML, script and all.
fn may_be_shown(parsed: &Mime) -> bool {
    let essence = parsed.essence_str().to_ascii_lowercase();
    let pictures_and_text = [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/heic",
        "image/heif",
        "image/bmp",
        "image/jxl",
        "text/plain",
    ]
    .contains(&essence.as_str());
    let sound_and_film = essence.starts_with("audio/") || essence.starts_with("video/");
    pictures_and_text || (sound_and_film && !essence.ends_with("+xml"))
}

/// A name that is one file, visible, in the folder it is saved to: the last segment of a path, without control
/// characters, without marks that reverse the direction of text (`gpj.exe`), without leading or trailing dots and spaces.
fn safe_name(name: &str) -> String {
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let kept: String =
        last.chars().filter(|c| !is_unprintable(*c)).map(|c| if c == '\\' { '_' } else { c }).collect();
    let trimmed = kept.trim_matches(|c: char| c == '.' || c.is_whitespace());
    match shortened(trimmed) {
        name if name.is_empty() => NAMELESS.to_owned(),
        name => name,
    }
}

fn is_unprintable(c: char) -> bool {
    // Control characters; line and paragraph separators; marks of direction; the byte order mark.
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most [`LONGEST_NAME`] bytes, taken from before the extension so that the file still opens.
fn shortened(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let (stem, extension) = match name.rfind('.').map(|dot| name.split_at(dot)) {
        Some((stem, extension)) if extension.len() <= LONGEST_EXTENSION => (stem, extension),
        Some(_) | None => (name, ""),
    };
    let mut short = String::with_capacity(LONGEST_NAME);
    for c in stem.chars() {
        if short.len() + c.len_utf8() + extension.len() > LONGEST_NAME {
            break;
        }
        short.push(c);
    }
    short + extension
}

/// RFC 6266: `filename` in ASCII for everyone, and `filename*` beside it where that could not say the name exactly. `%` is
/// among the replaced since some browsers decode it (RFC 6266 appendix D).
fn disposition_value(disposition: &str, name: &str) -> HeaderValue {
    let plain = |c: char| if matches!(c, '"' | '\\' | '%') || !c.is_ascii() { '_' } else { c };
    let ascii: String = name.chars().map(plain).collect();
    let value = if ascii == name {
        format!("{disposition}; filename=\"{ascii}\"")
    } else {
        let exact = utf8_percent_encode(name, NOT_ATTR_CHAR);
        format!("{disposition}; filename=\"{ascii}\"; filename*=UTF-8''{exact}")
    };
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn shown(stored_type: &str) -> (String, bool) {
        let Label { content_type, content_disposition } = label(Some(stored_type), "x");
        (
            content_type.to_str().unwrap().to_owned(),
            content_disposition.to_str().unwrap().starts_with("inline;"),
        )
    }

    fn named(filename: &str) -> String {
        let value = label(None, filename).content_disposition;
        value.to_str().unwrap().strip_prefix("attachment; ").unwrap().to_owned()
    }

    /// The name that a client of RFC 6266 saves: `filename*` where it is there.
    fn saved(filename: &str) -> String {
        let parameters = named(filename);
        match parameters.split_once("; filename*=UTF-8''") {
            Some((_, exact)) => percent_decode_str(exact).decode_utf8().unwrap().into_owned(),
            None => parameters
                .strip_prefix("filename=\"")
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap()
                .to_owned(),
        }
    }

    #[test]
    fn pictures_sound_films_and_plain_text_are_shown() {
        for shown_type in [
            "image/png",
            "image/jpeg",
            "image/gif",
            "image/webp",
            "image/avif",
            "IMAGE/JPEG",
            "audio/ogg; codecs=opus",
            "video/mp4; codecs=\"avc1.42E01E, mp4a.40.2\"",
            "text/plain",
            "text/plain; charset=utf-8",
        ] {
            assert_eq!(shown(shown_type), (shown_type.to_owned(), true));
        }
    }

    #[test]
    fn what_can_run_script_is_saved_under_its_own_type() {
        for saved_type in [
            "text/html",
            "TEXT/HTML; charset=utf-8",
            "text/xml",
            "text/javascript",
            "text/css",
            "text/cache-manifest",
            "text/vcard",
            "image/svg+xml",
            "image/SVG+XML",
            "image/tiff",
            "image/png+xml",
            "image/png+x",
            "text/plain+html",
            "video/x+xml",
            "video/x+y+XML",
            "audio/x+xml; a=b",
            "application/xhtml+xml",
            "application/pdf",
            "application/wasm",
            "application/octet-stream",
            "multipart/x-mixed-replace; boundary=b",
            "message/rfc822",
        ] {
            assert_eq!(shown(saved_type), ("application/octet-stream".to_owned(), false), "{saved_type}");
        }
    }

    #[test]
    fn what_is_no_media_type_becomes_an_octet_stream() {
        let long = format!("image/png; a={}", "b".repeat(LONGEST_TYPE));
        for broken in [
            "",
            " ",
            "image",
            "image/",
            "image/; a=b",
            "/png",
            "image/png\r\nSet-Cookie: a=b",
            "image/p\u{7f}ng",
            "image/png; a=\"\t\"",
            "image/png, text/html",
            "image/png; a",
            "image /png",
            "image/*",
            "*/*",
            "bild/größe",
            "image/png; a=\"ö\"",
            &long,
        ] {
            assert_eq!(shown(broken), ("application/octet-stream".to_owned(), false), "{broken:?}");
        }
        assert_eq!(shown(" image/png\n"), ("image/png".to_owned(), true));
        let Label { content_type, content_disposition } = label(None, "x.png");
        assert_eq!(content_type, "application/octet-stream");
        assert_eq!(content_disposition, "attachment; filename=\"x.png\"");
    }

    #[test]
    fn an_ascii_name_needs_one_parameter() {
        assert_eq!(named("IMG 2024; (1)=a,b.jpg"), "filename=\"IMG 2024; (1)=a,b.jpg\"");
    }

    #[test]
    fn umlauts_and_emoji_are_given_exactly_beside_a_fallback() {
        assert_eq!(named("Grüße.txt"), "filename=\"Gr__e.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt");
        assert_eq!(named("🚢.png"), "filename=\"_.png\"; filename*=UTF-8''%F0%9F%9A%A2.png");
        assert_eq!(saved("👩‍🚀 à Köln.jpg"), "👩‍🚀 à Köln.jpg");
    }

    #[test]
    fn quotes_and_percent_signs_cannot_end_or_bend_the_value() {
        assert_eq!(named("a\"; x=\"b"), "filename=\"a_; x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b");
        assert_eq!(named("50%41.txt"), "filename=\"50_41.txt\"; filename*=UTF-8''50%2541.txt");
        assert_eq!(named("it's*.txt"), "filename=\"it's*.txt\"");
        assert_eq!(named("ü'*.txt"), "filename=\"_'*.txt\"; filename*=UTF-8''%C3%BC%27%2A.txt");
    }

    #[test]
    fn control_characters_and_marks_of_direction_vanish() {
        assert_eq!(named("a\r\nSet-Cookie: b\0\u{7f}\u{85}.txt"), "filename=\"aSet-Cookie: b.txt\"");
        assert_eq!(named("photo\u{202e}gpj.exe\u{2066}\u{200f}\u{feff}"), "filename=\"photogpj.exe\"");
    }

    #[test]
    fn a_path_is_reduced_to_one_visible_name() {
        for (given, saved_as) in [
            ("../x", "x"),
            ("../../etc/passwd", "passwd"),
            ("/", "file"),
            ("a/", "file"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("\u{202e}", "file"),
            (" . ", "file"),
            (".bashrc", "bashrc"),
            ("..\\..\\x.txt", "_.._x.txt"),
            ("C:\\x.txt", "C:_x.txt"),
            ("x.txt. . ", "x.txt"),
            (".\u{0}.", "file"),
        ] {
            assert_eq!(saved(given), saved_as, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let two_hundred = format!("{}.jpg", "a".repeat(196));
        assert_eq!(saved(&two_hundred), two_hundred);
        assert_eq!(saved(&format!("{}.jpg", "a".repeat(300))), format!("{}.jpg", "a".repeat(251)));
        assert_eq!(saved(&format!("{}.jpg", "é".repeat(200))), format!("{}.jpg", "é".repeat(125)));
        assert_eq!(saved(&format!("a.{}", "b".repeat(300))), format!("a.{}", "b".repeat(253)));
        assert_eq!(saved(&"🚢".repeat(100)), "🚢".repeat(63));
    }

    proptest! {
        #[test]
        fn any_name_and_type_give_a_value_that_names_one_visible_file(name: String, stored: Option<String>) {
            let Label { content_type, content_disposition } = label(stored.as_deref(), &name);
            prop_assert!(content_type.to_str().is_ok());
            let text = content_disposition.to_str().unwrap();
            prop_assert!(text.starts_with("inline; filename=\"") || text.starts_with("attachment; filename=\""));

            let saved = saved(&name);
            prop_assert!(!saved.is_empty() && saved.len() <= LONGEST_NAME);
            prop_assert!(!saved.contains(['/', '\\', '\0', '\r', '\n']));
            prop_assert!(!saved.starts_with('.') && !saved.ends_with('.'));
        }
    }
}
