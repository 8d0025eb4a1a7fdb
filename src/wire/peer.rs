//! Who is on the other end: the client's address seen through trusted proxies, and how often it may do something.

mod forwarded;

use std::{net::IpAddr, time::Duration};

use http::HeaderMap;

use crate::{
    config::{Cidr, ForwardedHeader},
    guard::rate::Rate,
};
use forwarded::Element;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Networks whose forwarding headers are believed, and which of the headers they write.
#[derive(Clone, Debug)]
pub struct Proxies {
    trusted: Vec<Cidr>,
    header: ForwardedHeader,
}

/// Which headers a proxy writes.
#[derive(Clone, Copy, Debug)]
enum Family {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// What a hop's proxy says of the client in front of it; `None` when it names no address.
struct Hop<'a> {
    client: Option<IpAddr>,
    element: Option<Element<'a>>,
}

impl Proxies {
    /// Proxies in these networks that write this header.
    #[must_use]
    pub fn new(trusted: Vec<Cidr>, header: ForwardedHeader) -> Self {
        Self { trusted, header }
    }

    /// Whether this is the address of a proxy that is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The families of headers that are looked at: the configured one, or, where that is left open, those that are there.
    fn families(&self, headers: &HeaderMap) -> (bool, bool) {
        match self.header {
            ForwardedHeader::Auto => {
                (headers.contains_key(X_FORWARDED_FOR), headers.contains_key(http::header::FORWARDED))
            }
            ForwardedHeader::XForwardedFor => (true, false),
            ForwardedHeader::Forwarded => (false, true),
        }
    }

    /// [SES-50] The client's address: the last one listed that is no trusted proxy, when a trusted proxy sent it.
    /// Whatever an untrusted peer writes counts for nothing.
    ///
    /// Read from the right, byte by byte: what the client itself wrote stands on the left, and neither its bytes nor its
    /// quotes may spoil what our proxy added to them.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        let named = |family: Family| {
            let mut nearest = peer;
            self.believed(family, peer, headers, |hop| nearest = hop.client.unwrap_or(nearest));
            nearest
        };
        match self.families(headers) {
            (true, false) | (false, false) => named(Family::XForwarded),
            (false, true) => named(Family::Forwarded),
            // [ENG-152] a proxy writes one of them, and the client may have written the other
            (true, true) => {
                let (one, other) = (named(Family::XForwarded), named(Family::Forwarded));
                if one == other { one } else { peer }
            }
        }
    }

    /// `scheme://host` as a trusted proxy reports it. Of several the outermost counts that names both.
    #[must_use]
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Option<String> {
        if !self.trusts(peer) {
            return None;
        }
        match self.families(headers) {
            (true, false) | (false, false) => x_forwarded_origin(headers),
            (false, true) => self.forwarded_origin(peer, headers),
            // [ENG-152]
            (true, true) => x_forwarded_origin(headers)
                .filter(|one| Some(one) == self.forwarded_origin(peer, headers).as_ref()),
        }
    }

    fn forwarded_origin(&self, peer: IpAddr, headers: &HeaderMap) -> Option<String> {
        let mut outermost = None;
        self.believed(Family::Forwarded, peer, headers, |hop| {
            if let Some(Element { proto: Some(scheme), host: Some(host), .. }) = &hop.element {
                outermost = Some((scheme.to_ascii_lowercase(), host.clone().into_owned()));
            }
        });
        outermost.and_then(|(scheme, host)| origin_of(&scheme, &host))
    }

    /// Shows each hop that a trusted proxy reports, the nearest first, until one is reported by somebody else, or is
    /// unreadable: behind that nothing can be believed.
    fn believed(&self, family: Family, peer: IpAddr, headers: &HeaderMap, mut see: impl FnMut(&Hop<'_>)) {
        if !self.trusts(peer) {
            return;
        }
        let mut is_last = |hop: &Hop<'_>| {
            see(hop);
            !hop.client.is_some_and(|client| self.trusts(client))
        };
        match family {
            Family::Forwarded => {
                for value in headers.get_all(http::header::FORWARDED).iter().rev() {
                    for text in forwarded::elements_from_the_right(value.as_bytes()) {
                        let element = forwarded::element(text);
                        let client =
                            element.as_ref().and_then(|found| forwarded::node(found.client.as_deref()?));
                        if is_last(&Hop { client, element }) {
                            return;
                        }
                    }
                }
            }
            Family::XForwarded => {
                for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
                    for text in value.as_bytes().rsplit(|byte| *byte == b',') {
                        let client = std::str::from_utf8(text).ok().and_then(|text| address(text.trim()));
                        if is_last(&Hop { client, element: None }) {
                            return;
                        }
                    }
                }
            }
        }
    }
}

fn x_forwarded_origin(headers: &HeaderMap) -> Option<String> {
    // Where a proxy adds a line to the client's own, its line is the last.
    let last = |name: &str| headers.get_all(name).iter().next_back()?.to_str().ok().map(str::trim);
    origin_of(last("x-forwarded-proto")?, last("x-forwarded-host")?)
}

fn origin_of(scheme: &str, host: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let is_good = matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(plain);
    is_good.then(|| format!("{scheme}://{host}"))
}

/// An address with or without a port. IPv4 mapped into IPv6 is IPv4.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    let found = bare
        .parse()
        .ok()
        .or_else(|| bare.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| {
            bare.strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .and_then(|inner| inner.parse().ok())
        });
    found.map(|ip: IpAddr| ip.to_canonical())
}

/// A rate limit by address. IPv6 is counted by /64, since a single customer holds one.
#[derive(Debug)]
pub struct Limiter(Rate);

impl Limiter {
    /// So many a minute, of which as many may come at once; 0 for no limit.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self(Rate::per_minute(count))
    }

    /// Count one; `Err` with the time to wait when it is one too many.
    ///
    /// # Errors
    /// How long to wait.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        self.0.count_address(address)
    }
}

#[cfg(test)]
mod tests;
