use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies_of(header: ForwardedHeader) -> Proxies {
    let networks = ["10.0.0.0/8", "fd00::/8"];
    Proxies::new(networks.map(|network| Cidr::parse(network).unwrap()).to_vec(), header)
}

fn proxies() -> Proxies {
    proxies_of(ForwardedHeader::Auto)
}

fn lines(name: &'static str, values: &[&[u8]]) -> HeaderMap {
    values.iter().map(|value| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())).collect()
}

fn x_forwarded_for(values: &[&str]) -> HeaderMap {
    lines("x-forwarded-for", &values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>())
}

fn forwarded(values: &[&str]) -> HeaderMap {
    lines("forwarded", &values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>())
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    // [SES-50]
    for forged in [x_forwarded_for(&["1.2.3.4"]), forwarded(&["for=1.2.3.4"])] {
        assert_eq!(proxies().client(ip("192.0.2.1"), &forged), ip("192.0.2.1"));
        assert_eq!(proxies().client(ip("10.0.0.1"), &forged), ip("1.2.3.4"));
        assert_eq!(proxies().client(ip("::ffff:10.0.0.1"), &forged), ip("1.2.3.4"));
    }
    assert_eq!(proxies().client(ip("10.0.0.1"), &HeaderMap::new()), ip("10.0.0.1"));
    assert_eq!(proxies().client(ip("::ffff:192.0.2.1"), &HeaderMap::new()), ip("192.0.2.1"));
}

#[test]
fn the_client_is_the_last_x_forwarded_for_that_is_no_proxy() {
    let from_proxy = |values: &[&str]| proxies().client(ip("10.0.0.1"), &x_forwarded_for(values));
    // What the client itself wrote stands before what our proxy added.
    assert_eq!(from_proxy(&["6.6.6.6, 192.0.2.9", "10.0.0.2"]), ip("192.0.2.9"));
    assert_eq!(from_proxy(&["6.6.6.6, nonsense"]), ip("10.0.0.1"));
    assert_eq!(from_proxy(&["6.6.6.6, nonsense, 10.0.0.3"]), ip("10.0.0.3"));
    assert_eq!(from_proxy(&["6.6.6.6,,10.0.0.3"]), ip("10.0.0.3"), "an empty element says nothing");
    assert_eq!(from_proxy(&[""]), ip("10.0.0.1"));
    assert_eq!(from_proxy(&["[2001:db8::1]:443"]), ip("2001:db8::1"));
    assert_eq!(from_proxy(&["::ffff:192.0.2.9"]), ip("192.0.2.9"));
    assert_eq!(from_proxy(&["10.0.0.4, 10.0.0.3"]), ip("10.0.0.4"), "proxies all the way");
}

#[test]
fn bytes_and_quotes_of_a_client_do_not_hide_it_behind_the_proxy() {
    let spoiled = lines("x-forwarded-for", &[b"\xff\xfe, 192.0.2.9"]);
    assert_eq!(proxies().client(ip("10.0.0.1"), &spoiled), ip("192.0.2.9"));
    for spoiled in [
        &b"\xff\xfe, for=192.0.2.9"[..],
        b"for=\", for=192.0.2.9",
        b"for=\"\\, for=192.0.2.9",
        b"for=\"\\\", for=192.0.2.9",
        b"\", for=6.6.6.6, for=\"192.0.2.9:80\"",
        b";;;=, for=192.0.2.9;ext=\"a,b;for=6.6.6.6\"",
        b"for=6.6.6.6, for=192.0.2.9;ext=\"\\\", for=6.6.6.6\\\\\"",
    ] {
        let headers = lines("forwarded", &[spoiled]);
        let shown = String::from_utf8_lossy(spoiled);
        assert_eq!(proxies().client(ip("10.0.0.1"), &headers), ip("192.0.2.9"), "{shown}");
    }
}

