//! Upload slots as an XMPP server mints them: v1 tokens of mod_http_upload_external.

use hmac::{Hmac, KeyInit as _, Mac as _};

pub(crate) const SECRET: &str = "a secret that only tests know, of good length";

/// Where one file goes.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The URL's path, which is also the upload's name in the ledger and the download's path.
    pub(crate) path: String,
    /// Path and token: what a PUT is sent to.
    pub(crate) target: String,
    /// Bytes.
    pub(crate) size: u64,
}

impl Slot {
    /// `name` is made of characters that need no encoding.
    pub(crate) fn new(name: &str, size: u64) -> Self {
        Self::signed(SECRET, name, size)
    }

    /// The same with another secret.
    pub(crate) fn signed(secret: &str, name: &str, size: u64) -> Self {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
        mac.update(format!("{name} {size}").as_bytes());
        let token = super::hex(&mac.finalize().into_bytes());
        let path = format!("/upload/{name}");
        Self { target: format!("{path}?v={token}"), path, size }
    }
}
