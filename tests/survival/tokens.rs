//! Credentials as the other side mints them, for any moment.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use plimsoll::{
    auth::{Keyring, SlotClaims, mint},
    clock::Timestamp,
};
use sha2::Sha256;

use crate::common::{hex, sha256, slots::SECRET};

pub(crate) const ROMEO: &str = "romeo@montague.example";
pub(crate) const JULIET: &str = "juliet@capulet.example";

pub(crate) fn ring(secrets: &[&str]) -> Keyring {
    Keyring::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect()).unwrap()
}

pub(crate) fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A slot token of Prosody's form for `/upload/{name}`, where `name` is a segment, a slash and a file's name.
pub(crate) fn jwt(subject: &str, name: &str, size: u64, expires_at: Timestamp) -> String {
    let (slot, filename) = name.split_once('/').unwrap();
    let claims = SlotClaims {
        subject: Some(subject.to_owned()),
        slot: slot.to_owned(),
        filename: filename.to_owned(),
        size,
        content_type: None,
        issued_at_ms: expires_at.0 - 300_000,
        expires_at_ms: expires_at.0,
        retain_until_ms: None,
    };
    mint(&ring(&[SECRET]), &claims).unwrap()
}

/// The MAC and the query of ejabberd's proposal, layout 1, issued at `second`.
pub(crate) fn bearer(subject: &str, filename: &str, size: u64, second: i64) -> (String, String) {
    let mac = hmac(SECRET.as_bytes(), &format!("{subject}\0{filename}\0{size}\0{second}"));
    (STANDARD.encode(mac), format!("user={}&expiry={}", subject.replace('@', "%40"), second + 3600))
}

/// The query of a presigned S3 PUT of `size` bytes to `path`, good for an hour.
pub(crate) fn presigned(host: &str, path: &str, size: u64, at: Timestamp) -> String {
    let date: String =
        at.to_string().chars().filter(char::is_ascii_alphanumeric).take(15).collect::<String>() + "Z";
    let day = &date[..8];
    let scope = format!("{day}/eu-west-1/s3/aws4_request");
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIATEST%2F{}&X-Amz-Date={date}&X-Amz-Expires=3600\
         &X-Amz-SignedHeaders=content-length%3Bhost",
        scope.replace('/', "%2F")
    );
    let canonical = format!(
        "PUT\n{path}\n{query}\ncontent-length:{size}\nhost:{host}\n\ncontent-length;host\nUNSIGNED-PAYLOAD"
    );
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let first = hmac(format!("AWS4{SECRET}").as_bytes(), day);
    let key = ["eu-west-1", "s3", "aws4_request"].into_iter().fold(first, |key, part| hmac(&key, part));
    format!("{query}&X-Amz-Signature={}", hex(&hmac(&key, &text)))
}
