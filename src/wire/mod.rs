//! HTTP: turns requests into the engine's orders and outcomes into answers. Status codes live here and nowhere else.
//!
//! ```text
//!   front ── CORS, health, path -> Call ──┬─ PUT ─────────────────── xep0363
//!                                         ├─ PUT + Content-Range ─── content_range
//!                                         ├─ Tus-Resumable, PATCH ── tus
//!                                         └─ GET, HEAD, DELETE ───── download (an offset, while incomplete)
//! ```
//!
//! An adapter knows the engine and nothing of the other adapters; removing one takes its line out of `front` and
//! leaves the engine as it is.

pub mod answer;
pub mod body;
pub mod content_range;
pub mod cors;
pub mod credentials;
pub mod disposition;
pub mod download;
pub mod download_plan;
pub mod front;
pub mod path;
pub mod peer;
pub mod removal;
pub mod reply;
pub mod tus;
pub mod xep0363;

use std::sync::Arc;

use http::{HeaderMap, Method, Version};
use salvo::http::ReqBody;

use crate::{auth::Keys, clock::Clock, engine::Engine, telemetry::Metrics, upload::Name};

/// A base path, and what opens the uploads below it.
#[derive(Debug)]
pub struct Realm {
    /// Without a slash at the end, e.g. `/upload`.
    pub base_path: String,
    /// The secrets.
    pub keys: Keys,
    /// Who comes in.
    pub door: Door,
    /// Whether an owner may delete a complete upload.
    pub may_delete_complete: bool,
}

/// Who may write below a base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Whoever holds a token that an XMPP server, or `plimsoll slot`, minted for the very path.
    Slots,
    /// Uploads are created here by POST.
    Files {
        /// Whether creation asks for a grant.
        create: Create,
        /// Whether the unguessable URL suffices afterwards.
        access: Access,
    },
}

/// What creation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// A grant.
    Grant,
    /// Nothing; a rate limit by address holds.
    Open,
}

/// What every other verb asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The URL.
    Url,
    /// A grant of the subject that created the upload.
    Grant,
}

/// What every request needs.
#[derive(Debug)]
pub struct House {
    /// The rules.
    pub engine: Engine,
    /// Slots.
    pub realms: Vec<Realm>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// CORS answers.
    pub cors: cors::Cors,
    /// The origin in front of every path, where the operator named one.
    pub public_url: Option<String>,
    /// Whose forwarding headers are believed.
    pub proxies: peer::Proxies,
    /// How often an address may create uploads without a grant.
    pub creations: peer::Limiter,
    /// The largest upload in bytes.
    pub max_size: u64,
}

/// A request to an upload's URL.
#[derive(Debug)]
pub struct Call<'a> {
    /// The parts of the server.
    pub house: &'a House,
    /// Whose secrets count.
    pub realm: &'a Realm,
    /// The method, as sent.
    pub method: Method,
    /// HTTP/1 or HTTP/2.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw query.
    pub query: Option<String>,
    /// The key of the upload: base path and path, decoded once.
    pub name: Name,
    /// The path behind the base path, decoded once; what credentials sign.
    pub path: String,
    /// The client's address, seen through trusted proxies.
    pub peer: std::net::IpAddr,
    /// The origin under which the client reached us, as far as a trusted proxy says.
    pub forwarded_origin: Option<String>,
    /// The body, not yet asked for.
    pub body: ReqBody,
}

/// Every refusal that comes before the body leaves it here.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        body::unwanted(std::mem::take(&mut self.body), &self.headers, self.version);
    }
}

impl Call<'_> {
    /// A header's value as text; `None` when it is absent or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
