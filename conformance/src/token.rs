//! Mints slot tokens the way XMPP servers do.
//!
//! Each scheme signs the percent-decoded path below the base path with the raw bytes of the shared secret:
//!
//! | scheme | signed bytes | form |
//! |---|---|---|
//! | v1 | `path` SP `length` | lowercase hex |
//! | v2 | `path` NUL `length` NUL `content-type` | lowercase hex |
//! | bearer | claims about slot, name, size, type and expiry | a JWT, HS256 |
//!
//! A [`Grant`] to create tus uploads is a JWT as well, of another scope. [`ejabberd`] and [`sigv4`] have forms of their
//! own, which sign less or more than the path below the base path.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::case::Failure;
use crate::clock;

pub mod ejabberd;
pub mod sigv4;

fn mac(secret: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, Failure> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).map_err(|_| Failure::because("the secret is no HMAC key"))?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The HMAC-SHA256 of these parts, one behind the other, in lowercase hex.
pub fn hex_mac(secret: &[u8], parts: &[&[u8]]) -> Result<String, Failure> {
    Ok(hex(&mac(secret, parts)?))
}

/// The `v=` parameter: mod_http_upload_external, ejabberd's `external_secret`. `size` in bytes.
pub fn v1(secret: &[u8], path: &str, size: u64) -> Result<String, Failure> {
    hex_mac(secret, &[path.as_bytes(), b" ", size.to_string().as_bytes()])
}

/// The `v2=` (or `token=`) parameter of mod_http_upload_external's second protocol. `size` in bytes; an empty
/// `content_type` stands for a slot without one.
pub fn v2(secret: &[u8], path: &str, size: u64, content_type: &str) -> Result<String, Failure> {
    hex_mac(secret, &[path.as_bytes(), b"\0", size.to_string().as_bytes(), b"\0", content_type.as_bytes()])
}

/// The claims of a slot's bearer token (Prosody's mod_http_file_share).
#[derive(Debug, Clone)]
pub struct Claims {
    /// JID of the uploader.
    pub sub: String,
    /// First segment of the path.
    pub slot: String,
    /// Last segment of the path, decoded.
    pub filename: String,
    /// Bytes.
    pub filesize: u64,
    /// Media type.
    pub filetype: String,
    /// Seconds from now until the token expires; negative for one that has expired.
    pub lifetime: i64,
}

impl Claims {
    /// The claims as a JSON object with integer numbers, dated now (an expired token is dated before its expiry).
    pub fn to_json(&self) -> Map<String, Value> {
        let now = clock::unix_now();
        let expiry = now.saturating_add_signed(self.lifetime);
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.sub));
        claims.insert("slot".into(), json!(self.slot));
        claims.insert("filename".into(), json!(self.filename));
        claims.insert("filesize".into(), json!(self.filesize));
        claims.insert("filetype".into(), json!(self.filetype));
        claims.insert("iat".into(), json!(now.min(expiry.saturating_sub(300))));
        claims.insert("exp".into(), json!(expiry));
        claims
    }

    /// The token, signed with HS256.
    pub fn sign(&self, secret: &[u8]) -> Result<String, Failure> {
        self.sign_as(Algorithm::HS256, secret)
    }

    /// The token, signed with another HMAC of the JOSE family.
    pub fn sign_as(&self, algorithm: Algorithm, secret: &[u8]) -> Result<String, Failure> {
        jsonwebtoken::encode(&Header::new(algorithm), &self.to_json(), &EncodingKey::from_secret(secret))
            .map_err(|error| Failure::because(format_args!("cannot sign a bearer token: {error}")))
    }

    /// The token with `alg: none` and an empty signature.
    pub fn unsigned(&self) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(Value::Object(self.to_json()).to_string());
        format!("{header}.{claims}.")
    }
}

/// What a grant to create tus uploads claims.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who uploads.
    pub sub: String,
    /// What it is for; `upload`, unless a case wants it otherwise.
    pub scope: &'static str,
    /// The largest upload in bytes.
    pub max_size: Option<u64>,
    /// Seconds from now until the grant expires; negative for one that has expired.
    pub lifetime: i64,
}

impl Default for Grant {
    /// A grant that outlives any run.
    fn default() -> Self {
        Self { sub: crate::ctx::UPLOADER.into(), scope: "upload", max_size: None, lifetime: 6 * 3600 }
    }
}

impl Grant {
    /// The token, signed with HS256.
    pub fn sign(&self, secret: &[u8]) -> Result<String, Failure> {
        let now = clock::unix_now();
        let expiry = now.saturating_add_signed(self.lifetime);
        let issued = now.min(expiry.saturating_sub(300));
        let mut claims = json!({"sub": self.sub, "scope": self.scope, "iat": issued, "exp": expiry});
        if let (Some(max_size), Some(claims)) = (self.max_size, claims.as_object_mut()) {
            claims.insert("max_size".into(), json!(max_size));
        }
        sign_json(secret, &claims.to_string())
    }
}

