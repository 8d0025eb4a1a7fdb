//! Presigned PUTs of S3, signed here a second time and in another way.

use sha2::Digest;

use super::*;

const DATE: &str = "20231114T221320Z";
const AT: i64 = 1_700_000_000_000;
const CREDENTIAL: &str = "AKID/20231114/eu-west-1/s3/aws4_request";
const VECTOR: &str = "3146b33545b4146f0e30f4224e0af2b8ef96dd9cdb707a2c2f5383b35187af7b";

const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is signed, and presented when it is not changed.
#[derive(Clone)]
pub(super) struct Url {
    secret: &'static str,
    method: &'static str,
    /// As it is signed: encoded.
    pub(super) path: String,
    /// Without the signature, not encoded.
    query: Vec<(&'static str, String)>,
    /// Sorted by name.
    pub(super) headers: Vec<(&'static str, String)>,
    payload: &'static str,
}

pub(super) fn url() -> Url {
    let named = |name, value: &str| (name, value.to_owned());
    Url {
        secret: "s3cret",
        method: "PUT",
        path: "/bucket/foo/bar.jpg".into(),
        query: vec![
            named("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            named("X-Amz-Credential", CREDENTIAL),
            named("X-Amz-Date", DATE),
            named("X-Amz-Expires", "60"),
            named("X-Amz-SignedHeaders", "content-length;content-type;host"),
        ],
        headers: vec![
            named("content-length", "1048576"),
            named("content-type", "image/jpeg"),
            named("host", "up.example.org"),
        ],
        payload: "UNSIGNED-PAYLOAD",
    }
}

impl Url {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.query.retain(|(key, _)| *key != name);
        self.query.push((name, value.to_owned()));
        self
    }
    pub(super) fn header(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.retain(|(key, _)| *key != name);
        self.headers.extend(value.map(|value| (name, value.to_owned())));
        self.headers.sort();
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        self.with("X-Amz-SignedHeaders", &names.join(";"))
    }
    fn value(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
    fn encoded(&self) -> String {
        let mut query = self.query.clone();
        query.sort();
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| {
                format!("{}={}", utf8_percent_encode(name, IN_QUERY), utf8_percent_encode(value, IN_QUERY))
            })
            .collect();
        pairs.join("&")
    }
    pub(super) fn signature(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = self.value("X-Amz-SignedHeaders");
        let canonical = [self.method, &self.path, &self.encoded(), &headers, names, self.payload].join("\n");
        let credential: Vec<_> = self.value("X-Amz-Credential").split('/').collect();
        let scope = credential[credential.len().saturating_sub(4)..].join("/");
        let hash = hex(&Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", self.value("X-Amz-Date"));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, text.as_bytes()))
    }
    pub(super) fn query(&self) -> String {
        format!("{}&X-Amz-Signature={}", self.encoded(), self.signature())
    }
    /// The PUT that this URL was made for.
    fn put(&self) -> Ask {
        photo().query(self.query())
    }
}

fn photo() -> Ask {
    ask().raw("/bucket/foo/bar.jpg").types(&["image/jpeg"])
}

fn why(request: &Ask) -> &'static str {
    match request.at(AT) {
        Err(Denied::Malformed { carrier: Carrier::Query, why }) => why,
        other => panic!("expected a malformed credential, got {other:?}"),
    }
}

#[test]
fn accepts_the_known_vector() {
    assert_eq!(url().signature(), VECTOR);
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20231114%2Feu-west-1%2Fs3%2Faws4_request\
         &X-Amz-Date={DATE}&X-Amz-Expires=60&X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost\
         &X-Amz-Signature={VECTOR}"
    );
    let expected = Grant {
        size: Some(MIB),
        filename: Some("bar.jpg".into()),
        content_type: Some("image/jpeg".into()),
        issued_at_ms: Some(AT),
        expires_at_ms: Some(AT + 60_000),
        ..Grant::of(Scheme::SigV4)
    };
    assert_eq!(photo().query(query).at(AT), Ok(expected));
}

// [AUT-60]
#[test]
fn what_was_signed_for_another_method_is_no_put() {
    assert!(url().put().at(AT).is_ok());
    for method in ["GET", "POST", "DELETE", "put"] {
        assert_eq!(Url { method, ..url() }.put().at(AT), BAD_TYPED, "{method}");
    }
}

// [AUT-61]
#[test]
fn lives_for_as_many_seconds_as_it_signs_up_to_a_week() {
    let request = url().put();
    assert!(request.at(AT + 59_999).is_ok());
    assert_eq!(expired(&request.at(AT + 60_000)), Some(AT + 60_000));
    assert_eq!(request.length(1).at(i64::MAX), BAD_TYPED, "judged last");
    assert!(url().with("X-Amz-Expires", "604800").put().at(AT + 604_799_999).is_ok());
    for odd in ["0", "604801", "-1", "+60", "060", "60.0", "", "1e3", "99999999999999999999"] {
        let request = url().with("X-Amz-Expires", odd).put();
        assert_eq!(why(&request), "X-Amz-Expires is not a number of seconds from 1 to 604800", "{odd}");
    }
}

#[test]
fn a_life_that_was_not_signed_is_refused() {
    let query = url().query().replace("Expires=60", "Expires=6000");
    assert_eq!(photo().query(query).at(AT), BAD_TYPED);
    let query = url().query().replace("T221320Z", "T231320Z");
    assert_eq!(photo().query(query).at(AT), BAD_TYPED);
}

// [AUT-67]
#[test]
fn a_signer_may_be_five_minutes_ahead() {
    let request = url().put();
    assert!(request.at(AT - 300_000).is_ok());
    assert_eq!(request.at(AT - 300_001), Err(Denied::NotYetValid { from_ms: AT }));
}

// [AUT-62]
#[test]
fn the_credential_is_of_the_service_and_the_day() {
    let other = [
        "AKID/20231114/eu-west-1/s3",
        "AKID/20231114/eu-west-1/sqs/aws4_request",
        "AKID/20231114/eu-west-1/s3/aws5_request",
        "AKID/2023111/eu-west-1/s3/aws4_request",
        "AKID/20231114//s3/aws4_request",
        "/20231114/eu-west-1/s3/aws4_request",
        "AKID/20231114/eu\nwest/s3/aws4_request",
        "AKID",
        "",
    ];
    for credential in other {
        let request = url().with("X-Amz-Credential", credential).put();
        let expected = "X-Amz-Credential is not id/day/region/s3/aws4_request";
        assert_eq!(why(&request), expected, "{credential}");
    }
    let request = url().with("X-Amz-Credential", &CREDENTIAL.replace("1114", "1115")).put();
    assert_eq!(why(&request), "X-Amz-Credential is of another day than X-Amz-Date");
    for free in ["id/with/slashes/20231114/r/s3/aws4_request", "très/20231114/x.y-z/s3/aws4_request"] {
        assert!(url().with("X-Amz-Credential", free).put().at(AT).is_ok(), "{free}");
    }
}

#[test]
fn dates_are_read_strictly() {
    for odd in [
        "",
        "20231114",
        "20231114T221320",
        "20231114T221320+",
        "20231314T221320Z",
        "20230229T000000Z",
        "20231114T251320Z",
        "2023-11-14T22:13:20Z",
        "19691231T235959Z",
        "+0231114T221320Z",
    ] {
        assert_eq!(why(&url().with("X-Amz-Date", odd).put()), "X-Amz-Date is not a time", "{odd}");
    }
}

// [AUT-63]
#[test]
fn a_url_that_covers_no_size_or_no_host_is_never_accepted() {
    let expected = "X-Amz-SignedHeaders names not both content-length and host";
    for missing in ["content-length", "host"] {
        assert_eq!(why(&url().header(missing, None).put()), expected);
    }
    assert_eq!(why(&url().header("content-length", None).header("content-type", None).put()), expected);
    assert_eq!(url().put().length(None).at(AT), Err(Denied::LengthRequired));
    for other in [0, MIB - 1, MIB + 1, u64::MAX] {
        assert_eq!(url().put().length(other).at(AT), BAD_TYPED, "{other}");
    }
}

#[test]
fn signed_headers_are_a_sorted_list_in_small_letters() {
    for odd in ["host;content-length", "content-length;host;host", "content-length;content-length;host"] {
        let request = url().with("X-Amz-SignedHeaders", odd).put();
        assert_eq!(why(&request), "X-Amz-SignedHeaders is not sorted", "{odd}");
    }
    for odd in [
        "Content-Length;host",
        "content-length;host;",
        "",
        ";",
        "content-length,host",
        "content-length;host;x\ny",
    ] {
        let request = url().with("X-Amz-SignedHeaders", odd).put();
        assert_eq!(why(&request), "X-Amz-SignedHeaders is not a list of names in small letters", "{odd}");
    }
    let many: Vec<_> = (0..33).map(|n| format!("x-{n:02}")).collect();
    let request = url().with("X-Amz-SignedHeaders", &format!("content-length;host;{}", many.join(";"))).put();
    assert_eq!(why(&request), "X-Amz-SignedHeaders is not a list of names in small letters");
}

// [AUT-64]
#[test]
fn the_path_may_be_sent_in_another_spelling_than_it_was_signed_in() {
    let cool = |signed: &str, sent: &str| {
        let mut url = url();
        url.path = signed.into();
        let path = "a/très cool+(1).jpg";
        photo().path(path).raw(sent).query(url.query()).at(AT)
    };
    let canonical = "/bucket/a/tr%C3%A8s%20cool%2B%281%29.jpg";
    assert!(cool(canonical, canonical).is_ok());
    assert!(cool(canonical, "/bucket/a/tr%c3%a8s%20cool+(1).jpg").is_ok());
    assert!(cool(canonical, "/b%75cket/a/très%20cool+(1).jpg").is_ok());
    let lax = "/bucket/a/tr%C3%A8s%20cool+(1).jpg";
    assert!(cool(lax, lax).is_ok());
    assert_eq!(cool(lax, canonical), BAD_TYPED);
    assert_eq!(cool(&canonical.replace('%', "%2525"), canonical), BAD_TYPED, "encoded three times");
    let elsewhere = url().put().path("foo/baz.jpg").raw("/bucket/foo/baz.jpg");
    assert_eq!(elsewhere.at(AT), BAD_TYPED);
    assert_eq!(url().put().raw("/other/foo/bar.jpg").at(AT), BAD_TYPED, "the base path is signed too");
}

/// The request for `sent` with a URL whose signature covers the path `signed`.
fn signed_for(signed: &str, sent: &str) -> Result<Grant, Denied> {
    let mut url = url();
    url.path = signed.into();
    let name = percent_encoding::percent_decode_str(sent).decode_utf8().unwrap();
    photo().path(name.strip_prefix("/bucket/").unwrap()).raw(sent).query(url.query()).at(AT)
}

// [AUT-120]
#[test]
fn the_path_may_be_signed_encoded_twice_as_mongooseim_does() {
    for (signed, sent) in [
        ("/bucket/a/tr%25C3%25A8s%2520cool.jpg", "/bucket/a/tr%C3%A8s%20cool.jpg"),
        ("/bucket/a/tr%25c3%25a8s.jpg", "/bucket/a/tr%c3%a8s.jpg"),
        ("/bucket/a/tr%25C3%25A8s.jpg", "/bucket/a/tr%c3%a8s.jpg"),
        ("/bucket/a/50%2525.jpg", "/bucket/a/50%25.jpg"),
    ] {
        let grant = signed_for(signed, sent).unwrap_or_else(|why| panic!("{sent}: {why:?}"));
        assert!(grant.fingerprint.is_some(), "{sent} is not bound to one of the two names");
    }
    assert_eq!(signed_for("/bucket/a/b%2520c.jpg", "/bucket/a/b c.jpg"), BAD_TYPED, "sent without a %");
}

// [AUT-120]
#[test]
fn a_signature_that_fits_two_names_is_bound_to_the_first_one() {
    let signed = "/bucket/a/b%2520c.jpg";
    let (literal, blank) =
        (signed_for(signed, signed).unwrap(), signed_for(signed, "/bucket/a/b%20c.jpg").unwrap());
    assert!(literal.fingerprint.is_some() && literal.fingerprint == blank.fingerprint);
    assert_eq!(
        (literal.filename.as_deref(), blank.filename.as_deref()),
        (Some("b%20c.jpg"), Some("b c.jpg"))
    );
    let plain = signed_for("/bucket/a/b%20c.jpg", "/bucket/a/b%20c.jpg").unwrap();
    assert_eq!(plain.fingerprint, None, "no other name has this form");
}

// [AUT-121]
#[test]
fn length_and_type_may_be_signed_in_the_query_where_the_configuration_says_so() {
    let hoisted = || {
        let mut url = url();
        url.headers.retain(|(name, _)| *name == "host");
        url.with("X-Amz-SignedHeaders", "host")
            .with("Content-Length", "1048576")
            .with("Content-Type", "image/png")
    };
    let rules = Rules { presigned_headers_in_query: true, ..Rules::default() };
    let judge = |request: &Ask| request.show(|presented| authorize(&ring(), &rules, presented, AT));
    let grant = judge(&hoisted().put()).unwrap();
    assert_eq!((grant.size, grant.content_type.as_deref()), (Some(MIB), Some("image/png")));
    assert!(judge(&url().put()).is_ok(), "signed headers count as ever");
    let longer = judge(&hoisted().put().length(MIB + 1));
    assert_eq!(longer, Err(Denied::WrongSize { signed: MIB, claimed: MIB + 1 }));
    let changed = hoisted().query().replace("Content-Length=1048576", "Content-Length=1048577");
    assert_eq!(judge(&photo().query(changed).length(MIB + 1)), BAD_QUERY);
    let unsized_ = hoisted().query().replace("Content-Length=1048576&", "");
    assert!(matches!(judge(&photo().query(unsized_)), Err(Denied::Malformed { .. })));
    for odd in ["", "-1", "1e6", "01048576"] {
        let odd = hoisted().with("Content-Length", odd).put();
        assert!(matches!(judge(&odd), Err(Denied::Malformed { .. })));
    }
    let twice = format!("{}&content-length=5", hoisted().query());
    assert!(matches!(judge(&photo().query(twice)), Err(Denied::Malformed { .. })));
    assert_eq!(
        why(&hoisted().put()),
        "X-Amz-SignedHeaders names not both content-length and host",
        "by default the query is no place for them"
    );
}

// [AUT-15]
#[test]
fn a_raw_path_of_another_upload_is_refused() {
    let wrong = Err(Denied::WrongPath { carrier: Carrier::Query });
    assert_eq!(url().put().path("foo/baz.jpg").at(AT), wrong);
    assert_eq!(url().put().path("oo/bar.jpg").at(AT), wrong);
    // [AUT-7]
    let mut nul = url();
    nul.path = "/bucket/foo%00/bar.jpg".into();
    assert_eq!(nul.put().path("foo\0/bar.jpg").raw(&nul.path).at(AT), wrong);
}

// [AUT-64]
#[test]
fn the_query_counts_in_any_order_and_spelling_and_as_a_whole() {
    let query = url().query();
    let mut reversed: Vec<_> = query.split('&').collect();
    reversed.reverse();
    assert!(photo().query(reversed.join("&")).at(AT).is_ok());
    assert!(photo().query(query.replace("%2F", "/").replace("%3B", ";")).at(AT).is_ok());
    assert!(photo().query(query.replace("%2F", "%2f")).at(AT).is_ok());
    assert!(photo().query(format!("{query}&session_id=ab12")).at(AT).is_ok(), "ours");
    assert!(photo().query(format!("&{query}&")).at(AT).is_ok());
    for more in ["x=1", "x", "v=1", "user=romeo", "filename=a"] {
        assert_eq!(photo().query(format!("{query}&{more}")).at(AT), BAD_TYPED, "{more}");
    }
    let more = url().with("x-id", "PutObject").with("a b+c", "d&e=f").with("acl", "").put();
    assert!(more.at(AT).is_ok());
    let bare = more.query.clone().unwrap().replace("acl=", "acl");
    assert!(more.query(bare).at(AT).is_ok());
}

// [AUT-3]
#[test]
fn parameters_are_there_once() {
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let query = url().query();
        let pair = query.split('&').find(|pair| pair.starts_with(&format!("X-Amz-{name}="))).unwrap();
        let twice = format!("{query}&{pair}");
        assert_eq!(why(&photo().query(twice)), "a signed parameter is repeated", "{name}");
        let disguised = format!("{query}&{}", pair.replace("X-Amz", "x%2Damz"));
        assert_eq!(why(&photo().query(disguised)), "a signed parameter is repeated", "{name}");
        if name != "Signature" {
            let absent = query.replace(&format!("{pair}&"), "");
            assert_eq!(why(&photo().query(absent)), "a signed parameter is missing", "{name}");
        }
    }
    let endless = format!("{}&a={}", url().query(), "a".repeat(LONGEST_CREDENTIAL));
    assert_eq!(why(&photo().query(endless)), "the presigned query is too long");
    let garbled = url().query().replace("Date=2", "Date=%ff");
    assert_eq!(why(&photo().query(garbled)), "a signed parameter is not UTF-8");
}

