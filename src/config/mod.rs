//! The configuration: every key with its type, default and meaning in one place.
//!
//! ```text
//!  section! { [server] listen ... }     one declaration a section; it makes
//!       |            |          |
//!   the struct   its Default   its field table (docs, examples, accepted values)
//!       |                          |
//!   the program reads it     load.rs: file + environment -> struct, or every problem at once
//!                            doc.rs:  config/plimsoll.toml, `plimsoll config`, `plimsoll check`
//! ```
//!
//! Values are read key by key instead of through derived deserialisers: those stop at the first mistake and
//! know neither the line of a value nor the environment variable that it came from.

mod doc;
mod load;
mod secrets;
mod setting;
mod units;
mod validate;
mod values;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

pub use doc::annotated;
pub use load::{ConfigError, ENV_PREFIX, Loaded, Place, Problem, load};
pub use secrets::{SecretsError, SlotBase};
pub use units::{Period, Size};
pub use values::{
    Access, AllowOrigin, BasePath, Cidr, Create, Durability, LedgerUrl, LogFilter, LogFormat, MASK,
    PublicUrl, Secret,
};

use setting::{Raw, Setting};

/// One key of a section, for the loader and for the annotated file.
#[derive(Debug)]
struct Field {
    key: &'static str,
    doc: &'static [&'static str],
    /// One value to show where the default shows none, as it would stand in the file; or none.
    examples: &'static [&'static str],
    accepts: &'static str,
}

/// A section as the loader and the printers see it.
trait Section {
    fn name(&self) -> &'static str;
    fn doc(&self) -> &'static [&'static str];
    fn fields(&self) -> &'static [Field];
    /// Sets a key. None when there is no such key; otherwise whether the value was right.
    fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>>;
    /// The value of a key in TOML, masked if secret. None when it is not set or does not exist.
    fn get(&self, key: &str) -> Option<String>;
}

macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        [$section:literal] struct $Name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $ty:ty = $default:expr $(, example $example:literal)?; )+
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Section for $Name {
            fn name(&self) -> &'static str {
                $section
            }

            fn doc(&self) -> &'static [&'static str] {
                &[$($section_doc),+]
            }

            fn fields(&self) -> &'static [Field] {
                &[$( Field {
                    key: stringify!($field),
                    doc: &[$($doc),+],
                    examples: &[$($example)?],
                    accepts: <$ty as Setting>::ACCEPTS,
                } ),+]
            }

            fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>> {
                match key {
                    $( stringify!($field) => Some(Setting::read(raw).map(|value| self.$field = value)), )+
                    _ => None,
                }
            }

            fn get(&self, key: &str) -> Option<String> {
                match key {
                    $( stringify!($field) => self.$field.to_toml(), )+
                    _ => None,
                }
            }
        }
    };
}

section! {
    /// The HTTP server.
    ["server"] struct Server {
        /// Address and port to listen on. Port 0 takes a free one; the ready line on stdout tells which.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
        /// The URL under which clients reach this server, as the XMPP server hands it out. It may end in a
        /// path that a reverse proxy strips. Not set: http:// and the address of `listen`.
        public_url: Option<PublicUrl> = None, example "\"https://upload.example.org\"";
        /// Networks of reverse proxies whose Forwarded and X-Forwarded-For headers are believed.
        trusted_proxies: Vec<Cidr> = Vec::new(), example "[\"127.0.0.1/32\"]";
        /// How long a client may take to send the head of a request.
        header_timeout: Period = Period::secs(30);
        /// How long running requests may go on after SIGTERM before they are cut and their bytes kept.
        drain_timeout: Period = Period::secs(10);
        /// Connections open at the same time; further ones wait. 0: no limit.
        max_connections: u32 = 0;
        /// Worker threads. 0: one a core.
        threads: u32 = 0;
        /// Read buffer of an HTTP/1 connection, the largest part of what an upload costs in memory. Smaller
        /// saves memory with many uploads and costs processor time.
        read_buffer: Size = Size::kib(256);
        /// Flow-control window of an HTTP/2 stream: what may be under way before the server acknowledges.
        /// Speed over a long line is at most this much per round trip.
        http2_window: Size = Size::mib(8);
    }
}

section! {
    /// Where the bytes are kept, and how safely.
    ["store"] struct Store {
        /// Directory of the uploads, made if missing. Only one server may use it at a time.
        path: PathBuf = PathBuf::from("./plimsoll-data");
        /// "full": bytes are synced to the disk before their offset is acknowledged. "relaxed": they are not;
        /// faster, but a power cut or a kernel crash may cost bytes that were acknowledged.
        durability: Durability = Durability::Full;
        /// Largest file accepted, whatever a slot allows.
        max_size: Size = Size::gib(1);
        /// Free space on the disk below which new bytes are refused with 507. 0: use it up.
        reserve: Size = Size::mib(256);
        /// While data arrives, its offset is made durable and committed after so many bytes ...
        checkpoint_bytes: Size = Size::mib(64);
        /// ... or after so much time, whichever comes first. A crash costs at most what came since.
        checkpoint_interval: Period = Period::secs(1);
        /// Bound on all bytes that wait in memory for a slow disk, over all uploads together.
        buffer_memory: Size = Size::mib(64);
    }
}

