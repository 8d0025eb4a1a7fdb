//! The Bearer token of mod_http_upload_hmac, in both layouts.

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::*;

const JID: &str = "romeo@montague.tld";
const SLOT: &str = "3f9a/photo.jpg";
const ISSUED: i64 = 1_700_000_000;
const AT: i64 = ISSUED * 1000 + 5;
const LAYOUT_1: &str = "xpZwhpVJL7qE38mvwuvEyJcG4grubLtwBbN2kAReUFs=";
const LAYOUT_2: &str = "tXprRSPgdGr4zJ6U00cAXDKnt9Z42C4IzAaIv88++FM=";
const WHO_1: &str = "user=romeo@montague.tld&expiry=1700003600";
const WHO_2: &str = "user=romeo@montague.tld&expiry=1700086400&session_id=0123";

fn photo() -> Ask {
    ask().path(SLOT).length(12345)
}

fn layout_1() -> Ask {
    photo().query(WHO_1).bearer(LAYOUT_1)
}

fn layout_2() -> Ask {
    photo().query(WHO_2).bearer(LAYOUT_2)
}

fn why(request: &Ask) -> &'static str {
    match request.at(AT) {
        Err(Denied::Malformed { why, .. }) => why,
        other => panic!("expected a malformed credential, got {other:?}"),
    }
}

/// What a server with this secret would put into the header for `signed`.
fn token(signed: &str) -> String {
    STANDARD.encode(hmac(b"s3cret", signed.as_bytes()))
}

/// In the query every letter of base64 that means something else there is encoded.
fn encoded(token: &str) -> String {
    utf8_percent_encode(token, NON_ALPHANUMERIC).to_string()
}

// [AUT-55]
#[test]
fn accepts_the_known_vector_of_layout_1() {
    let grant = layout_1().at(AT).unwrap();
    let expected = Grant {
        subject: Some(JID.into()),
        size: Some(12345),
        filename: Some("photo.jpg".into()),
        issued_at_ms: Some(ISSUED * 1000),
        expires_at_ms: Some((ISSUED + 3600) * 1000),
        fingerprint: grant.fingerprint.clone(),
        ..Grant::of(Scheme::Bearer)
    };
    assert_eq!(grant, expected);
}

// [AUT-56]
#[test]
fn accepts_the_known_vector_of_layout_2() {
    let grant = layout_2().at(AT).unwrap();
    assert_eq!((grant.scheme, grant.subject.as_deref()), (Scheme::Bearer, Some(JID)));
    assert_eq!(grant.issued_at_ms, Some(ISSUED * 1000));
    assert_eq!(grant.expires_at_ms, Some((ISSUED + 86_400) * 1000));
}

#[test]
fn may_stand_in_the_query() {
    let header = layout_1().at(AT);
    for token in [LAYOUT_1.to_owned(), encoded(LAYOUT_1)] {
        assert_eq!(photo().query(format!("{WHO_1}&token={token}")).at(AT), header);
    }
    // layout 2's has two pluses
    for token in [LAYOUT_2.to_owned(), encoded(LAYOUT_2)] {
        assert_eq!(photo().query(format!("token={token}&{WHO_2}")).at(AT), layout_2().at(AT));
    }
    for blank in [" ", "%20"] {
        let sloppy = LAYOUT_2.replace('+', blank);
        let request = photo().query(format!("{WHO_2}&token={sloppy}"));
        assert_eq!(why(&request), "token is neither a JWT nor a MAC in base64 or hex");
    }
}

// [AUT-50]
#[test]
fn a_mac_has_one_spelling() {
    let mac = STANDARD.decode(LAYOUT_1).unwrap();
    let spellings = [
        STANDARD_NO_PAD.encode(&mac),
        LAYOUT_1.replace("s=", "t="),
        URL_SAFE_NO_PAD.encode(STANDARD.decode(LAYOUT_2).unwrap()),
        STANDARD.encode(&mac[..31]),
        STANDARD.encode([&mac[..], b"a"].concat()),
    ];
    for spelling in spellings {
        let request = layout_1().bearer(&spelling);
        assert_eq!(why(&request), "the Bearer token is neither a JWT nor 32 bytes in base64", "{spelling}");
    }
}

// [AUT-25]
#[test]
fn expires_at_the_moment_it_names() {
    for (request, at_ms) in [(layout_1(), 1_700_003_600_000), (layout_2(), 1_700_086_400_000)] {
        assert!(request.at(at_ms - 1).is_ok());
        assert_eq!(expired(&request.at(at_ms)), Some(at_ms));
        assert_eq!(expired(&request.at(i64::MAX)), Some(at_ms));
        let wrong = request.length(1).at(i64::MAX);
        assert_eq!(wrong, BAD_HEADER, "judged last");
    }
}

