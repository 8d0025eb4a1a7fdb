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
mod mistakes;
mod names;
mod origins;
mod reload;
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
pub use names::{NetworkClass, RedisUrl, Word};
pub use origins::AllowOrigin;
pub use secrets::{SecretsError, SlotBase, Unfit};
pub use units::{Period, Size};
pub use values::{
    AbuseBackend, Access, BasePath, Cidr, Create, Durability, ForwardedHeader, LedgerUrl, LogFilter,
    LogFormat, MASK, PublicUrl, Secret, SessionBackend,
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
        /// Networks of reverse proxies whose forwarding headers are believed.
        trusted_proxies: Vec<Cidr> = Vec::new(), example "[\"127.0.0.1/32\"]";
        /// The header that those proxies write: "x-forwarded-for", "forwarded", or "auto" for the one of the two
        /// that is there. Where both are there and do not name the same client, "auto" believes neither, since the
        /// client may have written one of them: name the header if your proxies pass the other one on.
        forwarded_header: ForwardedHeader = ForwardedHeader::Auto;
        /// How long a client may take to send the head of a request, from its first byte; and for the first byte of a
        /// connection. It is answered 408 after that.
        header_timeout: Period = Period::secs(30);
        /// How long a connection may stay open without a request after an answer. On HTTP/2 everything but an open
        /// request counts as silence. Keep it above the time for which a reverse proxy keeps its connections (nginx: 60 s).
        keep_alive_timeout: Period = Period::secs(75);
        /// How long a client may take nothing of an answer before its connection, or its HTTP/2 stream, is closed.
        write_stall_timeout: Period = Period::secs(30);
        /// Largest head of a request, all its fields together. A larger one is answered 431.
        max_head_size: Size = Size::kib(64);
        /// How long running requests may go on after SIGTERM before they are cut and their bytes kept.
        drain_timeout: Period = Period::secs(10);
        /// Connections open at the same time; further ones wait. The limit of open files bounds them too: at the start the
        /// soft one is raised to the hard one, and a connection counts twice, for its socket and the file of its request.
        /// 0: as many as that allows.
        max_connections: u32 = 0;
        /// Connections of one address, and never more than half of all; further ones are closed at once. IPv6 counts by
        /// /64. Addresses of `trusted_proxies` and of [abuse] allow have no such bound. 0: no bound.
        max_connections_per_address: u32 = 256;
        /// Worker threads. 0: one a core.
        threads: u32 = 0;
        /// Read buffer of an HTTP/1 connection whose upload needs more than 16 KiB, while [store] buffer_memory has room.
        /// Smaller saves memory with many uploads and costs processor time.
        read_buffer: Size = Size::kib(256);
        /// Whether HTTP/2 is spoken to clients that begin with it (h2c with prior knowledge). Otherwise they get 505.
        http2: bool = true;
        /// Requests at the same time on one HTTP/2 connection.
        http2_streams: u32 = 64;
        /// Largest flow-control window of an HTTP/2 connection: what may be under way before the server has read it. It
        /// begins with 256 KiB and grows with what is read, while [store] buffer_memory has room. Speed over a long
        /// line is at most half of it per round trip and upload.
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
        /// Bound on all bytes that wait in memory, over all uploads together: half of it for a slow disk, half for the
        /// read buffers and HTTP/2 windows of connections, beyond the first 64 KiB of each.
        buffer_memory: Size = Size::mib(64);
    }
}

section! {
    /// The ledger: which upload has come how far.
    ["ledger"] struct Ledger {
        /// Database of the ledger, `sqlite:` and a file on a local disk. Not set: ledger.db in the store.
        url: Option<LedgerUrl> = None, example "\"sqlite:./plimsoll-data/ledger.db\"";
        /// Room kept beside the ledger for the moment when its disk is full: with it uploads can still be deleted then,
        /// and the server starts. "0" for none; else at least "1 MiB".
        ballast: Size = Size::mib(8);
    }
}

