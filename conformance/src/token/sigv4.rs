//! Presigned PUT URLs of S3 (Signature Version 4, the payload unsigned), as MongooseIM hands them out.

use sha2::{Digest as _, Sha256};

use super::{hex, mac};
use crate::case::Failure;
use crate::ctx::encode_segment;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SIGNED_HEADERS: &str = "content-length;content-type;host";

/// A PUT to be presigned.
#[derive(Debug, Clone)]
pub struct Presigned {
    /// Access key id.
    pub key_id: String,
    /// Region of the credential's scope.
    pub region: String,
    /// `YYYYMMDD'T'HHMMSS'Z'`.
    pub date: String,
    /// Seconds from the date on.
    pub expires: u64,
    /// Value of the Host field.
    pub host: String,
    /// Percent-encoded path, from its first slash on.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Media type.
    pub content_type: String,
}

impl Presigned {
    /// The query of the URL, without a question mark, its signature last.
    pub fn query(&self, secret: &str) -> Result<String, Failure> {
        let day = self.date.get(..8).ok_or_else(|| Failure::because("a date starts with a day"))?;
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        // In the order of the names, as the canonical form wants it.
        let query = format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders={}",
            encode_segment(&format!("{}/{scope}", self.key_id)),
            self.date,
            self.expires,
            encode_segment(SIGNED_HEADERS),
        );
        let canonical = format!(
            "PUT\n{}\n{query}\ncontent-length:{}\ncontent-type:{}\nhost:{}\n\n{SIGNED_HEADERS}\nUNSIGNED-PAYLOAD",
            self.path, self.size, self.content_type, self.host,
        );
        let hashed = hex(&Sha256::digest(canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", self.date);
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [day, &self.region, "s3", "aws4_request"] {
            key = mac(&key, &[part.as_bytes()])?;
        }
        Ok(format!("{query}&X-Amz-Signature={}", hex(&mac(&key, &[text.as_bytes()])?)))
    }
}

/// The basic form of ISO 8601 for seconds since 1970.
pub fn basic_date(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

/// Year, month and day in the Gregorian calendar, from days since 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_matches_the_known_vector() {
        let presigned = Presigned {
            key_id: "AKID".into(),
            region: "eu-west-1".into(),
            date: "20231114T221320Z".into(),
            expires: 60,
            host: "up.example.org".into(),
            path: "/bucket/foo/bar.jpg".into(),
            size: 1_048_576,
            content_type: "image/jpeg".into(),
        };
        let query = presigned.query("s3cret").unwrap();
        assert!(
            query.ends_with(
                "&X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost\
                 &X-Amz-Signature=3146b33545b4146f0e30f4224e0af2b8ef96dd9cdb707a2c2f5383b35187af7b"
            ),
            "{query}"
        );
        let other = Presigned { size: 1_048_577, ..presigned }.query("s3cret").unwrap();
        assert_ne!(query, other);
    }

    #[test]
    fn dates_are_written_in_the_basic_form() {
        assert_eq!(basic_date(1_700_000_000), "20231114T221320Z");
        assert_eq!(basic_date(0), "19700101T000000Z");
        assert_eq!(basic_date(951_782_399), "20000228T235959Z");
        assert_eq!(basic_date(951_782_400), "20000229T000000Z");
        assert_eq!(basic_date(4_107_542_399), "21000228T235959Z");
        assert_eq!(basic_date(4_107_542_400), "21000301T000000Z");
    }
}