#[test]
fn forwarded_is_read_as_the_rfc_writes_it() {
    let from_proxy = |values: &[&str]| proxies().client(ip("10.0.0.1"), &forwarded(values));
    for (value, client) in [
        ("for=192.0.2.43", "192.0.2.43"),
        ("For=\"192.0.2.43:4711\"", "192.0.2.43"),
        ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
        ("FOR=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=\"192.0.2.43:_port-1\"", "192.0.2.43"),
        ("proto=https;by=203.0.113.43;for=192.0.2.60;host=a.example", "192.0.2.60"),
        ("for=6.6.6.6, for=192.0.2.43,\tfor=10.0.0.2", "192.0.2.43"),
        ("for=\"\\1\\92.0.2.43\"", "192.0.2.43"),
        ("for=\"[::ffff:192.0.2.43]\"", "192.0.2.43"),
    ] {
        assert_eq!(from_proxy(&[value]), ip(client), "{value}");
    }
    for unreadable in [
        "for=unknown",
        "for=_hidden",
        "for=\"_gazonk\"",
        "by=10.0.0.2",
        "proto=https",
        "for=2001:db8::1",
        "for=\"2001:db8::1\"",
        "for=[2001:db8::1]",
        "for=\"[192.0.2.1]\"",
        "for=192.0.2.1:80",
        "for=\"192.0.2.1:99999\"",
        "for=\"192.0.2.1:\"",
        "for=\"192.0.2.1:_\"",
        "for=\"192.0.2.1:+80\"",
        "for = 192.0.2.1",
        "for=192.0.2.1;",
        "for=192.0.2.1; proto=http",
        "for=192.0.2.1;for=192.0.2.2",
        "for=",
        "for=\"\"",
        "for=\"192.0.2.1",
        "192.0.2.1",
        "",
        " ",
    ] {
        assert_eq!(from_proxy(&[unreadable]), ip("10.0.0.1"), "{unreadable}");
        let behind = format!("for=6.6.6.6, {unreadable}");
        assert_ne!(from_proxy(&[&behind]), ip("6.6.6.6"), "{behind}");
    }
    assert_eq!(from_proxy(&["for=6.6.6.6", "for=192.0.2.1", "for=10.0.0.2"]), ip("192.0.2.1"));
}

#[test]
fn the_configured_header_counts_and_auto_believes_neither_where_they_differ() {
    // [ENG-152]
    let mut both = forwarded(&["for=192.0.2.2"]);
    both.extend(x_forwarded_for(&["192.0.2.1"]));
    for (header, client) in [
        (ForwardedHeader::Auto, "10.0.0.1"),
        (ForwardedHeader::XForwardedFor, "192.0.2.1"),
        (ForwardedHeader::Forwarded, "192.0.2.2"),
    ] {
        assert_eq!(proxies_of(header).client(ip("10.0.0.1"), &both), ip(client), "{header:?}");
    }
    // A proxy that writes both, and a client that repeats what is true.
    let mut agreed = forwarded(&["for=192.0.2.1;proto=https;host=up.example.org"]);
    agreed.extend(x_forwarded_for(&["6.6.6.6, 192.0.2.1"]));
    assert_eq!(proxies().client(ip("10.0.0.1"), &agreed), ip("192.0.2.1"));
    assert_eq!(proxies().origin(ip("10.0.0.1"), &agreed), None, "one family alone names an origin");
    for (proto, origin) in [("https", Some("https://up.example.org".to_owned())), ("http", None)] {
        let mut both = agreed.clone();
        both.insert("x-forwarded-proto", proto.parse().unwrap());
        both.insert("x-forwarded-host", "up.example.org".parse().unwrap());
        assert_eq!(proxies().origin(ip("10.0.0.1"), &both), origin);
    }
    let peer = ip("10.0.0.1");
    let only = forwarded(&["for=192.0.2.2"]);
    assert_eq!(proxies_of(ForwardedHeader::XForwardedFor).client(peer, &only), peer);
    assert_eq!(proxies_of(ForwardedHeader::Forwarded).client(peer, &x_forwarded_for(&["192.0.2.2"])), peer);
}

#[test]
fn ten_thousand_hops_are_followed_to_the_client() {
    let hops = vec!["10.9.9.9"; 10_000].join(",");
    let headers = x_forwarded_for(&["6.6.6.6, 192.0.2.1", &hops]);
    assert_eq!(proxies().client(ip("10.0.0.1"), &headers), ip("192.0.2.1"));
    let hops = vec!["for=\"10.9.9.9:1\";by=_p"; 10_000].join(", ");
    let headers = forwarded(&["for=6.6.6.6, for=192.0.2.1", &hops]);
    assert_eq!(proxies().client(ip("10.0.0.1"), &headers), ip("192.0.2.1"));
}

#[test]
fn an_origin_is_taken_from_a_trusted_proxy_alone() {
    let pair = |proto: &str, host: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", proto.parse().unwrap());
        headers.insert("x-forwarded-host", host.parse().unwrap());
        headers
    };
    let trusted = ip("10.0.0.1");
    let mut headers = pair("https", "up.example.org");
    assert_eq!(proxies().origin(trusted, &headers).as_deref(), Some("https://up.example.org"));
    assert_eq!(proxies().origin(ip("192.0.2.1"), &headers), None);
    headers.append("x-forwarded-host", "proxy.example.org".parse().unwrap());
    assert_eq!(proxies().origin(trusted, &headers).as_deref(), Some("https://proxy.example.org"));
    assert_eq!(proxies().origin(trusted, &pair("https", "evil/path")), None);
    assert_eq!(proxies().origin(trusted, &pair("gopher", "up.example.org")), None);
}