section! {
    /// Upload slots (XEP-0363). All secrets of a section are accepted; the first of `secret`, `secrets` and
    /// `secret_file`, in this order, mints new tokens. To rotate: put the new one first, later drop the old
    /// one. With no secret at all, one is generated and kept in the file slot-secret in the store.
    ["slots"] struct Slots {
        /// First part of the path of every upload URL, between `public_url` and the path of the slot. "/" for all that
        /// lies below no other base path; /healthz, /readyz, /session and /session/refresh stay the server's own.
        base_path: BasePath = BasePath::upload();
        /// Where the same files can be read too, for XMPP servers that hand out other URLs for GET than for PUT. GET and
        /// HEAD alone.
        download_path: Option<BasePath> = None, example "\"/download\"";
        /// Secret shared with the XMPP server.
        secret: Option<Secret> = None, example "\"the same text as in the XMPP server's configuration\"";
        /// Further secrets.
        secrets: Vec<Secret> = Vec::new();
        /// File with one secret a line, every byte of the line counting; there are no comments. Empty lines are
        /// skipped. A line that begins with # or ;, that holds a blank or that is too short is refused, here and
        /// when the file changes. No more than the server's user and group should be able to read it.
        secret_file: Option<PathBuf> = None, example "\"/etc/plimsoll/slot-secrets\"";
        /// Whether secrets of fewer than 16 bytes are accepted, here, in [[slots.also]] and in [tus]. Whoever sees
        /// one token can try such secrets without asking the server.
        allow_weak_secrets: bool = false;
        /// Whether the holder of a slot's token may delete the file when it is complete.
        delete_complete: bool = false;
        /// How long a token that `plimsoll slot` prints can start an upload.
        token_lifetime: Period = Period::hours(1);
        /// How long after its issue a Bearer token of ejabberd's mod_http_upload_hmac expires. It signs the moment
        /// of issue alone, so both sides have to be set to the same time.
        bearer_lifetime: Period = Period::hours(1);
        /// The same for its resilient layout, which signs both moments.
        bearer_resilient_lifetime: Period = Period::hours(24);
        /// Whether a presigned S3 URL may sign Content-Length and Content-Type as parameters of its query, as some signers
        /// do, instead of as headers. One that signs the length in neither place is refused either way.
        presigned_headers_in_query: bool = false;
    }
}

section! {
    /// A further base path with secrets of its own, for one more XMPP server. May be repeated.
    ["slots.also"] struct SlotsAlso {
        /// As in [slots]; may not lie within another base path. Has to be set.
        base_path: Option<BasePath> = None, example "\"/upload-two\"";
        /// As in [slots].
        download_path: Option<BasePath> = None, example "\"/download-two\"";
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
        /// grant of the subject that created the upload. With "url" too a complete upload that was created with a
        /// grant is deleted by a grant of its subject, or by its session. One that was created without (`create` =
        /// "open") has its URL as its only credential: whoever is given the download link may delete it, unless
        /// `delete_complete` = false.
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
        /// How long a creation beyond that waits for its turn before it is answered 429, which stock clients take for
        /// the end of the file. At most 128 of one address wait, and 1024 in all. 0s: none does.
        creation_wait: Period = Period::secs(10);
        /// Parts that one final upload may be made of.
        max_parts: u32 = 1_000;
        /// How long a complete partial upload waits to become part of a final one.
        partial_expires: Period = Period::hours(24);
        /// How long the URL of an upload that was removed answers 410; from then on it is forgotten, and answers 404.
        /// The URLs of slots are never forgotten: their tokens could write a second file under the same URL.
        forget_after: Period = Period::hours(720);
        /// Whether whoever may write an upload may delete it when it is complete.
        delete_complete: bool = true;
    }
}

section! {
    /// Sessions: with one, an upload survives its token, a change of network and a restart of its client.
    ["session"] struct SessionSettings {
        /// Whether sessions are opened and honoured.
        enabled: bool = true;
        /// "ledger": in the ledger's database. "redis": in the Redis of [redis], for several nodes together.
        backend: SessionBackend = SessionBackend::Ledger;
        /// How long a session lives, from the request that opened it.
        max_age: Period = Period::hours(72);
        /// Fresh tokens that one session may give out.
        max_refreshes: u32 = 10;
        /// How long a fresh token is good; it ends with its session at the latest.
        token_lifetime: Period = Period::hours(1);
        /// Sessions kept at most. Beyond that those of the subject that has most go (without subjects: of the
        /// address), first those whose uploads are complete, longest unseen first.
        max_sessions: u32 = 100_000;
        /// A plain PUT that is complete in one request leaves nothing to go on with: its session waits so long in
        /// memory for a client that names it. Once it is named it lives for `max_age`.
        unclaimed_age: Period = Period::hours(1);
        /// Uploads that one session may cover; a further one gets a session of its own.
        max_uploads: u32 = 1_000;
        /// How often ended sessions, and those beyond `max_sessions`, are removed.
        cleanup_interval: Period = Period::secs(60);
    }
}

section! {
    /// Grace: for how long after its expiry a slot token may still upload the one file it was made for, if that is
    /// not complete. The class of client is read from the User-Agent, which anybody can write: it widens time and
    /// nothing else. Signature, path and size are judged as ever.
    ["grace"] struct Grace {
        /// Whether there is any.
        enabled: bool = true;
        /// For the programs of `desktop_agents`.
        desktop: Period = Period::hours(24);
        /// For the programs of `mobile_agents`.
        mobile: Period = Period::hours(12);
        /// For every other program.
        other: Period = Period::ZERO;
        /// For desktop and mobile programs when the upload has begun, where this is longer.
        restoration: Period = Period::hours(48);
        /// No window is longer than this.
        ceiling: Period = Period::hours(72);
        /// Words in the User-Agent of programs on a computer.
        desktop_agents: Vec<Word> = Word::all(&["Dino", "Gajim", "Pidgin", "Psi", "Swift", "Profanity", "Poezio", "Kaidan", "Beagle"]);
        /// Words in the User-Agent of programs on a phone. They are looked for first.
        mobile_agents: Vec<Word> = Word::all(&["Conversations", "Cheogram", "Snikket", "Monal", "Siskin", "Monocles", "Blabber", "Quicksy", "Yaxim", "okhttp", "CFNetwork", "Android", "iPhone", "iPad"]);
    }
}

