use super::*;

fn read<T: Setting>(text: &str) -> Result<T, String> {
    T::read(&Raw::Text(text.to_owned()))
}

// [ENG-10]
#[test]
fn a_secret_is_masked_however_it_is_printed() {
    let secret = Secret::new("hunter2").unwrap();
    let printed = format!("{secret} {secret:?} {:?} {}", secret.to_toml(), serde_json::json!(secret));
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(secret.expose(), b"hunter2");
}

#[test]
fn an_empty_or_unquoted_secret_is_refused() {
    assert!(read::<Secret>("").is_err());
    assert!(!Secret::read(&Raw::Integer(424_242)).unwrap_err().contains("424242"));
}

#[test]
fn a_public_url_is_http_without_query_and_loses_its_last_slash() {
    for (text, kept) in [
        ("https://upload.example.org", "https://upload.example.org"),
        ("https://upload.example.org/", "https://upload.example.org"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://example.org/files/", "https://example.org/files"),
    ] {
        assert_eq!(read::<PublicUrl>(text).unwrap().as_str(), kept);
    }
    for (text, reason) in [
        ("", "no URL"),
        ("upload.example.org", "does not start"),
        ("/upload", "does not start"),
        ("ftp://example.org", "neither http nor https"),
        ("https://example.org?x=1", "query"),
        ("https://example.org#top", "fragment"),
        ("https://me:pw@example.org", "user or password"),
        ("https://example.org:0", "port"),
        ("https://example.org:99999", "port"),
        ("https://", "no URL"),
        ("https://exa mple.org", "no URL"),
    ] {
        let wrong = read::<PublicUrl>(text).unwrap_err();
        assert!(wrong.contains(reason), "{text:?}: {wrong}");
    }
}

#[test]
fn a_base_path_is_plain_and_not_a_page_of_the_server() {
    for text in ["/upload", "/a/b", "/~x/up-load_1.0"] {
        assert_eq!(read::<BasePath>(text).unwrap().as_str(), text);
    }
    let root = read::<BasePath>("/").unwrap();
    assert_eq!((root.as_str(), root.to_toml().unwrap()), ("", "\"/\"".to_owned()));
    for text in [
        "",
        "upload",
        "/upload/",
        "//upload",
        "/a//b",
        "/a/../b",
        "/.",
        "/a b",
        "/a?b",
        "/a%2Fb",
        "/ä",
        "/healthz",
        "/readyz",
        "/session",
        "/session/refresh",
    ] {
        assert!(read::<BasePath>(text).is_err(), "{text:?}");
    }
}

#[test]
fn base_paths_overlap_at_segments_only() {
    let path = |text| read::<BasePath>(text).unwrap();
    assert!(path("/upload").overlaps(&path("/upload")));
    assert!(path("/upload").overlaps(&path("/upload/x")));
    assert!(path("/upload/x").overlaps(&path("/upload")));
    assert!(!path("/upload").overlaps(&path("/uploads")));
    assert!(!path("/a/x").overlaps(&path("/a/y")));
    assert!(path("/").overlaps(&path("/")));
    assert!(!path("/").overlaps(&path("/a")) && !path("/a").overlaps(&path("/")));
}

#[test]
fn a_network_contains_its_addresses_mapped_or_not() {
    let cidr = read::<Cidr>("10.0.0.0/8").unwrap();
    assert!(cidr.contains("10.255.1.2".parse().unwrap()));
    assert!(cidr.contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!cidr.contains("11.0.0.1".parse().unwrap()));
    assert!(!cidr.contains("::1".parse().unwrap()));
    let all = read::<Cidr>("0.0.0.0/0").unwrap();
    assert!(all.contains("192.0.2.1".parse().unwrap()));
    assert!(!all.contains("2001:db8::1".parse().unwrap()));
    let one = read::<Cidr>("::1").unwrap();
    assert!(one.contains("::1".parse().unwrap()) && !one.contains("::2".parse().unwrap()));
    assert_eq!(one.to_string(), "::1/128");
}

#[test]
fn wrong_networks_are_refused_with_a_reason() {
    for (text, reason) in [
        ("", "no IP address"),
        ("localhost", "no IP address"),
        ("10.0.0.0/33", "prefix length"),
        ("10.0.0.0/-1", "prefix length"),
        ("10.0.0.0/", "prefix length"),
        ("fd00::/129", "prefix length"),
        ("10.0.0.1/8", "\"10.0.0.0/8\""),
    ] {
        let wrong = read::<Cidr>(text).unwrap_err();
        assert!(wrong.contains(reason), "{text:?}: {wrong}");
    }
}

#[test]
fn a_ledger_is_a_sqlite_file_and_its_url_is_never_repeated_in_an_error() {
    for text in ["sqlite:./x/ledger.db", "sqlite:///var/lib/ledger.db", "sqlite://ledger.db?mode=rwc"] {
        assert_eq!(read::<LedgerUrl>(text).unwrap().as_str(), text);
    }
    for (text, reason) in [
        ("postgres://u:hunter2@db/x", "not yet"),
        ("postgresql://u:hunter2@db/x", "not yet"),
        ("mysql://u:hunter2@db/x", "does not start with sqlite:"),
        ("hunter2.db", "does not start with sqlite:"),
        ("sqlite:", "no path"),
        ("sqlite://", "no path"),
        ("sqlite::memory:", "forget"),
        ("", "does not start"),
    ] {
        let wrong = read::<LedgerUrl>(text).unwrap_err();
        assert!(wrong.contains(reason) && !wrong.contains("hunter2"), "{text:?}: {wrong}");
    }
}

#[test]
fn a_mistyped_level_is_not_taken_for_a_target() {
    for text in ["info", "INFO", "info,sqlx=warn", "off", "plimsoll::engine=trace , warn"] {
        assert_eq!(read::<LogFilter>(text).unwrap().as_str(), text);
    }
    for (text, reason) in
        [("inof", "\"info\""), ("", "no level"), ("sqlx", "target=level"), ("sqlx=wran", "\"warn\"")]
    {
        let wrong = read::<LogFilter>(text).unwrap_err();
        assert!(wrong.contains(reason), "{text:?}: {wrong}");
    }
}

#[test]
fn words_with_a_meaning_are_taken_exactly() {
    assert_eq!(read::<Durability>("relaxed"), Ok(Durability::Relaxed));
    assert!(read::<Durability>("Relaxed").is_err() && read::<Durability>("").is_err());
    assert_eq!(read::<LogFormat>("json"), Ok(LogFormat::Json));
    assert!(read::<LogFormat>("yaml").is_err());
}