#[test]
fn another_algorithm_payload_or_spelling_of_the_signature_is_refused() {
    for other in ["AWS4-HMAC-SHA1", "AWS4-ECDSA-P256-SHA256", "none", ""] {
        let request = url().with("X-Amz-Algorithm", other).put();
        assert_eq!(why(&request), "X-Amz-Algorithm is not AWS4-HMAC-SHA256", "{other}");
    }
    assert_eq!(Url { payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ..url() }.put().at(AT), BAD_TYPED);
    for spelling in [VECTOR.to_uppercase(), VECTOR[1..].to_owned(), String::new()] {
        let request = photo().query(url().query().replace(VECTOR, &spelling));
        assert_eq!(why(&request), "X-Amz-Signature is not 64 lowercase hex digits");
    }
}

#[test]
fn the_host_is_one_of_those_that_the_server_goes_by() {
    let request = url().put();
    assert!(request.clone().hosts(&["10.0.0.1:8080", "up.example.org"]).at(AT).is_ok());
    assert_eq!(request.clone().hosts(&["10.0.0.1:8080"]).at(AT), BAD_TYPED);
    assert_eq!(request.clone().hosts(&["up.example.org:8443"]).at(AT), BAD_TYPED);
    assert_eq!(request.hosts(&[]).at(AT), BAD_TYPED);
}