// [AUT-54]
#[test]
fn an_expiry_that_was_not_signed_is_refused() {
    for later in ["1700003601", "1700086400", "1800000000"] {
        assert_eq!(layout_1().query(format!("user={JID}&expiry={later}")).at(AT), BAD_HEADER, "{later}");
    }
    for later in ["1700086401", "1700003600", "1800000000"] {
        assert_eq!(layout_2().query(format!("user={JID}&expiry={later}")).at(AT), BAD_HEADER, "{later}");
    }
}

#[test]
fn the_lifetimes_are_those_of_the_configuration() {
    let rules =
        Rules { bearer_lifetime_ms: 7_200_000, bearer_resilient_lifetime_ms: 1_000, ..Rules::default() };
    let judge = |request: Ask| request.show(|presented| authorize(&ring(), &rules, presented, AT));
    assert_eq!(judge(layout_1()), BAD_HEADER);
    assert_eq!(judge(layout_2()), BAD_HEADER);
    assert!(judge(layout_1().query(format!("user={JID}&expiry=1700007200"))).is_ok());
    // It signs its own expiry, which these rules do not give.
    assert_eq!(judge(layout_2().query(format!("user={JID}&expiry=1700000001"))), BAD_HEADER);
    let short = token(&format!("{JID}\0photo.jpg\x0012345\x00{ISSUED}\x00{}\0network_resilient", ISSUED + 1));
    assert!(judge(photo().bearer(&short).query(format!("user={JID}&expiry=1700000001"))).is_ok());
}

#[test]
fn the_word_of_layout_2_is_exactly_that() {
    for word in ["true", "1", "", "network_resilient ", "Network_resilient"] {
        let other = token(&format!("{JID}\0photo.jpg\x0012345\x00{ISSUED}\x00{}\0{word}", ISSUED + 86_400));
        assert_eq!(layout_2().bearer(&other).at(AT), BAD_HEADER, "{word}");
    }
}

// [AUT-53]
#[test]
fn another_user_file_or_size_is_refused() {
    for (request, expiry) in [(layout_1(), "1700003600"), (layout_2(), "1700086400")] {
        assert_eq!(request.clone().path("3f9a/photo.png").at(AT), BAD_HEADER);
        assert_eq!(request.clone().length(12346).at(AT), BAD_HEADER);
        assert_eq!(request.clone().length(None).at(AT), Err(Denied::LengthRequired));
        let other = request.clone().query(format!("user=juliet@capulet.tld&expiry={expiry}"));
        assert_eq!(other.at(AT), BAD_HEADER);
        // What the query says of name and size counts for nothing.
        let told = format!("user={JID}&expiry={expiry}&filename=photo.jpg&size=12345");
        assert!(request.clone().query(&told).at(AT).is_ok());
        assert_eq!(request.clone().query(&told).length(99_999).at(AT), BAD_HEADER);
        assert_eq!(request.clone().query(&told).path("3f9a/virus.exe").at(AT), BAD_HEADER);
        let lies = format!("user={JID}&expiry={expiry}&filename=x&size=1");
        assert!(request.query(lies).at(AT).is_ok());
    }
}

#[test]
fn a_mac_without_size_or_expiry_is_no_token() {
    let bare = [
        "3f9a/photo.jpg".to_owned(),
        "photo.jpg".to_owned(),
        format!("{JID}\0photo.jpg"),
        format!("{JID}\0photo.jpg\x0012345"),
        format!("{JID}\0{SLOT}\x0012345\x00{ISSUED}"),
        format!("{JID}\0photo.jpg\0\0{ISSUED}"),
        format!("{JID}\0photo.jpg\x0012345\x00{ISSUED}\x001700003600"),
    ];
    for signed in bare {
        let request = photo().bearer(&token(&signed));
        for who in [WHO_1, WHO_2] {
            assert_eq!(request.clone().query(who).at(AT), BAD_HEADER, "{signed:?}");
        }
    }
}

// [AUT-57]
#[test]
fn it_fits_other_paths_of_the_same_name_so_it_has_a_fingerprint() {
    let first = layout_1().at(AT).unwrap().fingerprint.unwrap();
    assert_eq!(first.len(), 64);
    let elsewhere = layout_1().path("77aa/photo.jpg").at(AT).unwrap();
    assert_eq!(elsewhere.fingerprint.as_deref(), Some(first.as_str()), "the caller can tell");
    let query = photo().query(format!("{WHO_1}&token={LAYOUT_1}")).at(AT).unwrap();
    assert_eq!(query.fingerprint.as_deref(), Some(first.as_str()), "wherever it stands");
    assert_ne!(layout_2().at(AT).unwrap().fingerprint, Some(first));
    assert!(!layout_1().at(AT).unwrap().fingerprint.unwrap().contains(LAYOUT_1));
}

#[test]
fn a_nameless_file_has_no_token() {
    let nameless = token(&format!("{JID}\0\x0012345\x00{ISSUED}"));
    let request = layout_1().bearer(&nameless).path("3f9a/");
    assert_eq!(request.at(AT), Err(Denied::WrongPath { carrier: Carrier::Header }));
}

