//! The secrets, and their rotation.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{DecodingKey, EncodingKey};
use sha2::Sha256;

/// The secrets that slots may be signed with, newest first, so that a secret can be replaced while slots signed with
/// the older one are still out. Minting takes the newest; verifying tries all of them.
pub struct Keyring {
    pub(super) newest: Key,
    older: Vec<Key>,
}

/// One secret in the forms its users want it in.
pub(super) struct Key {
    /// Keyed with the secret's raw bytes.
    mac: Hmac<Sha256>,
    /// Keyed with `AWS4` and the secret: the first step of a signing key of Signature Version 4.
    pub(super) aws4: Hmac<Sha256>,
    pub(super) verify: DecodingKey,
    pub(super) sign: EncodingKey,
}

/// Why a [`Keyring`] could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("no slot secret is configured")]
    NoSecret,
    /// An empty secret would let anybody mint slots.
    #[error("a slot secret is empty")]
    EmptySecret,
}

impl Keyring {
    /// Takes the raw bytes of each secret, newest first.
    pub fn new(secrets: Vec<Vec<u8>>) -> Result<Self, KeyringError> {
        let mut keys =
            secrets.iter().map(|secret| Key::new(secret)).collect::<Result<Vec<_>, _>>()?.into_iter();
        let newest = keys.next().ok_or(KeyringError::NoSecret)?;
        Ok(Self { newest, older: keys.collect() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Whether one of the secrets signed these fields, one after the other. [AUT-8] Compared in constant time; [AUT-9]
    /// against every secret of the ring.
    pub(super) fn signed(&self, fields: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.iter().any(|Key { mac, .. }| {
            let mut mac = mac.clone();
            for field in fields {
                mac.update(field);
            }
            mac.verify_slice(tag).is_ok()
        })
    }
}

impl Key {
    fn new(secret: &[u8]) -> Result<Self, KeyringError> {
        // [AUT-1] an empty secret signs nothing
        if secret.is_empty() {
            return Err(KeyringError::EmptySecret);
        }
        let keyed = |key: &[u8]| Hmac::new_from_slice(key).map_err(|_| KeyringError::EmptySecret);
        Ok(Self {
            mac: keyed(secret)?,
            aws4: keyed(&[b"AWS4", secret].concat())?,
            verify: DecodingKey::from_secret(secret),
            sign: EncodingKey::from_secret(secret),
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} secrets, masked)", 1 + self.older.len())
    }
}

/// A ring that can be exchanged while it is in use, so that secrets rotate without a restart.
#[derive(Debug)]
pub struct Keys(RwLock<Arc<Keyring>>);

impl Keys {
    /// These keys to begin with.
    #[must_use]
    pub fn new(ring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(ring)))
    }

    /// The ring as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Take another ring from now on.
    pub fn replace(&self, ring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }
}