#[test]
fn an_origin_is_taken_from_forwarded_too() {
    let origin = |value: &str| proxies().origin(ip("10.0.0.1"), &forwarded(&[value]));
    let good = Some("https://up.example.org:8443".to_owned());
    assert_eq!(origin("for=192.0.2.1;proto=HTTPS;host=\"up.example.org:8443\""), good);
    let inner = "for=192.0.2.1;proto=https;host=\"up.example.org:8443\", for=10.0.0.2;proto=http;host=inner";
    assert_eq!(origin(inner), good, "the outermost proxy saw the client's own request");
    assert_eq!(origin("for=6.6.6.6;proto=http;host=evil, for=192.0.2.1"), None, "a client is not asked");
    assert_eq!(origin("for=192.0.2.1;proto=https;host=\"evil/path\""), None);
    assert_eq!(origin("for=192.0.2.1;proto=https"), None);
    assert_eq!(proxies().origin(ip("192.0.2.1"), &forwarded(&["for=1.1.1.1;proto=https;host=evil"])), None);
    let mut both = forwarded(&["for=192.0.2.1;proto=https;host=from-forwarded"]);
    both.extend(x_forwarded_for(&["192.0.2.1"]));
    assert_eq!(proxies().origin(ip("10.0.0.1"), &both), None, "auto asks one family of headers alone");
}

#[test]
fn an_address_is_stopped_after_its_burst_and_its_neighbours_in_the_same_64_too() {
    let limiter = Limiter::per_minute(2);
    assert!(limiter.count(ip("2001:db8::1")).is_ok() && limiter.count(ip("2001:db8::2")).is_ok());
    assert!(limiter.count(ip("2001:db8::3")).unwrap_err() > Duration::ZERO);
    assert!(limiter.count(ip("2001:db8:0:1::1")).is_ok());
    assert!((0..100).all(|_| Limiter::per_minute(0).count(ip("192.0.2.1")).is_ok()));
}

fn header_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let near_miss = prop::collection::vec(
        prop::sample::select(vec![
            "for=",
            "for=10.0.0.2",
            "for=192.0.2.1",
            "10.0.0.3",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            "[",
            "]",
            ":",
            "::1",
            "proto=https",
            "host=x",
            " ",
            "\t",
            "_x",
            "unknown",
            "\u{ff}",
            "2001:db8::1",
        ]),
        0..12,
    );
    let near_miss = near_miss.prop_map(|parts| parts.concat().into_bytes());
    let any_bytes = prop::collection::vec(
        any::<u8>().prop_filter("a header value", |b| *b == b'\t' || *b >= b' ' && *b != 127),
        0..64,
    );
    prop::collection::vec(prop_oneof![near_miss, any_bytes], 0..5)
}

proptest! {
    #[test]
    fn nothing_written_panics_and_an_untrusted_peer_is_always_itself(
        x in header_lines(), f in header_lines(), peer in any::<u32>(),
    ) {
        let mut headers = lines("x-forwarded-for", &x.iter().map(Vec::as_slice).collect::<Vec<_>>());
        headers.extend(lines("forwarded", &f.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let peer = IpAddr::V4(peer.into());
        for header in [ForwardedHeader::Auto, ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            let proxies = proxies_of(header);
            let _ = proxies.client(ip("10.0.0.1"), &headers);
            let _ = proxies.origin(ip("10.0.0.1"), &headers);
            if !proxies.trusts(peer) {
                prop_assert_eq!(proxies.client(peer, &headers), peer);
                prop_assert_eq!(proxies.origin(peer, &headers), None);
            }
        }
    }

    #[test]
    fn what_a_client_writes_never_changes_what_its_proxy_adds(client in header_lines(), is_quoted: bool) {
        let by_proxy: &[u8] = if is_quoted { b"for=\"192.0.2.9:80\"" } else { b"for=192.0.2.9" };
        let mut client = client;
        let last = client.pop().unwrap_or_default();
        client.push([&last[..], b", ", by_proxy].concat());
        let headers = lines("forwarded", &client.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(proxies().client(ip("10.0.0.1"), &headers), ip("192.0.2.9"));
    }
}
