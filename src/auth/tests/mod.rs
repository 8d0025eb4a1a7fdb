//! The rules of `protocol-spec/credentials.md`, each by the request that it lets in and the nearest one it refuses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;

use super::*;

mod jwts;
mod keyring;
mod minting;
mod properties;
mod slot_tokens;
mod strength;

const NOW: i64 = 1_700_604_500_000;
const PHOTO: &str = "foo/bar.jpg";
const MIB: u64 = 1_048_576;
const V1: &str = "f245f24acc8d76726fd3d2f51bb7d019b041e8b3141edb900d47fdaccd27062b";
const V2_JPEG: &str = "82186e63550b5be55b2d16edd20540164cdef3dd13b2200c6ab2c2525bda81fe";
const V2_UNTYPED: &str = "4d015fd5145fd75582b89ae482df1bf26b1e64d2209f2ecd94b17661fb4ca800";
const COOL: &str = "9f86d081-884c-4d63-a9f5-1b2c3d4e5f60/très cool.jpg";

fn ring() -> Keyring {
    ring_of(&["s3cret"])
}

fn ring_of(secrets: &[&str]) -> Keyring {
    Keyring::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect()).unwrap()
}

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JWT signed with HMAC-SHA256 whatever its header says.
fn jwt_with_header(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = URL_SAFE_NO_PAD.encode(hmac(b"s3cret", signed.as_bytes()));
    format!("{signed}.{mac}")
}

fn jwt(claims: &str) -> String {
    jwt_with_header(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

/// What Prosody 0.12 signs, with its times as Lua 5.2 writes them.
const CLAIMS: &str = r#"{"slot":"foo","filename":"bar.jpg","filesize":1048576,"filetype":"image/jpeg","sub":"romeo@montague.tld","iat":1700604500.0,"exp":1700604800.0,"expires":1701209300}"#;

/// [`CLAIMS`] with one claim replaced, or taken out when `to` is empty.
fn claims_with(name: &str, to: &str) -> String {
    let mut claims: serde_json::Map<String, serde_json::Value> = serde_json::from_str(CLAIMS).unwrap();
    claims.remove(name);
    let rest = serde_json::to_string(&claims).unwrap();
    if to.is_empty() { rest } else { rest.replacen('{', &format!("{{\"{name}\":{to},"), 1) }
}

/// A request for a path, by default the photo of one MiB.
#[derive(Clone)]
struct Ask {
    path: String,
    query: Option<String>,
    authorization: Option<Vec<u8>>,
    length: Option<u64>,
    content_types: Vec<&'static str>,
}

fn ask() -> Ask {
    Ask { path: PHOTO.into(), query: None, authorization: None, length: Some(MIB), content_types: vec![] }
}

impl Ask {
    fn path(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }
    fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }
    fn header(mut self, value: impl AsRef<[u8]>) -> Self {
        self.authorization = Some(value.as_ref().to_vec());
        self
    }
    fn bearer(self, token: &str) -> Self {
        self.header(format!("Bearer {token}"))
    }
    fn length(mut self, length: impl Into<Option<u64>>) -> Self {
        self.length = length.into();
        self
    }
    fn types(mut self, types: &[&'static str]) -> Self {
        self.content_types = types.to_vec();
        self
    }
    fn of(&self, keys: &Keyring, now_ms: i64) -> Result<Grant, Denied> {
        let presented = Presented {
            path: &self.path,
            query: self.query.as_deref(),
            authorization: self.authorization.as_deref(),
            length: self.length,
            content_types: &self.content_types,
        };
        authorize(keys, &presented, now_ms)
    }
    fn ask(&self) -> Result<Grant, Denied> {
        self.of(&ring(), NOW)
    }
    fn malformed(&self) -> (Carrier, &'static str) {
        match self.ask() {
            Err(Denied::Malformed { carrier, why }) => (carrier, why),
            other => panic!("expected a malformed credential, got {other:?}"),
        }
    }
}

const BAD_QUERY: Result<Grant, Denied> = Err(Denied::BadSignature { carrier: Carrier::Query });
const BAD_HEADER: Result<Grant, Denied> = Err(Denied::BadSignature { carrier: Carrier::Header });
