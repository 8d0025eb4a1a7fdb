//! The Bearer tokens of ejabberd's mod_http_upload_hmac: MACs that name a user, a file and its size, but no path.
//!
//! | layout | signed bytes |
//! |---|---|
//! | plain | `jid` NUL `filename` NUL `size` NUL `issued-at` |
//! | resilient | the same, NUL `expiry` NUL `network_resilient` |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::mac;
use crate::case::Failure;

/// The life of a plain token, in seconds: it is agreed upon, since the token does not sign its end.
pub const LIFETIME: u64 = 3600;
/// The life of a resilient one.
pub const RESILIENT_LIFETIME: u64 = 86_400;

/// Which bytes are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The moment of issue alone.
    Plain,
    /// The end as well.
    Resilient,
}

/// What such a token says.
#[derive(Debug, Clone)]
pub struct FileToken {
    /// The layout.
    pub layout: Layout,
    /// JID of the uploader.
    pub user: String,
    /// The file's name, decoded, without its folders.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970.
    pub expiry: u64,
}

impl FileToken {
    /// The MAC in base64 with padding.
    pub fn sign(&self, secret: &[u8]) -> Result<String, Failure> {
        let Self { user, filename, size, issued_at, expiry, layout } = self;
        let mut signed = format!("{user}\0{filename}\0{size}\0{issued_at}");
        if *layout == Layout::Resilient {
            signed.push_str(&format!("\0{expiry}\0network_resilient"));
        }
        Ok(STANDARD.encode(mac(secret, &[signed.as_bytes()])?))
    }

    /// The parameters that go with it, without a question mark.
    pub fn query(&self) -> String {
        format!("user={}&expiry={}", encode(&self.user), self.expiry)
    }

    /// These parameters, and the token in one of its own.
    pub fn query_with_token(&self, secret: &[u8]) -> Result<String, Failure> {
        Ok(format!("token={}&{}", encode(&self.sign(secret)?), self.query()))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(layout: Layout, expiry: u64) -> FileToken {
        FileToken {
            layout,
            user: "romeo@montague.tld".into(),
            filename: "photo.jpg".into(),
            size: 12345,
            issued_at: 1_700_000_000,
            expiry,
        }
    }

    #[test]
    fn both_layouts_match_the_known_vectors() {
        let plain = token(Layout::Plain, 1_700_003_600);
        assert_eq!(plain.sign(b"s3cret").unwrap(), "xpZwhpVJL7qE38mvwuvEyJcG4grubLtwBbN2kAReUFs=");
        let resilient = token(Layout::Resilient, 1_700_086_400);
        assert_eq!(resilient.sign(b"s3cret").unwrap(), "tXprRSPgdGr4zJ6U00cAXDKnt9Z42C4IzAaIv88++FM=");
    }

    #[test]
    fn the_plain_layout_does_not_sign_its_end_and_the_resilient_one_does() {
        let signed = |layout, expiry| token(layout, expiry).sign(b"s3cret").unwrap();
        assert_eq!(signed(Layout::Plain, 1), signed(Layout::Plain, 2));
        assert_ne!(signed(Layout::Resilient, 1), signed(Layout::Resilient, 2));
    }

    #[test]
    fn a_token_in_the_query_survives_decoding() {
        let query = token(Layout::Plain, 1_700_003_600).query_with_token(b"s3cret").unwrap();
        assert!(query.ends_with("BbN2kAReUFs%3D&user=romeo%40montague%2Etld&expiry=1700003600"), "{query}");
    }
}
