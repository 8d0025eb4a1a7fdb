//! HTTP: turns requests into the engine's orders and outcomes into answers. Status codes live here and nowhere else.
//!
//! ```text
//!   front ── CORS, health, path -> Call ──┬─ PUT ─────────────────── xep0363
//!                                         ├─ PUT + Content-Range ─── content_range
//!                                         └─ GET, HEAD ───────────── download (an offset, while incomplete)
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
pub mod reply;
pub mod xep0363;

use std::sync::Arc;

use http::{HeaderMap, Method, Version};
use salvo::http::ReqBody;

use crate::{auth::Keyring, clock::Clock, engine::Engine, telemetry::Metrics, upload::Name};

/// A base path under which XMPP servers mint slots, and the secrets they mint with.
#[derive(Debug)]
pub struct Realm {
    /// Without a slash at the end, e.g. `/upload`.
    pub base_path: String,
    /// The secrets.
    pub keys: Keyring,
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
