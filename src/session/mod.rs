//! Sessions: what lets an upload survive its token, its client's address and its client's restart.
//!
//! ```text
//!   wire ── id, credential ──> Keeper ── rules (pure) ──> Sessions: the ledger's database, or Redis
//! ```
//!
//! A session is one document, changed as a whole by compare-and-set on its version, so that every store is small and
//! two nodes that change the same session at once cannot lose a change of the other. Rejected: a table each for
//! sessions, their uploads and their history. Nothing ever asks for a part of a session alone.
//!
//! The rules are numbered in `protocol-spec/session.md`.

pub mod fallback;
mod history;
mod keeper;
pub mod redis;
mod rules;
#[cfg(test)]
mod tests;
mod unclaimed;

use std::{fmt, net::IpAddr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    fault::Fault,
    id,
    network::AgentClass,
    upload::{Name, UploadId},
};

pub use keeper::{Changed, Keeper, Step, Trouble};
pub use rules::{Grace, Policy, Refused};

/// A session's id as its holder knows it: 64 lowercase hex digits of 256 random bits. Never stored and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(id::hex(&id::random_bytes::<32>()))
    }

    /// The id that a client names; `None` when it has another form than ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self(text.to_owned()))
    }

    /// The id itself, for its holder alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the stores know of it.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey(id::hex(&Sha256::digest(self.0.as_bytes())))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(masked)")
    }
}

/// The SHA-256 of a session's id, in 64 hex digits. Who reads it out of a database cannot use the session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(pub String);

impl SessionKey {
    /// The first digits: enough to follow a session through a log.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Where a request came from, as far as it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The client's address, seen through trusted proxies.
    pub address: IpAddr,
    /// The class of its network, by the configured map.
    pub network: String,
    /// The User-Agent, cut to 200 bytes. Untrusted text.
    pub agent: String,
    /// What the User-Agent suggests.
    pub class: AgentClass,
}

/// A change of place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When the request arrived that showed it.
    pub at: Timestamp,
    /// Where the session was seen before.
    pub from: Place,
    /// Where it was seen then.
    pub to: Place,
}

/// An upload that a session covers, with what its first credential allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Which upload.
    pub name: Name,
    /// Its public identity, once it is known.
    pub id: Option<UploadId>,
    /// The complete length that the credential signed.
    pub size: Option<u64>,
    /// The largest complete length, where the credential bounds it.
    pub max_size: Option<u64>,
    /// The file's name, where the credential names it.
    pub filename: Option<String>,
    /// The media type, where the credential names it.
    pub content_type: Option<String>,
    /// When the finished file may be deleted, where the credential says so.
    pub retain_until: Option<Timestamp>,
    /// The end of the fresh token that was made last.
    pub token_until: Option<Timestamp>,
    /// Whether it was seen complete.
    #[serde(default)]
    pub is_complete: bool,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The hash of its id.
    pub key: SessionKey,
    /// Counts changes: what compare-and-set compares. 1 when new.
    pub version: u64,
    /// Whose it is: the subject of its first credential.
    pub subject: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last seen, to within minutes.
    pub seen_at: Timestamp,
    /// Fresh tokens made.
    pub refreshes: u32,
    /// Whether one of its uploads was incomplete when it was last changed. Those are kept longest when room is short.
    pub is_open: bool,
    /// Where it was last seen.
    pub place: Place,
    /// What it covers, oldest first.
    pub uploads: Vec<Covered>,
    /// The latest changes of place, newest last.
    #[serde(with = "history")]
    pub history: Vec<Change>,
    /// All changes of place, also those that `history` no longer lists.
    pub changes: u64,
    /// Whether its id was told to somebody who did not name it. There may be two who know it, each with a credential for
    /// its one upload and no more: it covers no other from then on.
    #[serde(default)]
    pub told_again: bool,
}

/// Whether a compare-and-set took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Replaced {
    /// It is stored.
    Done,
    /// Another version is stored, or none. Nothing changed.
    Stale,
}

/// What a token was bound to: SHA-256 of the token, in hex. For credentials that do not sign the whole path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub String);

/// A store of sessions. `tests/sessions_contract.rs` holds the cases that every implementation must pass.
#[async_trait]
pub trait Sessions: Send + Sync + fmt::Debug {
    /// The session with this key, ended or not.
    async fn find(&self, key: &SessionKey) -> Result<Option<Session>, Fault>;

    /// Store a new session; returns once it is durable. One with the same key, which is the same session, is replaced.
    async fn record(&self, session: Session) -> Result<(), Fault>;

    /// Store a changed session, if the stored version is still `seen`. `session.version` must be higher.
    async fn replace(&self, session: Session, seen: u64) -> Result<Replaced, Fault>;

    /// Remove a session; whether it was there.
    async fn remove(&self, key: &SessionKey) -> Result<bool, Fault>;

    /// Bind a token to the first upload that it is used for, until `until`; returns the upload that it is bound to.
    async fn bind(&self, token: &Fingerprint, name: &Name, until: Timestamp) -> Result<Name, Fault>;

    /// Remove the sessions and bindings that have ended at `now`, and then sessions beyond the `most` that may be kept:
    /// always one of the holder that holds most (see [`Session::holder`]), of its sessions one that is not open, and of
    /// these the one not seen for longest. Returns how many sessions went.
    async fn clean(&self, now: Timestamp, most: u64) -> Result<u64, Fault>;

    /// Whether every session there is can be seen now. When not, one that is not found may exist all the same.
    fn sees_all(&self) -> bool {
        true
    }

    /// Whether a session that is not found is known to have been removed, although not every session can be seen now.
    fn is_removed(&self, _: &SessionKey) -> bool {
        false
    }

    /// How many sessions there are.
    async fn count(&self) -> Result<u64, Fault>;
}