// [AUT-65]
#[test]
fn the_type_is_one_that_the_request_or_the_ledger_names() {
    let request = url().put();
    assert!(request.clone().types(&["application/offset+octet-stream", "image/jpeg"]).at(AT).is_ok());
    assert!(request.clone().types(&["image/jpeg; q=1"]).at(AT).is_ok());
    assert!(request.clone().types(&[]).at(AT).is_ok(), "what the extension suggests");
    assert_eq!(request.clone().types(&["image/png"]).at(AT), BAD_TYPED);
    let untyped = url().header("content-type", None).put().types(&["text/html"]).at(AT).unwrap();
    assert_eq!(untyped.content_type, None, "not signed: any");
    let spaced = url().header("content-type", Some("text/plain; a=b")).put();
    assert!(spaced.types(&[" text/plain;   a=b "]).at(AT).is_ok());
}

// [AUT-66]
#[test]
fn other_signed_headers_are_those_of_the_request() {
    let request = url().header("x-amz-acl", Some("public-read")).put();
    assert!(request.clone().sends("x-amz-acl", " public-read ").at(AT).is_ok());
    assert_eq!(request.clone().sends("x-amz-acl", "private").at(AT), BAD_TYPED);
    assert_eq!(request.clone().sends("x-amz-acl", "public-read\nhost:x").at(AT), BAD_TYPED);
    assert_eq!(request.at(AT), BAD_TYPED);
    // The length is the complete one, whatever the request says of itself.
    let part = url().put().sends("content-length", "5").sends("host", "x");
    assert!(part.at(AT).is_ok());
}