section! {
    /// Names for networks, for the history of sessions and the audit log.
    ["network"] struct Networks {
        /// NAME=NETWORK; the longest prefix that fits names the class of an address, "other" where none does.
        classes: Vec<NetworkClass> = Vec::new(), example "[\"office=192.0.2.0/24\", \"mobile=100.64.0.0/10\"]";
    }
}

section! {
    /// Abuse: bans and rates.
    ["abuse"] struct Abuse {
        /// "memory": each node counts for itself. "redis": all nodes together, in the Redis of [redis].
        backend: AbuseBackend = AbuseBackend::Memory;
        /// Credentials with a bad signature of one address within `failure_window` that ban it. A ban changes
        /// nothing for whoever shows a good credential or asks for what is public: where the answer would be 401 or
        /// 403 it is 429. Not counted are GET and HEAD, session ids, what is missing, expired, malformed or genuine
        /// and for another upload, a token that signs the media type (v2), and what comes from an address of
        /// `trusted_proxies`. IPv6 counts by /64. 0: nobody is banned.
        max_failures: u32 = 30;
        /// See `max_failures`.
        failure_window: Period = Period::secs(600);
        /// How long a ban lasts.
        ban: Period = Period::secs(900);
        /// Networks that are neither banned nor limited in their rate.
        allow: Vec<Cidr> = Cidr::loopback();
        /// Requests that one address may send in a minute, as many at once. 0: no limit.
        requests_per_minute: u32 = 0;
        /// Requests that one subject may send in a minute, as many at once. 0: no limit.
        subject_requests_per_minute: u32 = 0;
    }
}

section! {
    /// Redis, for the parts that are told to use it. When it is unreachable they go on in memory, and say so in the
    /// log and in the metrics.
    ["redis"] struct Redis {
        /// Its URL.
        url: Option<RedisUrl> = None, example "\"redis://127.0.0.1:6379/0\"";
        /// How long an answer may take before the part goes on without.
        timeout: Period = Period::secs(1);
    }
}

section! {
    /// The audit log: one JSON object a line for each decision about a credential, each step of a session, each
    /// change of network, each refusal and each deletion, with its reason. No secret, token or session id is in it.
    ["audit"] struct Audit {
        /// File to append to; opened anew on SIGHUP. Not set: no audit log.
        file: Option<PathBuf> = None, example "\"/var/log/plimsoll/audit.jsonl\"";
    }
}

section! {
    /// Patience.
    ["limits"] struct Limits {
        /// A body that has been silent for so long is cut; what arrived is kept for resumption.
        body_gap: Period = Period::secs(60);
        /// Bytes a second below which a body is cut, measured over 30 s; what arrived is kept. 0: no limit.
        least_rate: Size = Size::of(0);
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
        /// Origins whose pages may upload and download: "*" for any, or one, or a list of them.
        allow_origin: AllowOrigin = AllowOrigin::any();
        /// Whether these pages may send cookies and the like, which this server does not read, but a proxy in front may
        /// ask for. The origins have to be named then.
        allow_credentials: bool = false;
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
    pub session: SessionSettings,
    pub grace: Grace,
    pub network: Networks,
    pub abuse: Abuse,
    pub redis: Redis,
    pub audit: Audit,
    pub limits: Limits,
    pub retention: Retention,
    pub cors: Cors,
    pub metrics: Metrics,
    pub log: Log,
}

const ALSO: &str = "also";

impl Config {
    /// The sections that stand once in a file, in the order in which they are printed.
    fn sections(&self) -> [&dyn Section; 16] {
        [
            &self.server,
            &self.store,
            &self.ledger,
            &self.slots,
            &self.tus,
            &self.session,
            &self.grace,
            &self.network,
            &self.abuse,
            &self.redis,
            &self.audit,
            &self.limits,
            &self.retention,
            &self.cors,
            &self.metrics,
            &self.log,
        ]
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let all: [&mut dyn Section; 16] = [
            &mut self.server,
            &mut self.store,
            &mut self.ledger,
            &mut self.slots,
            &mut self.tus,
            &mut self.session,
            &mut self.grace,
            &mut self.network,
            &mut self.abuse,
            &mut self.redis,
            &mut self.audit,
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
