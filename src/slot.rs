//! Minting slots: the URLs that `plimsoll slot` prints and that the server shows at its start.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    app::{self, ServeError},
    auth::{MintError, SlotClaims, mint},
    clock::Timestamp,
    config::Config,
    id,
};

/// What stays as it is in a path segment: RFC 3986 section 2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a slot is for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file's name; the last segment of the URL.
    pub filename: String,
    /// The file's size in bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: Option<String>,
    /// For whom.
    pub user: Option<String>,
}

/// A slot: where to put the file, and where it is found then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The URL with its token; a secret while the token lives.
    pub put: String,
    /// The URL without.
    pub get: String,
    /// When the token ends.
    pub expires_at: Timestamp,
}

/// Why no slot was minted.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The secret cannot be had.
    #[error(transparent)]
    Secrets(#[from] ServeError),
    /// The token cannot be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The name cannot be the last segment of a URL.
    #[error(
        "the file name must not be empty, \".\" or \"..\", nor hold \"/\" or NUL\n    to do: name the file as it shall be called in the URL"
    )]
    Name,
}

/// Mint a slot in `[slots]`, with its newest secret.
///
/// # Errors
/// See [`SlotError`].
pub fn slot(config: &Config, public_url: &str, wanted: &Wanted, now: Timestamp) -> Result<Slot, SlotError> {
    let name = wanted.filename.as_str();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(SlotError::Name);
    }
    let realms = app::realms(config)?;
    // `realms` holds that of [slots] first, and never nothing.
    let realm = realms.first().ok_or(SlotError::Name)?;
    let lifetime: Duration = config.slots.token_lifetime.duration();
    let expires_at = now.plus(lifetime);
    let slot = id::random_hex_128();
    let get = format!("{public_url}{}/{slot}/{}", realm.base_path, utf8_percent_encode(name, SEGMENT));
    let claims = SlotClaims {
        subject: wanted.user.clone(),
        slot,
        filename: name.to_owned(),
        size: wanted.size,
        content_type: wanted.content_type.clone(),
        issued_at_ms: now.0,
        expires_at_ms: expires_at.0,
        retain_until_ms: None,
    };
    let token = mint(&realm.keys, &claims)?;
    Ok(Slot { put: format!("{get}?token={token}"), get, expires_at })
}