#[test]
fn a_line_of_its_own_in_a_value_is_no_header() {
    // Asked for with a type of two lines: read as one more header, it would sign another host.
    let two_lines = "a\nhost:evil.example";
    let request = url().header("content-type", Some(two_lines)).put();
    assert_eq!(request.clone().types(&[two_lines]).at(AT), BAD_TYPED);
    assert_eq!(request.types(&["a"]).hosts(&["evil.example"]).at(AT), BAD_TYPED);
}

// [AUT-9]
#[test]
fn every_secret_of_the_ring_verifies() {
    let request = url().put();
    assert!(request.of(&ring_of(&["newest", "middle", "s3cret"]), AT).is_ok());
    assert_eq!(request.of(&ring_of(&["newest", "AWS4s3cret"]), AT), BAD_TYPED);
    let long = "a secret that is longer than one block of the hash, which is sixty-four bytes of it";
    let request = Url { secret: long, ..url() }.put();
    assert!(request.of(&ring_of(&[long]), AT).is_ok());
}

proptest::proptest! {
    #[test]
    fn a_change_of_any_bit_of_the_signature_is_refused(at in 0usize..256) {
        let digit = (at / 4, 1 << (at % 4));
        let changed: String = VECTOR
            .char_indices()
            .map(|(index, c)| if index == digit.0 { c.to_digit(16).unwrap() ^ digit.1 } else { c.to_digit(16).unwrap() })
            .map(|value| char::from_digit(value, 16).unwrap())
            .collect();
        proptest::prop_assert_eq!(photo().query(url().query().replace(VECTOR, &changed)).at(AT), BAD_TYPED);
    }

    #[test]
    fn a_change_of_any_signed_field_is_refused(
        path in "[a-z/]{1,20}", length: u64, host in 0usize..3, query in "[a-zA-Z0-9]{1,10}", field in 0usize..5,
    ) {
        let request = url().put();
        let moved = request.clone().path(&path).raw(&format!("/bucket/{path}"));
        proptest::prop_assert_eq!(moved.at(AT).is_ok(), path == PHOTO);
        proptest::prop_assert_eq!(request.clone().length(length).at(AT).is_ok(), length == MIB);
        let hosts = ["up.example.org.", "UP.example.org", "up.example.net"];
        proptest::prop_assert_eq!(request.clone().hosts(&[hosts[host]]).at(AT), BAD_TYPED);
        let name = url().query[field].0;
        let other = url().with(name, &query).encoded();
        let request = request.query(format!("{other}&X-Amz-Signature={VECTOR}"));
        proptest::prop_assert!(request.at(AT).is_err());
    }

    #[test]
    fn arbitrary_queries_are_refused_without_panic(query in "(X-Amz-(Date|Expires|Credential|SignedHeaders|Algorithm|Signature)=[a-zA-Z0-9%/;]{0,40}&){0,8}X-Amz-Signature=\\PC{0,70}") {
        proptest::prop_assert!(photo().query(query).at(AT).is_err());
    }

    #[test]
    fn whatever_is_presigned_verifies(
        path in "[^\0/][^\0]{0,30}", length: u64, region in "[a-z0-9-]{1,12}", id in "[^/]{1,12}", life in 1u32..=604_800,
    ) {
        let mut url = url()
            .header("content-length", Some(&length.to_string()))
            .with("X-Amz-Credential", &format!("{id}/20231114/{region}/s3/aws4_request"))
            .with("X-Amz-Expires", &life.to_string());
        url.path = format!("/bucket/{}", utf8_percent_encode(&path, IN_PATH));
        let request = photo().path(&path).raw(&url.path).length(length).query(url.query());
        proptest::prop_assert!(request.at(AT + i64::from(life) * 1000 - 1).is_ok());
        proptest::prop_assert!(expired(&request.at(AT + i64::from(life) * 1000)).is_some());
    }
}
