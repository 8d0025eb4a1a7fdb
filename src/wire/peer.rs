//! Who is on the other end: the client's address seen through trusted proxies, and how often it may do something.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use http::HeaderMap;

use crate::config::Cidr;

/// Networks whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(pub Vec<Cidr>);

impl Proxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: the last one of `X-Forwarded-For` that is no trusted proxy, when a trusted proxy sent
    /// it. Whatever an untrusted peer writes into the header counts for nothing.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let listed: Vec<Option<IpAddr>> = headers
            .get_all("x-forwarded-for")
            .iter()
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .map(|text| address(text.trim()))
            .collect();
        let mut nearest = peer;
        for hop in listed.into_iter().rev() {
            // Behind something unreadable nothing can be believed.
            let Some(hop) = hop else { return nearest };
            nearest = hop;
            if !self.trusts(hop) {
                return hop;
            }
        }
        nearest
    }

    /// `scheme://host` as a trusted proxy reports it.
    #[must_use]
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Option<String> {
        if !self.trusts(peer) {
            return None;
        }
        let one = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let (scheme, host) = (one("x-forwarded-proto")?, one("x-forwarded-host")?);
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        let is_good = matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(plain);
        is_good.then(|| format!("{scheme}://{host}"))
    }
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    bare.parse().ok().or_else(|| bare.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip())).or_else(
        || {
            bare.strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .and_then(|inner| inner.parse().ok())
        },
    )
}

/// A rate limit by address. IPv6 is counted by /64, since a single customer holds one.
#[derive(Debug)]
pub struct Limiter(Option<DefaultKeyedRateLimiter<IpAddr>>);

impl Limiter {
    /// So many a minute, of which as many may come at once; 0 for no limit.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self(NonZeroU32::new(count).map(|count| RateLimiter::keyed(Quota::per_minute(count))))
    }

    /// Count one; `Err` with the time to wait when it is one too many.
    ///
    /// # Errors
    /// How long to wait.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.len() > 100_000 {
            limiter.retain_recent();
        }
        limiter
            .check_key(&network(address))
            .map_err(|not_until| not_until.wait_time_from(governor::clock::DefaultClock::default().now()))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies(vec![Cidr::parse("10.0.0.0/8").unwrap()])
    }

    fn headers(forwarded: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let forged = headers(&["1.2.3.4"]);
        assert_eq!(proxies().client(ip("192.0.2.1"), &forged), ip("192.0.2.1"));
        assert_eq!(proxies().client(ip("10.0.0.1"), &forged), ip("1.2.3.4"));
        // What the client itself wrote stands before what our proxy added.
        assert_eq!(
            proxies().client(ip("10.0.0.1"), &headers(&["6.6.6.6, 192.0.2.9", "10.0.0.2"])),
            ip("192.0.2.9")
        );
        assert_eq!(proxies().client(ip("10.0.0.1"), &headers(&["6.6.6.6, nonsense"])), ip("10.0.0.1"));
        assert_eq!(proxies().client(ip("10.0.0.1"), &HeaderMap::new()), ip("10.0.0.1"));
        assert_eq!(proxies().client(ip("10.0.0.1"), &headers(&["[2001:db8::1]:443"])), ip("2001:db8::1"));
    }

    #[test]
    fn an_origin_is_taken_from_a_trusted_proxy_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        headers.insert("x-forwarded-host", "up.example.org".parse().unwrap());
        let trusted = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies().origin(trusted, &headers).as_deref(), Some("https://up.example.org"));
        assert_eq!(proxies().origin("192.0.2.1".parse().unwrap(), &headers), None);
        headers.insert("x-forwarded-host", "evil/path".parse().unwrap());
        assert_eq!(proxies().origin(trusted, &headers), None);
    }

    #[test]
    fn an_address_is_stopped_after_its_burst_and_its_neighbours_in_the_same_64_too() {
        let limiter = Limiter::per_minute(2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(limiter.count(ip("2001:db8::1")).is_ok() && limiter.count(ip("2001:db8::2")).is_ok());
        assert!(limiter.count(ip("2001:db8::3")).unwrap_err() > Duration::ZERO);
        assert!(limiter.count(ip("2001:db8:0:1::1")).is_ok());
        assert!((0..100).all(|_| Limiter::per_minute(0).count(ip("192.0.2.1")).is_ok()));
    }
}
