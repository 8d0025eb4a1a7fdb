//! HTTP: turns requests into the engine's orders and outcomes into answers. Status codes live here and nowhere else.
//!
//! ```text
//!   front ── CORS, health, path -> Call ──┬─ PUT ─────────────────── xep0363
//!                                         ├─ PUT + Content-Range ─── content_range
//!                                         ├─ Tus-Resumable, PATCH ── tus
//!                                         └─ GET, HEAD, DELETE ───── download (an offset, while incomplete)
//!         └─ /session ─────────────────────────────────────────────── session
//! ```
//!
//! An adapter knows the engine and nothing of the other adapters; removing one takes its line out of `front` and
//! leaves the engine as it is.

pub mod answer;
pub mod audit;
pub mod body;
pub mod conditions;
pub mod content_range;
pub mod cors;
pub mod creation_rate;
pub mod credentials;
mod denial;
pub mod disposition;
pub mod download;
pub mod download_plan;
pub mod early;
pub mod empty;
pub mod front;
pub mod path;
pub mod peer;
pub mod removal;
pub mod reply;
pub mod session;
pub mod tus;
pub mod visit;
pub mod xep0363;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Version};
use salvo::http::ReqBody;

use crate::{
    auth::{self, Keys},
    clock::Clock,
    engine::Engine,
    guard::Guard,
    network::{Agents, Networks},
    session::{Grace, Keeper, Place, Sessions},
    telemetry::{Audit, Metrics},
    upload::Name,
};
use visit::Visit;

/// A base path, and what opens the uploads below it.
#[derive(Debug)]
pub struct Realm {
    /// Without a slash at the end, e.g. `/upload`; empty for the root.
    pub base_path: String,
    /// Where its complete uploads can be read too: some XMPP servers hand out other URLs for GET than for PUT.
    pub download_path: Option<String>,
    /// The secrets.
    pub keys: Keys,
    /// Who comes in.
    pub door: Door,
    /// Whether an owner may delete a complete upload.
    pub may_delete_complete: bool,
}

impl Realm {
    /// What a path names within this realm: an upload, or, as the empty rest, the place where uploads are created.
    #[must_use]
    fn within<'p>(&self, path: &'p str) -> Option<&'p str> {
        let creates = matches!(self.door, Door::Files { .. });
        let rest = path.strip_prefix(self.base_path.as_str());
        if creates && rest.is_some_and(|rest| matches!(rest, "" | "/")) {
            return Some("");
        }
        path::below(&self.base_path, path)
    }
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
    pub creations: creation_rate::CreationRate,
    /// The largest upload in bytes.
    pub max_size: u64,
    /// Sessions; `None` when they are switched off.
    pub sessions: Option<Arc<Keeper>>,
    /// What tokens that do not sign their whole path are bound to.
    pub bindings: Arc<dyn Sessions>,
    /// The sessions of clients that do not name them.
    pub remembered: visit::Remembered,
    /// Time after a token's expiry.
    pub grace: Grace,
    /// How ejabberd's Bearer tokens are dated.
    pub bearer: auth::Rules,
    /// Bans and rates.
    pub guard: Arc<dyn Guard>,
    /// Names of networks.
    pub networks: Networks,
    /// Classes of clients.
    pub agents: Agents,
    /// The audit log.
    pub audit: Audit,
}

impl House {
    /// The base path that a decoded path lies below, the longest that fits, and what follows it.
    #[must_use]
    pub fn realm_of<'p>(&self, path: &'p str) -> Option<(&Realm, &'p str)> {
        let within = self.realms.iter().filter_map(|realm| Some((realm, realm.within(path)?)));
        within.max_by_key(|(realm, _)| realm.base_path.len())
    }

    /// [XEP-142] The path below its base path of an upload that is named below the alias of one; `None` where the path is
    /// below no alias, or further below a base path.
    #[must_use]
    pub fn behind_alias(&self, path: &str) -> Option<String> {
        let below = self.realms.iter().filter_map(|realm| {
            let alias = realm.download_path.as_deref()?;
            Some((alias.len(), realm, path::below(alias, path)?))
        });
        let (length, realm, rest) = below.max_by_key(|(length, _, _)| *length)?;
        match self.realm_of(path) {
            Some((nearer, _)) if nearer.base_path.len() > length => None,
            Some(_) | None => Some(format!("{}/{rest}", realm.base_path)),
        }
    }

    /// Where a request comes from, as far as it shows.
    #[must_use]
    pub fn place(&self, address: IpAddr, headers: &HeaderMap) -> Place {
        let address = address.to_canonical();
        let agent =
            headers.get(http::header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut agent = agent.as_deref().unwrap_or_default().to_owned();
        agent.truncate(agent.floor_char_boundary(LONGEST_AGENT));
        let network = self.networks.class(address).to_owned();
        Place { address, network, class: self.agents.class(&agent), agent }
    }
}

/// Bytes of a User-Agent that are kept.
const LONGEST_AGENT: usize = 200;

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
    /// The path as it was sent, percent-encoded.
    pub raw_path: String,
    /// Where the client is: its address seen through trusted proxies, and its program.
    pub place: Place,
    /// The request's id, for the logs.
    pub request_id: String,
    /// What becomes of it.
    pub visit: Arc<Visit>,
    /// The origin under which the client reached us, as far as a trusted proxy says.
    pub forwarded_origin: Option<String>,
    /// The authority of an HTTP/2 request, which has no Host field.
    pub authority: Option<String>,
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
    /// The hosts under which the client may have reached us: as the request says, and as the operator does.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        fn host_of(url: &str) -> &str {
            let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
            behind_scheme.split('/').next().unwrap_or_default()
        }
        let public = self.house.public_url.as_deref().map(host_of);
        let forwarded = self.forwarded_origin.as_deref().map(host_of);
        self.header(http::header::HOST)
            .or(self.authority.as_deref())
            .into_iter()
            .chain(forwarded)
            .chain(public)
            .collect()
    }

    /// A header's value as text; `None` when it is absent or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
