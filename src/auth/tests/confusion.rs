//! No token of one form passes as another one, however a user chose the name, the type and the address that went into it.
//!
//! All forms but the presigned URL are MACs with the same key, and the user has a say in what they sign. What keeps them
//! apart is how many NULs each signs, and that no field may hold one.

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const ISSUED: i64 = 1_700_000_000;
const AT: i64 = ISSUED * 1000;

/// What a user chose.
#[derive(Clone, Debug)]
struct Chosen {
    jid: String,
    filename: String,
    content_type: String,
    size: u64,
}

/// What an XMPP server signs for it in each form, and the form.
fn signed(chosen: &Chosen) -> Vec<(Scheme, String)> {
    let Chosen { jid, filename, content_type, size } = chosen;
    let plain = format!("{jid}\0{filename}\0{size}\0{ISSUED}");
    vec![
        (Scheme::V1, format!("slot/{filename} {size}")),
        (Scheme::V2, format!("slot/{filename}\0{size}\0{content_type}")),
        (Scheme::Bearer, format!("{plain}\0{}\0network_resilient", ISSUED + 86_400)),
        (Scheme::Bearer, plain),
    ]
}

/// Each way to read `signed` as what a token of another form signs, with that token in place.
fn readings(signed: &str) -> Vec<(Scheme, Ask)> {
    let mac = hmac(b"s3cret", signed.as_bytes());
    let (tag, token) = (hex(&mac), STANDARD.encode(&mac));
    let mut readings = Vec::new();
    if let Some((path, length)) = signed.rsplit_once(' ')
        && let Ok(length) = length.parse::<u64>()
    {
        readings.push((Scheme::V1, ask().path(path).length(length).query(format!("v={tag}"))));
    }
    let fields: Vec<&str> = signed.split('\0').collect();
    for (at, length) in fields.iter().enumerate() {
        let Ok(length) = length.parse::<u64>() else { continue };
        let (before, after) = (fields[..at].join("\0"), fields[at + 1..].join("\0"));
        let request = ask().path(&before).length(length).types(&[&after]);
        readings.push((Scheme::V2, request.clone().query(format!("v2={tag}"))));
        readings.push((Scheme::V2, request.query(format!("token={tag}"))));
        for cut in 0..at {
            let (jid, filename) = (fields[..cut].join("\0"), fields[cut..at].join("\0"));
            let jid = utf8_percent_encode(&jid, NON_ALPHANUMERIC);
            for expiry in [ISSUED + 3600, ISSUED + 86_400] {
                let who = format!("user={jid}&expiry={expiry}");
                let request = ask().path(&format!("other/{filename}")).length(length).query(&who);
                readings.push((Scheme::Bearer, request.clone().bearer(&token)));
                readings.push((Scheme::Bearer, request.query(format!("{who}&token={token}"))));
            }
        }
    }
    readings
}

/// Names and types such as a user would pick who wants one form to look like another.
fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a",
        "x",
        " ",
        "5",
        "999",
        "1700000000",
        "1700003600",
        "network_resilient",
        "@b",
        ".jpg",
        "/",
        "%00",
        ";",
    ]);
    prop::collection::vec(words, 1..6).prop_map(|words| words.concat())
}

fn chosen() -> impl Strategy<Value = Chosen> {
    (text(), text(), text(), prop_oneof![0u64..1000, any::<u64>()]).prop_map(
        |(jid, filename, content_type, size)| Chosen {
            jid,
            filename: filename.replace('/', "_"),
            // HTTP takes the blanks at both ends away.
            content_type: content_type.trim().to_owned(),
            size,
        },
    )
}