// [AUT-7]
#[test]
fn a_name_with_a_nul_has_no_token_though_it_were_signed() {
    let signed = token(&format!("{JID}\0a\0b\x0012345\x00{ISSUED}"));
    let request = layout_1().bearer(&signed).path("3f9a/a\0b");
    assert_eq!(request.at(AT), Err(Denied::WrongPath { carrier: Carrier::Header }));
}

#[test]
fn nothing_was_issued_before_1970() {
    let early = token(&format!("{JID}\0photo.jpg\x0012345\x00-1"));
    assert_eq!(layout_1().bearer(&early).query(format!("user={JID}&expiry=3599")).at(AT), BAD_HEADER);
    let first = token(&format!("{JID}\0photo.jpg\x0012345\x000"));
    let request = layout_1().bearer(&first).query(format!("user={JID}&expiry=3600"));
    assert_eq!(expired(&request.at(AT)), Some(3_600_000));
}

// [AUT-51]
#[test]
fn the_user_has_to_be_told_once_and_readably() {
    let user = |user: &str| layout_1().query(format!("{user}&expiry=1700003600"));
    assert_eq!(why(&user("a=b")), "the parameter user is missing");
    assert_eq!(why(&user("user=")), "a credential parameter is empty");
    assert_eq!(why(&user("user")), "a credential parameter is empty");
    assert_eq!(why(&user("user=%ff")), "a credential parameter is not UTF-8");
    assert_eq!(
        why(&user("user=romeo@montague.tld&user=romeo@montague.tld")),
        "a credential parameter is repeated"
    );
    assert_eq!(why(&user("user=a%00b")), "the parameter user is no JID");
    assert_eq!(why(&user(&format!("user={}", "a".repeat(3072)))), "the parameter user is no JID");
    assert!(user("user=romeo%40montague.tld").at(AT).is_ok());
    // [AUT-3] a Bearer in the header is refused as such
    assert!(matches!(user("user=").at(AT), Err(Denied::Malformed { carrier: Carrier::Header, .. })));
}

// [AUT-52]
#[test]
fn the_expiry_has_to_be_told_once_in_plain_digits() {
    let expiry = |expiry: &str| layout_1().query(format!("user={JID}&{expiry}"));
    assert_eq!(why(&expiry("a=b")), "the parameter expiry is missing");
    assert_eq!(why(&expiry("expiry=")), "a credential parameter is empty");
    assert_eq!(why(&expiry("expiry=1700003600&expiry=1700003600")), "a credential parameter is repeated");
    let odd = [
        "-1700003600",
        "+1700003600",
        "%2B1700003600",
        "01700003600",
        "1700003600.0",
        "1.7e9",
        "1700003600%20",
        "%D9%A1",
        "253402300800",
        "99999999999999999999",
        "18446744073709551615",
    ];
    for odd in odd {
        let request = expiry(&format!("expiry={odd}"));
        assert_eq!(why(&request), "the parameter expiry is not a time in whole seconds", "{odd}");
    }
}

// [AUT-9]
#[test]
fn every_secret_of_the_ring_verifies() {
    for request in [layout_1(), layout_2()] {
        assert!(request.of(&ring_of(&["newest", "middle", "s3cret"]), AT).is_ok());
        assert_eq!(request.of(&ring_of(&["newest", "middle"]), AT), BAD_HEADER);
    }
}

proptest::proptest! {
    #[test]
    fn a_change_of_any_byte_of_the_mac_is_refused(at in 0usize..32, by in 1u8..) {
        for request in [layout_1(), layout_2()] {
            let token = request.authorization.as_deref().unwrap().strip_prefix(b"Bearer ").unwrap();
            let mut mac = STANDARD.decode(token).unwrap();
            mac[at] ^= by;
            proptest::prop_assert_eq!(request.bearer(&STANDARD.encode(mac)).at(AT), BAD_HEADER);
        }
    }

    #[test]
    fn any_other_field_is_refused(jid in "[^\0]{1,40}", file in "[^/\0]{1,40}", size: u64, expiry in 0i64..=253_402_300_799) {
        for (request, of) in [(layout_1(), 1_700_003_600), (layout_2(), 1_700_086_400)] {
            let query = format!("user={}&expiry={of}", encoded(&jid));
            proptest::prop_assert_eq!(request.clone().query(query).at(AT).is_ok(), jid == JID);
            let query = format!("user={JID}&expiry={expiry}");
            proptest::prop_assert_eq!(request.clone().query(query).at(AT).is_ok(), expiry == of);
            let other = request.clone().path(&format!("3f9a/{file}"));
            proptest::prop_assert_eq!(other.at(AT).is_ok(), file == "photo.jpg");
            proptest::prop_assert_eq!(request.length(size).at(AT).is_ok(), size == 12345);
        }
    }
}
