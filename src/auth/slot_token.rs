//! Slot tokens v1 and v2: an HMAC-SHA256 in hex that says nothing but "this path, this length (, this type)".
//!
//! Neither carries a claim, so each field is taken from the request and the MAC tells whether it is the signed one. They
//! have no expiry: that a completed path stays used is the ledger's part.

use super::{Carrier, Denied, Grant, Keyring, Presented, Scheme, last_segment, malformed_query, refuse_nul};

/// What Prosody signs for a slot that was asked for without a type.
const UNTYPED: &str = "application/octet-stream";

/// Media types by file extension, for clients that ask for a typed slot and then send no Content-Type. Guessing opens
/// nothing: the MAC decides whether the guess is what was signed.
const BY_EXTENSION: &[(&str, &[&str])] = &[
    ("jpg", &["image/jpeg"]),
    ("jpeg", &["image/jpeg"]),
    ("png", &["image/png"]),
    ("gif", &["image/gif"]),
    ("webp", &["image/webp"]),
    ("avif", &["image/avif"]),
    ("heic", &["image/heic"]),
    ("svg", &["image/svg+xml"]),
    ("mp4", &["video/mp4"]),
    ("webm", &["video/webm", "audio/webm"]),
    ("mov", &["video/quicktime"]),
    ("mp3", &["audio/mpeg"]),
    ("m4a", &["audio/mp4", "audio/x-m4a"]),
    ("aac", &["audio/aac"]),
    ("ogg", &["audio/ogg", "video/ogg"]),
    ("oga", &["audio/ogg"]),
    ("opus", &["audio/ogg", "audio/opus"]),
    ("wav", &["audio/wav", "audio/x-wav"]),
    ("flac", &["audio/flac"]),
    ("pdf", &["application/pdf"]),
    ("zip", &["application/zip"]),
    ("txt", &["text/plain"]),
    ("html", &["text/html"]),
    ("json", &["application/json"]),
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
            return Ok(grant(Scheme::V2, presented.path, length, Some(content_type)));
        }
    }
    Err(Denied::BadSignature { carrier: Carrier::Query })
}

fn preconditions(presented: &Presented<'_>, hex: &str) -> Result<([u8; 32], u64), Denied> {
    let tag = from_lowercase_hex(hex).ok_or(malformed_query("the token is not 64 lowercase hex digits"))?;
    refuse_nul(presented.path, Carrier::Query)?;
    // [AUT-12] the length is one of the signed fields
    Ok((tag, presented.length.ok_or(Denied::LengthRequired)?))
}

/// [AUT-13] The content types that the token may have been signed for: each that is presented, as it stands and without
/// its parameters; the empty one; and when none is presented, the generic one and what the file's extension suggests.
pub(super) fn candidates<'a>(presented: &Presented<'a>) -> Vec<&'a str> {
    let mut candidates = Vec::new();
    // [AUT-16] a type with a NUL would be read as further fields
    let readable = |named: &&str| !named.is_empty() && !named.contains('\0');
    for named in presented.content_types.iter().map(|named| named.trim()).filter(readable) {
        candidates.push(named);
        candidates.extend(named.split_once(';').map(|(essence, _)| essence.trim_end()));
    }
    if candidates.is_empty() {
        candidates.push(UNTYPED);
        candidates.extend(by_extension(presented.path));
    }
    candidates.push("");
    candidates
}

fn by_extension(path: &str) -> impl Iterator<Item = &str> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = BY_EXTENSION.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.into_iter().flat_map(|(_, types)| types.iter().copied())
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
