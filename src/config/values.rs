//! The types behind the keys that are neither numbers nor plain text: each can hold only what is valid.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::setting::{NOT_EXPANDED_HOME, NOT_EXPANDED_VARIABLE, Raw, Setting, quoted};

/// A key that mints and checks slot tokens: raw bytes, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// What stands wherever a secret would be printed.
pub const MASK: &str = "********";

impl Secret {
    /// A secret of these bytes; none when there are no bytes, since an empty key signs for everybody.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The key itself. It must not reach a log, an answer or a metric (ENG-10).
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Setting for Secret {
    const ACCEPTS: &'static str = "a text that is not empty (write numbers in quotes too)";

    fn read(raw: &Raw) -> Result<Self, String> {
        Self::new(raw.text()?).ok_or_else(|| "the secret is empty".to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(MASK))
    }
}

/// When an offset counts as safe (ENG-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The data is synced to the disk before the ledger commits its offset.
    Full,
    /// The operating system decides when the data reaches the disk: a power cut may cost acknowledged bytes.
    Relaxed,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Relaxed => "relaxed",
        })
    }
}

impl Setting for Durability {
    const ACCEPTS: &'static str = "\"full\" or \"relaxed\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text()? {
            "full" => Ok(Self::Full),
            "relaxed" => Ok(Self::Relaxed),
            other => Err(format!("{other:?} is no kind of durability")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// A choice between words, each with its meaning.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $Name:ident, $what:literal, $accepts:literal,
        $($(#[doc = $variant_doc:literal])+ $Variant:ident = $word:literal),+) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $($(#[doc = $variant_doc])+ $Variant,)+
        }

        impl Setting for $Name {
            const ACCEPTS: &'static str = $accepts;

            fn read(raw: &Raw) -> Result<Self, String> {
                match raw.text()? {
                    $($word => Ok(Self::$Variant),)+
                    other => Err(format!("{other:?} is no {}", $what)),
                }
            }

            fn to_toml(&self) -> Option<String> {
                Some(quoted(match self {
                    $(Self::$Variant => $word,)+
                }))
            }
        }
    };
}

choice!(
    /// Where sessions are kept.
    SessionBackend, "place for sessions", "\"ledger\" or \"redis\"",
    /// In the ledger's database.
    Ledger = "ledger",
    /// In Redis.
    Redis = "redis"
);

choice!(
    /// Where failures and rates are counted.
    AbuseBackend, "place to count in", "\"memory\" or \"redis\"",
    /// In this process.
    Memory = "memory",
    /// In Redis, for several nodes together.
    Redis = "redis"
);

choice!(
    /// Which forwarding header a trusted proxy writes.
    ForwardedHeader, "forwarding header", "\"auto\", \"x-forwarded-for\" or \"forwarded\"",
    /// `X-Forwarded-For` where it is there, else `Forwarded`.
    Auto = "auto",
    /// `X-Forwarded-For` alone.
    XForwardedFor = "x-forwarded-for",
    /// `Forwarded` (RFC 7239) alone.
    Forwarded = "forwarded"
);

choice!(
    /// Who may create uploads.
    Create, "way to create", "\"grant\" or \"open\"",
    /// Who holds a grant.
    Grant = "grant",
    /// Everybody, at a limited rate.
    Open = "open"
);

choice!(
    /// What an upload that was created asks for.
    Access, "kind of access", "\"url\" or \"grant\"",
    /// Its unguessable URL.
    Url = "url",
    /// A grant of its subject.
    Grant = "grant"
);

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Setting for LogFormat {
    const ACCEPTS: &'static str = "\"text\" or \"json\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text()? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is no log format")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(match self {
            Self::Text => "text",
            Self::Json => "json",
        }))
    }
}

/// Filter directives: a level, and levels of single targets after commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub(super) fn info() -> Self {
        Self("info".to_owned())
    }

    /// The directives in the syntax of `tracing_subscriber::EnvFilter`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Setting for LogFilter {
    const ACCEPTS: &'static str = "off, error, warn, info, debug or trace, and after commas the same for single targets, such as \"info,sqlx=warn\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        for directive in text.split(',').map(str::trim) {
            // The filter's own parser would take a mistyped level for the name of a target.
            let (level, is_bare) = match directive.rsplit_once('=') {
                Some((_, level)) => (level, false),
                None => (directive, true),
            };
            if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                let meant = super::nearest(level, LEVELS).map(|l| format!("; did you mean {l:?}?"));
                let target =
                    if is_bare && meant.is_none() { " (a target needs one: target=level)" } else { "" };
                return Err(format!("{level:?} is no level{target}{}", meant.unwrap_or_default()));
            }
            directive
                .parse::<tracing_subscriber::filter::Directive>()
                .map_err(|_| format!("{directive:?} is no filter directive"))?;
        }
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// The address under which clients reach the server: scheme, host, perhaps a port and a path; no slash at
/// the end, so that a base path can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `text` without slashes at its end, if it is an http(s) URL of scheme, host, port and path alone. The error
/// names the part that is wrong.
pub(super) fn http_url(text: &str) -> Result<&str, String> {
    if text.contains(['?', '#']) {
        return Err(format!("{text:?} has a query or a fragment"));
    }
    let uri: http::Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(format!("the scheme {other:?} is neither http nor https")),
        None => return Err(format!("{text:?} does not start with http:// or https://")),
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("a user or password stands before the host".to_owned())
        }
        Some(authority) if authority.host().is_empty() => Err(format!("{text:?} has no host")),
        Some(authority) if authority.as_str().ends_with(':') || has_bad_port(authority) => {
            Err(format!("in {text:?} the port is not a number from 1 to 65535"))
        }
        Some(_) => Ok(text.trim_end_matches('/')),
        None => Err(format!("{text:?} has no host")),
    }
}