proptest! {
    #[test]
    fn a_mac_passes_as_nothing_but_what_it_was_made_as(chosen in chosen()) {
        for (scheme, signed) in signed(&chosen) {
            let mut own = 0;
            for (read_as, request) in readings(&signed) {
                let judged = request.at(AT);
                if let Ok(grant) = judged {
                    prop_assert_eq!(read_as, scheme, "{:?}", signed);
                    prop_assert_eq!(grant.size, Some(chosen.size), "{:?}", signed);
                    prop_assert_eq!(grant.filename.as_deref(), Some(chosen.filename.as_str()));
                    own += 1;
                }
            }
            prop_assert!(own > 0, "a token is at least what it is: {:?}", signed);
        }
    }

    #[test]
    fn the_bytes_of_one_form_are_refused_in_the_place_of_another(chosen in chosen()) {
        let natural = ask().path(&format!("slot/{}", chosen.filename)).length(chosen.size);
        let natural = natural.types(&[&chosen.content_type]);
        let who = |expiry| format!("user={}&expiry={expiry}", utf8_percent_encode(&chosen.jid, NON_ALPHANUMERIC));
        let mut url = sigv4s::url()
            .header("content-length", Some(&chosen.size.to_string()))
            .header("content-type", None);
        url.path = format!("/upload/{}", utf8_percent_encode(&natural.path, IN_PATH));
        let presigned = url.query();
        prop_assert_eq!(natural.clone().query(&presigned).at(AT).map(|grant| grant.scheme), Ok(Scheme::SigV4));
        let mut macs: Vec<_> = signed(&chosen)
            .into_iter()
            .map(|(scheme, signed)| (scheme, hmac(b"s3cret", signed.as_bytes())))
            .collect();
        let amz: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&url.signature()[at..at + 2], 16).unwrap())
            .collect();
        macs.push((Scheme::SigV4, amz));
        for (scheme, mac) in macs {
            let (tag, token) = (hex(&mac), STANDARD.encode(&mac));
            let places = [
                (Scheme::V1, format!("v={tag}")),
                (Scheme::V2, format!("v2={tag}")),
                (Scheme::V2, format!("token={tag}")),
                (Scheme::Bearer, format!("{}&token={token}", who(ISSUED + 3600))),
                (Scheme::Bearer, format!("{}&token={token}", who(ISSUED + 86_400))),
                (Scheme::SigV4, presigned.replace(&url.signature(), &tag)),
            ];
            for (place, query) in places {
                let judged = natural.clone().query(query).at(AT);
                prop_assert!(judged.is_err() || place == scheme, "{:?} in the place of {:?}", scheme, place);
            }
        }
    }
}

#[test]
fn layout_2_cannot_be_read_as_v2() {
    let signed = format!("a@b\0photo.jpg\x0012345\x00{ISSUED}\x001700086400\0network_resilient");
    let tag = hex(&hmac(b"s3cret", signed.as_bytes()));
    let forged = ask()
        .path(&format!("a@b\0photo.jpg\x0012345\x00{ISSUED}"))
        .length(1_700_086_400)
        .types(&["network_resilient"])
        .query(format!("v2={tag}"));
    assert_eq!(forged.at(AT), Err(Denied::WrongPath { carrier: Carrier::Query }));
}

#[test]
fn layout_1_cannot_be_read_as_v2() {
    let tag = hex(&hmac(b"s3cret", format!("a@b\0photo.jpg\x0012345\x00{ISSUED}").as_bytes()));
    let forged = ask().path("a@b\0photo.jpg").length(12345).types(&["1700000000"]).query(format!("v2={tag}"));
    assert_eq!(forged.at(AT), Err(Denied::WrongPath { carrier: Carrier::Query }));
}

// [AUT-16]
#[test]
fn layout_1_cannot_be_read_as_v2_with_fields_in_its_type() {
    let kind = format!("5\0{ISSUED}");
    let tag = hex(&hmac(b"s3cret", format!("a@b/c\x00999\0{kind}").as_bytes()));
    let forged = ask().path("a@b/c").length(999).types(&[&kind]).query(format!("v2={tag}"));
    assert_eq!(forged.at(AT), BAD_TYPED);
}

#[test]
fn a_path_alone_is_no_signature() {
    for signed in ["foo/bar.jpg", "/foo/bar.jpg", "/upload/foo/bar.jpg", "foo/bar.jpg ", "bar.jpg", ""] {
        let mac = hmac(b"s3cret", signed.as_bytes());
        let (tag, token) = (hex(&mac), STANDARD.encode(&mac));
        assert_eq!(ask().query(format!("v={tag}")).at(AT), BAD_QUERY, "{signed}");
        for query in [format!("v2={tag}"), format!("token={tag}")] {
            assert_eq!(ask().query(query).at(AT), BAD_TYPED, "{signed}");
        }
        let request = ask().bearer(&token).query(format!("user=a@b&expiry={}", ISSUED + 3600));
        assert_eq!(request.at(AT), BAD_HEADER, "{signed}");
    }
}