/// Signs a claim set given as JSON text, byte for byte: for orders and number forms that no library writes.
pub fn sign_json(secret: &[u8], claims: &str) -> Result<String, Failure> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(secret, &[message.as_bytes()])?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    const SECRET: &[u8] = b"s3cret";
    const UMLAUT: &str = "9f86d081-884c-4d63-a9f5-1b2c3d4e5f60/très cool.jpg";

    #[test]
    fn v1_matches_the_known_vectors() {
        for (path, size, mac) in [
            ("foo/bar.jpg", 1_048_576, "f245f24acc8d76726fd3d2f51bb7d019b041e8b3141edb900d47fdaccd27062b"),
            (UMLAUT, 23456, "5f3c26362ddd2f4fdc552aa7296f79f5b8733a5a46b367827974f2592956be30"),
            (
                "43feddb25776a343c69835c7e79dc2c7f59598a6/aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcd/très_cool.jpg",
                23456,
                "98206edc8aee6c14bc40920fe15d157b24e03884ddc8285b3a0d490909539869",
            ),
        ] {
            assert_eq!(v1(SECRET, path, size).unwrap(), mac, "{path}");
        }
    }

    #[test]
    fn v2_matches_the_known_vectors() {
        for (path, size, content_type, mac) in [
            (
                "foo/bar.jpg",
                1_048_576,
                "image/jpeg",
                "82186e63550b5be55b2d16edd20540164cdef3dd13b2200c6ab2c2525bda81fe",
            ),
            (
                "foo/bar.jpg",
                1_048_576,
                "",
                "4d015fd5145fd75582b89ae482df1bf26b1e64d2209f2ecd94b17661fb4ca800",
            ),
            (UMLAUT, 23456, "image/jpeg", "10b01b091a77d4a1ec3486d96d2dad9ec1f09fad25ff5333bc94c51e0d0da381"),
        ] {
            assert_eq!(v2(SECRET, path, size, content_type).unwrap(), mac, "{path} {content_type}");
        }
    }

    fn claims() -> Claims {
        Claims {
            sub: "romeo@montague.tld".into(),
            slot: "slot".into(),
            filename: "photo.jpg".into(),
            filesize: 12345,
            filetype: "image/jpeg".into(),
            lifetime: 300,
        }
    }

    #[test]
    fn bearer_tokens_verify_and_carry_every_claim() {
        let token = claims().sign(SECRET).unwrap();
        let key = DecodingKey::from_secret(SECRET);
        let data = jsonwebtoken::decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).unwrap();
        assert_eq!(data.claims["slot"], "slot");
        assert_eq!(data.claims["filesize"], 12345);
        assert_eq!(
            data.claims["exp"].as_u64().unwrap() - data.claims["iat"].as_u64().unwrap(),
            300,
            "a fresh token lives for its lifetime"
        );
    }

    #[test]
    fn an_expired_token_fails_verification_by_its_date_alone() {
        let token = Claims { lifetime: -3600, ..claims() }.sign(SECRET).unwrap();
        let key = DecodingKey::from_secret(SECRET);
        let error =
            jsonwebtoken::decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).unwrap_err();
        assert_eq!(error.kind(), &jsonwebtoken::errors::ErrorKind::ExpiredSignature);
    }

    #[test]
    fn verbatim_claims_are_signed_like_a_library_would() {
        let token = sign_json(SECRET, r#"{"exp":4102444800.0,"slot":"x"}"#).unwrap();
        let key = DecodingKey::from_secret(SECRET);
        let data = jsonwebtoken::decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).unwrap();
        assert_eq!(data.claims["slot"], "x");
    }

    #[test]
    fn a_grant_carries_its_scope_and_a_limit_only_when_it_has_one() {
        let key = DecodingKey::from_secret(SECRET);
        for max_size in [None, Some(5)] {
            let token = Grant { max_size, ..Grant::default() }.sign(SECRET).unwrap();
            let data =
                jsonwebtoken::decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).unwrap();
            assert_eq!(data.claims["scope"], "upload");
            assert_eq!(data.claims.get("max_size").and_then(Value::as_u64), max_size);
        }
    }

    #[test]
    fn an_unsigned_token_says_so_and_has_no_signature() {
        let token = claims().unsigned();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[0]).unwrap(), br#"{"alg":"none","typ":"JWT"}"#);
        assert!(parts[2].is_empty());
    }
}