fn has_bad_port(authority: &http::uri::Authority) -> bool {
    let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    !after_host.is_empty() && !matches!(authority.port_u16(), Some(1..))
}

impl Setting for PublicUrl {
    const ACCEPTS: &'static str =
        "an http:// or https:// URL without a query, such as \"https://upload.example.org\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        http_url(raw.text()?.trim()).map(|url| Self(url.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// The first part of the path of every URL that one set of secrets guards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BasePath(String);

impl BasePath {
    pub(super) fn upload() -> Self {
        Self("/upload".to_owned())
    }

    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::read(&Raw::Text(text.to_owned()))
    }

    pub(super) fn files() -> Self {
        Self("/files".to_owned())
    }

    /// The path: a slash first, none last; for the root the empty text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when one of the two paths lies within the other, so that a request could belong to both. All lie within the
    /// root, which has what belongs to no other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.0.is_empty() || other.0.is_empty() {
            return self == other;
        }
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        within(&self.0, &other.0) || within(&other.0, &self.0)
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for BasePath {
    const ACCEPTS: &'static str = "\"/\", or a path such as \"/upload\": a slash first, none last, segments of letters, digits and - . _ ~";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        let Some(inner) = text.strip_prefix('/') else {
            return Err(format!("{text:?} does not start with a slash"));
        };
        // [XEP-143] the server's own pages stay where they are
        if inner.is_empty() {
            return Ok(Self(String::new()));
        }
        if inner.ends_with('/') {
            return Err(format!("{text:?} ends with a slash"));
        }
        for segment in inner.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(format!("{text:?} has an empty or a dot segment"));
            }
            if let Some(odd) =
                segment.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_' | '~'))
            {
                return Err(format!("{text:?} contains {odd:?}"));
            }
        }
        if matches!(text, "/healthz" | "/readyz" | "/session" | "/session/refresh") {
            return Err(format!("{text:?} is a page of the server itself"));
        }
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(if self.0.is_empty() { "/" } else { &self.0 }))
    }
}

/// A network, such as `10.0.0.0/8`; without a prefix length, one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network of `ADDRESS/PREFIX`, or of a single address.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(&Raw::Text(text.to_owned()))
    }

    /// Every address of the machine itself.
    pub(super) fn loopback() -> Vec<Self> {
        let network = |network, prefix| Self { network, prefix };
        vec![network(Ipv4Addr::new(127, 0, 0, 0).into(), 8), network(Ipv6Addr::LOCALHOST.into(), 128)]
    }

    /// How many bits of an address name the network.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// True when `address` lies in this network; an IPv4 address may come mapped into IPv6, as a socket that
    /// listens on both delivers it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.network)
            && address.to_canonical().is_ipv4() == self.network.is_ipv4()
    }
}

/// The first address of the network of `prefix` bits that `address` lies in.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let host_bits = 32_u32.checked_sub(u32::from(prefix))?;
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(Ipv4Addr::from_bits(v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.checked_sub(u32::from(prefix))?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(Ipv6Addr::from_bits(v6.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl Setting for Cidr {
    const ACCEPTS: &'static str =
        "a list of networks, such as [\"127.0.0.1/32\", \"10.0.0.0/8\", \"fd00::/8\"]";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| format!("in {text:?} there is no IP address"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= longest).ok_or_else(|| {
                format!("in {text:?} the prefix length is not a number from 0 to {longest}")
            })?,
        };
        match masked(address, prefix) {
            Some(network) if network == address => Ok(Self { network, prefix }),
            Some(network) => {
                Err(format!("{text:?} has bits set beyond its prefix; did you mean \"{network}/{prefix}\"?"))
            }
            None => Err(format!("{text:?} is no network")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// Where the ledger is kept. SQLite alone so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerUrl(String);

impl LedgerUrl {
    /// The ledger that lies beside the bytes when the config names none.
    #[must_use]
    pub fn within(store: &Path) -> Self {
        Self(format!("sqlite:{}", store.join("ledger.db").display()))
    }

    /// The URL as sqlx takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message never repeats the text: a URL of a database may carry a password.
impl Setting for LedgerUrl {
    const ACCEPTS: &'static str =
        "sqlite: and the path of a file, such as \"sqlite:/var/lib/plimsoll/ledger.db\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        match text.split_once(':') {
            Some(("sqlite", file)) => match file.trim_start_matches('/') {
                "" => Err("after sqlite: there is no path".to_owned()),
                memory if memory.starts_with(":memory:") || memory.contains("mode=memory") => {
                    Err("a ledger in memory would forget every upload at a restart".to_owned())
                }
                path if path.starts_with('~') => Err(NOT_EXPANDED_HOME.to_owned()),
                path if path.starts_with('$') => Err(NOT_EXPANDED_VARIABLE.to_owned()),
                _ => Ok(Self(text.to_owned())),
            },
            Some(("postgres" | "postgresql", _)) => {
                Err("PostgreSQL is not yet supported as a ledger".to_owned())
            }
            Some(_) | None => Err("the URL does not start with sqlite:".to_owned()),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

#[cfg(test)]
mod tests;