section! {
    /// The ledger: which upload has come how far.
    ["ledger"] struct Ledger {
        /// Database of the ledger, `sqlite:` and a file on a local disk. Not set: ledger.db in the store.
        url: Option<LedgerUrl> = None, example "\"sqlite:./plimsoll-data/ledger.db\"";
    }
}

section! {
    /// Upload slots (XEP-0363). All secrets of a section are accepted; the first of `secret`, `secrets` and
    /// `secret_file`, in this order, mints new tokens. To rotate: put the new one first, later drop the old
    /// one. With no secret at all, one is generated and kept in the file slot-secret in the store.
    ["slots"] struct Slots {
        /// First part of the path of every upload URL, between `public_url` and the path of the slot.
        base_path: BasePath = BasePath::upload();
        /// Secret shared with the XMPP server.
        secret: Option<Secret> = None, example "\"the same text as in the XMPP server's configuration\"";
        /// Further secrets.
        secrets: Vec<Secret> = Vec::new();
        /// File with one secret a line, every byte of the line counting. Empty lines are skipped.
        secret_file: Option<PathBuf> = None, example "\"/etc/plimsoll/slot-secrets\"";
        /// Whether the holder of a slot's token may delete the file when it is complete.
        delete_complete: bool = false;
        /// How long a token that `plimsoll slot` prints can start an upload.
        token_lifetime: Period = Period::hours(1);
    }
}

section! {
    /// A further base path with secrets of its own, for one more XMPP server. May be repeated.
    ["slots.also"] struct SlotsAlso {
        /// As in [slots]; may not lie within another base path. Has to be set.
        base_path: Option<BasePath> = None, example "\"/upload-two\"";
        /// As in [slots]; at least one secret has to be set.
        secret: Option<Secret> = None, example "\"the other XMPP server's secret\"";
        /// As in [slots].
        secrets: Vec<Secret> = Vec::new(), example "[]";
        /// As in [slots].
        secret_file: Option<PathBuf> = None, example "\"/etc/plimsoll/slot-secrets-two\"";
    }
}

section! {
    /// tus uploads, created by POST at a path of their own. Every upload's URL speaks tus, slots included.
    ["tus"] struct Tus {
        /// Whether there is such a path.
        enabled: bool = true;
        /// First part of the path of these uploads, between `public_url` and their ids.
        base_path: BasePath = BasePath::files();
        /// Who may create: "grant" asks for a token of `plimsoll grant`, "open" lets everybody in.
        create: Create = Create::Grant;
        /// Who may go on, read and delete: "url" whoever knows the unguessable URL, "grant" only who holds a
        /// grant of the subject that created the upload.
        access: Access = Access::Url;
        /// Secret of the grants. With no secret here at all those of [slots] count.
        secret: Option<Secret> = None, example "\"a secret of the application that hands out grants\"";
        /// Further secrets, as in [slots].
        secrets: Vec<Secret> = Vec::new();
        /// File with one secret a line, as in [slots].
        secret_file: Option<PathBuf> = None, example "\"/etc/plimsoll/grant-secrets\"";
        /// How long a grant of `plimsoll grant` is good.
        grant_lifetime: Period = Period::hours(24);
        /// Uploads that one address may create in a minute without a grant. IPv6 counts by /64. 0: no limit.
        creations_per_minute: u32 = 600;
        /// How long a complete partial upload waits to become part of a final one.
        partial_expires: Period = Period::hours(24);
        /// Whether whoever may write an upload may delete it when it is complete.
        delete_complete: bool = true;
    }
}

section! {
    /// Patience.
    ["limits"] struct Limits {
        /// A body that has been silent for so long is cut; what arrived is kept for resumption.
        body_gap: Period = Period::secs(60);
        /// How long an incomplete upload is kept after its last byte.
        incomplete_expires: Period = Period::hours(72);
        /// How long a newer writer waits for the older one to let go before it is answered 423.
        fence_timeout: Period = Period::secs(5);
        /// A writer silent for so long is ended by a HEAD that asks for the offset; one that still receives
        /// goes on.
        silent_writer: Period = Period::millis(250);
        /// How often expired uploads and orphaned files are looked for.
        sweep_interval: Period = Period::secs(60);
    }
}

