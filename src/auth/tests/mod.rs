//! The rules of `protocol-spec/credentials.md`, each by the request that it lets in and the nearest one it refuses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use super::*;

mod bearers;
mod confusion;
mod jwts;
mod keyring;
mod minting;
mod properties;
mod resumes;
mod sigv4s;
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
    content_types: Vec<String>,
    session_token: Option<Vec<u8>>,
    /// `None` is `/upload/` and the path, encoded.
    raw_path: Option<String>,
    hosts: Vec<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
}

fn ask() -> Ask {
    Ask {
        path: PHOTO.into(),
        query: None,
        authorization: None,
        length: Some(MIB),
        content_types: vec![],
        session_token: None,
        raw_path: None,
        hosts: vec!["up.example.org"],
        headers: vec![],
    }
}

const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    fn types(mut self, types: &[&str]) -> Self {
        self.content_types = types.iter().map(|named| (*named).to_owned()).collect();
        self
    }
    fn session(mut self, token: impl AsRef<[u8]>) -> Self {
        self.session_token = Some(token.as_ref().to_vec());
        self
    }
    fn raw(mut self, raw: &str) -> Self {
        self.raw_path = Some(raw.into());
        self
    }
    fn hosts(mut self, hosts: &[&'static str]) -> Self {
        self.hosts = hosts.to_vec();
        self
    }
    fn sends(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
    fn show<T>(&self, judge: impl FnOnce(&Presented<'_>) -> T) -> T {
        let raw = self
            .raw_path
            .clone()
            .unwrap_or_else(|| format!("/upload/{}", utf8_percent_encode(&self.path, IN_PATH)));
        let types: Vec<&str> = self.content_types.iter().map(String::as_str).collect();
        judge(&Presented {
            path: &self.path,
            query: self.query.as_deref(),
            authorization: self.authorization.as_deref(),
            length: self.length,
            content_types: &types,
            session_token: self.session_token.as_deref(),
            raw_path: &raw,
            hosts: &self.hosts,
            header: &|asked| {
                let found = self.headers.iter().find(|(name, _)| *name == asked);
                found.map(|(_, value)| (*value).to_owned())
            },
        })
    }
    fn of(&self, keys: &Keyring, now_ms: i64) -> Result<Grant, Denied> {
        self.show(|presented| authorize(keys, &Rules::default(), presented, now_ms))
    }
    fn at(&self, now_ms: i64) -> Result<Grant, Denied> {
        self.of(&ring(), now_ms)
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

/// When a credential expired that is right in everything else.
fn expired(judged: &Result<Grant, Denied>) -> Option<i64> {
    match judged {
        Err(Denied::Expired { at_ms, grant }) => {
            assert_eq!(grant.expires_at_ms, Some(*at_ms));
            Some(*at_ms)
        }
        _ => None,
    }
}

const BAD_QUERY: Result<Grant, Denied> = Err(Denied::BadSignature { carrier: Carrier::Query });
/// Of a MAC that signs the content type too.
const BAD_TYPED: Result<Grant, Denied> = Err(Denied::BadSignatureOrType { carrier: Carrier::Query });
const BAD_HEADER: Result<Grant, Denied> = Err(Denied::BadSignature { carrier: Carrier::Header });
