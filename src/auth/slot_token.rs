//! Slot tokens v1 and v2: an HMAC-SHA256 in hex that says nothing but "this path, this length (, this type)".
//!
//! Neither carries a claim, so each field is taken from the request and the MAC tells whether it is the signed one. They
//! have no expiry: that a completed path stays used is the ledger's part.

use std::borrow::Cow;

use super::{Carrier, Denied, Grant, Keyring, Presented, Scheme, last_segment, malformed_query, refuse_nul};

/// What Prosody signs for a slot that was asked for without a type.
const UNTYPED: &str = "application/octet-stream";

/// Types of a request that say nothing of the file: those of the protocols that carry it in pieces, and the one that curl
/// sends of its own accord.
const NOT_OF_THE_FILE: &[&str] = &[
    UNTYPED,
    "application/offset+octet-stream",
    "application/partial-upload",
    "application/x-www-form-urlencoded",
];

/// Types by file extension that systems of clients name besides those of `mime_infer`.
const ALSO_BY_EXTENSION: &[(&str, &[&str])] = &[
    ("7z", &["application/7z"]),
    ("aac", &["audio/x-aac", "audio/vnd.dlna.adts"]),
    ("apk", &["application/zip", "application/java-archive"]),
    ("bz2", &["application/bzip2", "application/x-bzip"]),
    ("csv", &["text/comma-separated-values", "application/vnd.ms-excel"]),
    ("docx", &["application/zip"]),
    ("flac", &["audio/x-flac"]),
    ("geojson", &["application/json"]),
    ("gpx", &["application/gpx", "application/xml", "text/xml"]),
    ("gz", &["application/x-gzip"]),
    ("ics", &["text/calendar"]),
    ("jpg", &["image/pjpeg"]),
    ("kml", &["application/xml", "text/xml"]),
    ("kmz", &["application/zip"]),
    ("log", &["text/x-log"]),
    ("m4a", &["audio/mp4", "audio/x-m4a", "audio/mp4a-latm"]),
    ("mp3", &["audio/mp3"]),
    ("odp", &["application/zip"]),
    ("ods", &["application/zip"]),
    ("odt", &["application/zip"]),
    ("ogg", &["video/ogg", "application/ogg"]),
    ("opus", &["audio/opus"]),
    ("pptx", &["application/zip"]),
    ("rar", &["application/vnd.rar", "application/x-rar"]),
    ("tgz", &["application/gzip", "application/x-gzip", "application/x-compressed-tar", "application/x-tgz"]),
    ("vcf", &["text/vcard"]),
    ("wav", &["audio/x-wav", "audio/wave", "audio/vnd.wave"]),
    ("webm", &["audio/webm"]),
    ("xlsx", &["application/zip"]),
    ("xml", &["application/xml"]),
    ("zip", &["application/x-zip-compressed", "application/x-zip"]),
    ("zst", &["application/zstd"]),
];

/// `path SP length`.
pub(super) fn verify_v1(keys: &Keyring, presented: &Presented<'_>, hex: &str) -> Result<Grant, Denied> {
    let (tag, length) = preconditions(presented, hex)?;
    let length_text = length.to_string();
    // [AUT-10] path, one space, decimal length
    let signed = [presented.path.as_bytes(), b" ", length_text.as_bytes()];
    if !keys.signed(&signed, &tag) {
        return Err(Denied::BadSignature { carrier: Carrier::Query });
    }
    Ok(grant(Scheme::V1, presented.path, length, None))
}

/// `path NUL length NUL content-type`.
pub(super) fn verify_v2(keys: &Keyring, presented: &Presented<'_>, hex: &str) -> Result<Grant, Denied> {
    let (tag, length) = preconditions(presented, hex)?;
    let length_text = length.to_string();
    for content_type in candidates(presented) {
        // [AUT-11] path, NUL, decimal length, NUL, content type
        let signed =
            [presented.path.as_bytes(), b"\0", length_text.as_bytes(), b"\0", content_type.as_bytes()];
        if keys.signed(&signed, &tag) {
            return Ok(grant(Scheme::V2, presented.path, length, Some(&content_type)));
        }
    }
    Err(Denied::BadSignatureOrType { carrier: Carrier::Query })
}

fn preconditions(presented: &Presented<'_>, hex: &str) -> Result<([u8; 32], u64), Denied> {
    let tag = from_lowercase_hex(hex).ok_or(malformed_query("the token is not 64 lowercase hex digits"))?;
    refuse_nul(presented.path, Carrier::Query)?;
    // [AUT-12] the length is one of the signed fields
    Ok((tag, presented.length.ok_or(Denied::LengthRequired)?))
}

/// [AUT-13] The content types that the token may have been signed for: each that is presented, as it stands, in small
/// letters, and both without parameters; the empty one; and when none is presented that is the file's own, the generic one
/// and what the file's extension suggests. Trying them opens nothing: the MAC decides which one was signed.
pub(super) fn candidates<'a>(presented: &Presented<'a>) -> Vec<Cow<'a, str>> {
    let mut candidates: Vec<Cow<'a, str>> = Vec::new();
    let mut add = |candidate: Cow<'a, str>| {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    };
    // [AUT-16] a type with a NUL would be read as further fields
    let readable = |named: &&str| !named.is_empty() && !named.contains('\0');
    let mut is_named = false;
    for named in presented.content_types.iter().map(|named| named.trim()).filter(readable) {
        let essence = named.split_once(';').map_or(named, |(essence, _)| essence.trim_end());
        is_named |= !NOT_OF_THE_FILE.iter().any(|other| essence.eq_ignore_ascii_case(other));
        for form in [named, essence] {
            add(Cow::Borrowed(form));
            add(Cow::Owned(form.to_ascii_lowercase()));
        }
    }
    if !is_named {
        add(Cow::Borrowed(UNTYPED));
        by_extension(presented.path).for_each(|suggested| add(Cow::Borrowed(suggested)));
    }
    add(Cow::Borrowed(""));
    candidates
}

fn by_extension(path: &str) -> impl Iterator<Item = &'static str> {
    let name = last_segment(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let also = ALSO_BY_EXTENSION.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    let usual = mime_infer::from_ext(extension).iter_raw();
    usual.chain(also.into_iter().flat_map(|(_, types)| types.iter().copied()))
}

fn grant(scheme: Scheme, path: &str, length: u64, content_type: Option<&str>) -> Grant {
    Grant {
        size: Some(length),
        filename: Some(last_segment(path)).filter(|name| !name.is_empty()).map(str::to_owned),
        content_type: content_type.filter(|named| !named.is_empty()).map(str::to_owned),
        ..Grant::of(scheme)
    }
}

/// Whether a `token` parameter looks like a v2 token, in whichever case its digits are.
pub(super) fn has_tag_length(token: &str) -> bool {
    token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// [AUT-4] One spelling per token: capitals are refused.
pub(super) fn from_lowercase_hex(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let tag = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect::<Option<Vec<u8>>>()?;
    if rest.is_empty() { tag.try_into().ok() } else { None }
}