section! {
    /// How long complete files are kept.
    ["retention"] struct Retention {
        /// Age at which a complete file is removed; its URL then answers 410. 0s: never.
        max_age: Period = Period::ZERO;
    }
}

section! {
    /// Web clients.
    ["cors"] struct Cors {
        /// Origin whose pages may upload and download: "*" for any, or one.
        allow_origin: AllowOrigin = AllowOrigin::any();
        /// How long a browser may remember the answer to its preflight request.
        max_age: Period = Period::hours(24);
    }
}

section! {
    /// Prometheus metrics, on a listener of their own.
    ["metrics"] struct Metrics {
        /// Address and port of /metrics; whoever reaches it reads it. Port 0 takes a free one.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
        /// Whether that listener is opened.
        enabled: bool = true;
    }
}

section! {
    /// Log lines. They carry ids of requests and uploads, never a secret or a token.
    ["log"] struct Log {
        /// "text" for people, "json" for collectors.
        format: LogFormat = LogFormat::Text;
        /// off, error, warn, info, debug or trace; after commas levels of single targets: "info,sqlx=warn".
        level: LogFilter = LogFilter::info();
        /// File to append to; opened anew on SIGHUP, so that it can be rotated. Not set: standard error.
        file: Option<PathBuf> = None, example "\"/var/log/plimsoll/plimsoll.log\"";
    }
}

/// The whole configuration. `Config::default()` is what runs without any file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub ledger: Ledger,
    pub slots: Slots,
    /// The `[[slots.also]]` tables; [`Config::resolve_secrets`] merges them with `slots`.
    pub slots_also: Vec<SlotsAlso>,
    pub tus: Tus,
    pub limits: Limits,
    pub retention: Retention,
    pub cors: Cors,
    pub metrics: Metrics,
    pub log: Log,
}

const ALSO: &str = "also";

impl Config {
    /// The sections that stand once in a file, in the order in which they are printed.
    fn sections(&self) -> [&dyn Section; 10] {
        [
            &self.server,
            &self.store,
            &self.ledger,
            &self.slots,
            &self.tus,
            &self.limits,
            &self.retention,
            &self.cors,
            &self.metrics,
            &self.log,
        ]
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let all: [&mut dyn Section; 10] = [
            &mut self.server,
            &mut self.store,
            &mut self.ledger,
            &mut self.slots,
            &mut self.tus,
            &mut self.limits,
            &mut self.retention,
            &mut self.cors,
            &mut self.metrics,
            &mut self.log,
        ];
        all.into_iter().find(|section| section.name() == name)
    }

    /// The URL before every base path, without a slash at its end. `bound` is the address that the listener
    /// really has, which differs from the configured one when that says port 0.
    #[must_use]
    pub fn public_url(&self, bound: SocketAddr) -> String {
        if let Some(url) = &self.server.public_url {
            return url.as_str().to_owned();
        }
        // A client cannot connect to "every address".
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        format!("http://{}", SocketAddr::new(ip, bound.port()))
    }

    /// Where the ledger is: as configured, or beside the bytes.
    #[must_use]
    pub fn ledger_url(&self) -> LedgerUrl {
        self.ledger.url.clone().unwrap_or_else(|| LedgerUrl::within(&self.store.path))
    }
}

/// The candidate that `name` is most likely a misspelling of, if any is near enough to be one.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(3))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_url_defaults_to_the_bound_address_and_never_to_every_address() {
        let config = Config::default();
        for (bound, url) in [
            ("127.0.0.1:4711", "http://127.0.0.1:4711"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(config.public_url(bound.parse().unwrap()), url);
        }
    }

    #[test]
    fn ledger_lies_in_the_store_unless_it_is_set() {
        let mut config = Config::default();
        config.store.path = PathBuf::from("/var/lib/plimsoll");
        assert_eq!(config.ledger_url().as_str(), "sqlite:/var/lib/plimsoll/ledger.db");
    }

    #[test]
    fn nearest_names_a_misspelling_and_leaves_strangers_alone() {
        let known = ["listen", "public_url", "max_connections"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("LISTEN", known), Some("listen"));
        assert_eq!(nearest("public-url", known), Some("public_url"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn every_key_and_section_is_documented_and_every_key_without_default_shows_an_example() {
        let config = Config::default();
        let also = SlotsAlso::default();
        for section in config.sections().into_iter().chain([&also as &dyn Section]) {
            assert!(!section.doc().is_empty());
            for field in section.fields() {
                assert!(field.doc.iter().all(|line| !line.trim().is_empty()), "{}", field.key);
                assert!(!field.accepts.is_empty(), "{}", field.key);
                assert!(section.get(field.key).is_some() || !field.examples.is_empty(), "{}", field.key);
            }
        }
    }
}
