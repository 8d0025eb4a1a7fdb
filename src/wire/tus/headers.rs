//! The headers of tus 1.0.0: their names, and the values that clients may send in them.

use std::collections::HashSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName};

use super::super::reply::Reply;
use crate::engine::digest::{Algorithm, Claim};

/// The one version we speak.
pub const VERSION: &str = "1.0.0";
/// Every extension of the specification.
pub const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,\
    checksum-trailer,termination,concatenation,concatenation-unfinished";
/// The media type of bytes.
pub const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub const $name: HeaderName = HeaderName::from_static($text);)+
    };
}

names! {
    /// The version of a request and of its answer.
    TUS_RESUMABLE = "tus-resumable";
    /// The versions we speak.
    TUS_VERSION = "tus-version";
    /// The extensions we speak.
    TUS_EXTENSION = "tus-extension";
    /// The largest upload in bytes.
    TUS_MAX_SIZE = "tus-max-size";
    /// The checksums we can compute.
    TUS_CHECKSUM_ALGORITHM = "tus-checksum-algorithm";
    /// `1` while the complete length is unknown.
    UPLOAD_DEFER_LENGTH = "upload-defer-length";
    /// Keys and base64 values.
    UPLOAD_METADATA = "upload-metadata";
    /// An algorithm and a base64 value.
    UPLOAD_CHECKSUM = "upload-checksum";
    /// `partial`, or `final;` and URLs.
    UPLOAD_CONCAT = "upload-concat";
    /// When an incomplete upload is removed.
    UPLOAD_EXPIRES = "upload-expires";
}

/// Say what we can do: on OPTIONS.
#[must_use]
pub fn announce(reply: Reply, max_size: u64) -> Reply {
    let algorithms = Algorithm::ALL.map(Algorithm::name).join(",");
    reply
        .with(TUS_RESUMABLE, VERSION)
        .with(TUS_VERSION, VERSION)
        .with(TUS_EXTENSION, EXTENSIONS)
        .with(TUS_MAX_SIZE, max_size)
        .with(TUS_CHECKSUM_ALGORITHM, algorithms)
}

/// A non-negative integer that the ledger can hold; no sign, no space.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| *n <= i64::MAX.unsigned_abs())
}

/// Why a checksum header is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChecksum {
    /// Not an algorithm, a space and base64.
    Malformed,
    /// We cannot compute it.
    Unsupported,
}

/// `Upload-Checksum: sha1 BASE64`. The value may be of the wrong length, which matches no bytes.
///
/// # Errors
/// See [`BadChecksum`].
pub fn checksum(text: &str) -> Result<Claim, BadChecksum> {
    let (name, value) = text.trim().split_once(' ').ok_or(BadChecksum::Malformed)?;
    let algorithm = Algorithm::named(name).ok_or(BadChecksum::Unsupported)?;
    let value = BASE64_STANDARD.decode(value.trim()).map_err(|_| BadChecksum::Malformed)?;
    Ok(Claim { algorithm, value })
}

/// The claim that trailers make. One that cannot be read counts as none, and is refused as missing.
#[must_use]
pub fn claim(trailers: &HeaderMap) -> Option<Claim> {
    checksum(trailers.get(UPLOAD_CHECKSUM)?.to_str().ok()?).ok()
}

/// Longest `Upload-Metadata`, in bytes: room for names and types, and too little to store a file in.
pub const LONGEST_METADATA: usize = 8 * 1024;
/// Most pairs in one `Upload-Metadata`.
pub const MOST_PAIRS: usize = 64;

/// Why an `Upload-Metadata` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMetadata {
    /// It breaks the rules of the specification.
    Malformed,
    /// More than [`LONGEST_METADATA`] bytes or [`MOST_PAIRS`] pairs.
    TooMuch,
}

/// Keys and decoded values of `Upload-Metadata`.
///
/// [TUS-33] comma-separated pairs, key and value separated by a space, keys unique and neither empty nor with
/// spaces or commas, values base64 and possibly empty
///
/// # Errors
/// See [`BadMetadata`].
pub fn metadata(text: &str) -> Result<Vec<(String, Vec<u8>)>, BadMetadata> {
    // [TUS-120] both bounds are checked before anything is decoded
    if text.len() > LONGEST_METADATA || text.split(',').count() > MOST_PAIRS {
        return Err(BadMetadata::TooMuch);
    }
    let mut known = HashSet::new();
    let pair = |pair: &str| {
        let pair = pair.trim();
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
        if !is_key || !known.insert(key.to_owned()) {
            return Err(BadMetadata::Malformed);
        }
        Ok((key.to_owned(), BASE64_STANDARD.decode(value).map_err(|_| BadMetadata::Malformed)?))
    };
    text.split(',').map(pair).collect()
}

/// What `Upload-Concat` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concat<'a> {
    /// A part.
    Partial,
    /// Of these URLs.
    Final(Vec<&'a str>),
}

impl<'a> Concat<'a> {
    /// Parse the header; `None` when it is neither form.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text == "partial" {
            return Some(Self::Partial);
        }
        let urls: Vec<&str> = text.strip_prefix("final;")?.split(' ').filter(|url| !url.is_empty()).collect();
        (!urls.is_empty()).then_some(Self::Final(urls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keeps_to_its_rules() {
        let pairs = metadata("filename d29ybGQ=,is_confidential, empty ").unwrap();
        assert_eq!(pairs.len(), 3);
        assert_eq!(pairs.first().unwrap(), &("filename".to_owned(), b"world".to_vec()));
        for bad in ["", ",", "a Yg==,", "a Yg==,a Yg==", "a not-base64", "a Yg== Yg==", "\u{e4} Yg=="] {
            assert_eq!(metadata(bad), Err(BadMetadata::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn metadata_has_a_bound_on_its_bytes_and_on_its_pairs() {
        let pairs = |count: usize| (0..count).map(|n| format!("k{n} Yg==")).collect::<Vec<_>>().join(",");
        assert_eq!(metadata(&pairs(MOST_PAIRS)).unwrap().len(), MOST_PAIRS);
        assert_eq!(metadata(&pairs(MOST_PAIRS + 1)), Err(BadMetadata::TooMuch));
        let long = |bytes: usize| format!("k {}", "A".repeat(bytes - 2));
        assert!(metadata(&long(LONGEST_METADATA - 2)).is_ok());
        assert_eq!(metadata(&long(LONGEST_METADATA + 2)), Err(BadMetadata::TooMuch));
    }

    #[test]
    fn checksums_have_a_known_algorithm() {
        assert_eq!(checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap().algorithm, Algorithm::Sha1);
        assert_eq!(checksum("SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), Err(BadChecksum::Unsupported));
        assert_eq!(checksum("sha3 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), Err(BadChecksum::Unsupported));
        assert_eq!(checksum("sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap().value.len(), 20);
        for bad in ["sha1", "sha1 ????", ""] {
            assert_eq!(checksum(bad), Err(BadChecksum::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn concat_is_partial_or_a_list() {
        assert_eq!(Concat::parse("partial"), Some(Concat::Partial));
        assert_eq!(
            Concat::parse("final;/files/a /files/b"),
            Some(Concat::Final(vec!["/files/a", "/files/b"]))
        );
        assert_eq!(Concat::parse("final; /a"), Some(Concat::Final(vec!["/a"])));
        for bad in ["", "final", "final;", "Partial", "partial;", "final;  "] {
            assert_eq!(Concat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_neither_sign_nor_space() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9223372036854775807"), Some(i64::MAX.unsigned_abs()));
        for bad in ["", "-1", "+1", " 1", "1.0", "0x1", "9223372036854775808", "\u{661}"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
