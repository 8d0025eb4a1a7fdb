//! Prosody's JWT, built by hand claim by claim.

use jsonwebtoken::{Algorithm, Header};

use super::*;

#[test]
fn accepts_what_prosody_signs_in_header_and_query() {
    let expected = Grant {
        subject: Some("romeo@montague.tld".into()),
        size: Some(MIB),
        filename: Some("bar.jpg".into()),
        content_type: Some("image/jpeg".into()),
        issued_at_ms: Some(1_700_604_500_000),
        expires_at_ms: Some(1_700_604_800_000),
        retain_until_ms: Some(1_701_209_300_000),
        ..Grant::of(Scheme::Jwt)
    };
    assert_eq!(ask().bearer(&jwt(CLAIMS)).ask(), Ok(expected.clone()));
    assert_eq!(ask().query(format!("token={}", jwt(CLAIMS))).ask(), Ok(expected));
}

#[test]
fn the_scheme_name_is_case_insensitive_and_spaces_are_forgiven() {
    assert!(ask().header(format!("bEARER   {}  ", jwt(CLAIMS))).ask().is_ok());
}

#[test]
fn a_percent_encoded_token_is_decoded_once() {
    let token = jwt(CLAIMS).replace('.', "%2E");
    assert!(ask().query(format!("token={token}")).ask().is_ok());
    let twice = jwt(CLAIMS).replace('.', "%252E");
    assert_eq!(
        ask().query(format!("token={twice}")).malformed().1,
        "token is neither a JWT nor a MAC in base64 or hex"
    );
}

#[test]
fn an_unknown_length_is_settled_by_the_claim() {
    assert_eq!(ask().length(None).bearer(&jwt(CLAIMS)).ask().unwrap().size, Some(MIB));
}

#[test]
fn another_length_names_both() {
    let wrong = Err(Denied::WrongSize { signed: MIB, claimed: MIB + 1 });
    assert_eq!(ask().length(MIB + 1).bearer(&jwt(CLAIMS)).ask(), wrong);
}

#[test]
fn slot_and_filename_must_be_the_whole_path() {
    let wrong = Err(Denied::WrongPath { carrier: Carrier::Header });
    for path in
        ["fop/bar.jpg", "foo/baz.jpg", "foo", "foo/", "foo/bar.jpg/", "/foo/bar.jpg", "x/foo/bar.jpg", ""]
    {
        assert_eq!(ask().path(path).bearer(&jwt(CLAIMS)).ask(), wrong, "{path}");
    }
}

#[test]
fn a_slot_with_a_slash_covers_nothing() {
    let token = jwt(&claims_with("slot", r#""foo/bar""#));
    let wrong = Err(Denied::WrongPath { carrier: Carrier::Header });
    assert_eq!(ask().path("foo/bar/bar.jpg").bearer(&token).ask(), wrong);
}

#[test]
fn a_filename_may_hold_any_text_but_nul() {
    for name in ["très cool +%20.jpg", "..", "a/b", "🏴‍☠️", "\\\"'"] {
        let token = jwt(&claims_with("filename", &serde_json::to_string(name).unwrap()));
        let grant = ask().path(&format!("foo/{name}")).bearer(&token).ask().unwrap();
        assert_eq!(grant.filename.as_deref(), Some(name));
    }
    let token = jwt(&claims_with("filename", r#""a\u0000b""#));
    let wrong = Err(Denied::WrongPath { carrier: Carrier::Header });
    assert_eq!(ask().path("foo/a\0b").bearer(&token).ask(), wrong);
}

#[test]
fn expires_at_the_moment_it_names() {
    let request = ask().bearer(&jwt(CLAIMS));
    assert!(request.of(&ring(), 1_700_604_799_999).is_ok());
    let good = request.ask().unwrap();
    for late in [1_700_604_800_000, i64::MAX] {
        let refused = Denied::Expired { at_ms: 1_700_604_800_000, grant: Box::new(good.clone()) };
        assert_eq!(request.at(late), Err(refused));
    }
}

#[test]
fn expiry_is_judged_last() {
    let late = 1_700_604_800_000;
    let request = ask().bearer(&jwt(CLAIMS));
    assert_eq!(
        request.clone().length(1).of(&ring(), late),
        Err(Denied::WrongSize { signed: MIB, claimed: 1 })
    );
    assert_eq!(
        request.clone().path("foo/x").of(&ring(), late),
        Err(Denied::WrongPath { carrier: Carrier::Header })
    );
    assert_eq!(request.of(&ring_of(&["other"]), late), BAD_HEADER);
}

#[test]
fn is_not_valid_before_nbf() {
    let request = ask().bearer(&jwt(&claims_with("nbf", "1700604600.5")));
    assert_eq!(request.of(&ring(), NOW), Err(Denied::NotYetValid { from_ms: 1_700_604_600_500 }));
    assert!(request.of(&ring(), 1_700_604_600_500).is_ok());
}

#[test]
fn an_issuer_whose_clock_is_ahead_is_believed() {
    assert!(ask().bearer(&jwt(&claims_with("iat", "1700604700"))).ask().is_ok());
}

#[test]
fn whole_numbers_may_be_floats_in_any_notation() {
    for size in ["1048576", "1048576.0", "1.048576e6"] {
        assert!(ask().bearer(&jwt(&claims_with("filesize", size))).ask().is_ok(), "{size}");
    }
    for exp in ["1700604800", "1700604800.0", "1.7006048e9", "1700604799.9999"] {
        assert!(ask().bearer(&jwt(&claims_with("exp", exp))).ask().is_ok(), "{exp}");
    }
    let empty = ask().length(0).bearer(&jwt(&claims_with("filesize", "-0.0")));
    assert_eq!(empty.ask().unwrap().size, Some(0));
}

#[test]
fn numbers_out_of_range_are_malformed() {
    for size in
        ["-1", "-1.0", "0.5", "1e300", "18446744073709551616", r#""1048576""#, "null", "[]", "true", ""]
    {
        let why = ask().bearer(&jwt(&claims_with("filesize", size))).malformed().1;
        assert!(why.starts_with("the claim filesize is "), "{size}: {why}");
    }
    for time in
        ["-1", "-0.5", "1e300", "253402300800", "9223372036854775807", "18446744073709551615", r#""1""#]
    {
        for claim in ["exp", "iat", "nbf", "expires"] {
            let why = ask().bearer(&jwt(&claims_with(claim, time))).malformed().1;
            assert_eq!(why, format!("the claim {claim} is not a time"), "{time}");
        }
    }
    for number in ["NaN", "Infinity", "1e999", "1.", "01"] {
        let token = jwt(&CLAIMS.replace("1048576", number));
        assert_eq!(ask().bearer(&token).malformed().1, "the JWT is not readable", "{number}");
    }
}

#[test]
fn needs_slot_filename_filesize_and_exp_and_nothing_else() {
    for claim in ["slot", "filename", "filesize", "exp"] {
        let why = ask().bearer(&jwt(&claims_with(claim, ""))).malformed().1;
        assert_eq!(why, format!("the claim {claim} is missing"));
    }
    for claim in ["sub", "filetype", "iat", "expires"] {
        assert!(ask().bearer(&jwt(&claims_with(claim, ""))).ask().is_ok(), "{claim}");
        assert!(ask().bearer(&jwt(&claims_with(claim, "null"))).ask().is_ok(), "{claim}");
    }
}

#[test]
fn text_claims_of_another_type_are_malformed() {
    for claim in ["slot", "filename", "sub", "filetype"] {
        let why = ask().bearer(&jwt(&claims_with(claim, "7"))).malformed().1;
        assert_eq!(why, format!("the claim {claim} is not text"));
    }
}

#[test]
fn unknown_claims_are_ignored() {
    for claim in ["aud", "iss", "jti", "x"] {
        assert!(ask().bearer(&jwt(&claims_with(claim, r#"["y"]"#))).ask().is_ok(), "{claim}");
    }
}

#[test]
fn claims_that_are_no_object_are_malformed() {
    for claims in ["[]", "7", "null", "\"x\"", "", "{", "\u{0}"] {
        let refused = ask().bearer(&jwt(claims)).ask();
        assert!(matches!(refused, Err(Denied::Malformed { .. })), "{claims:?}: {refused:?}");
    }
}

#[test]
fn no_algorithm_but_hs256_is_accepted() {
    let why = "the JWT's header is not readable or names an unknown algorithm";
    for alg in ["none", "None", "NONE", "hs256", ""] {
        let token = jwt_with_header(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        assert_eq!(ask().bearer(&token).malformed(), (Carrier::Header, why), "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(ask().bearer(&unsigned).malformed(), (Carrier::Header, why), "{alg}");
    }
    for alg in ["HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA"] {
        let token = jwt_with_header(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        assert_eq!(ask().bearer(&token).malformed().1, "the JWT is not signed with HS256", "{alg}");
    }
    for header in ["{}", "", "[]", "\u{ff}"] {
        assert_eq!(ask().bearer(&jwt_with_header(header, CLAIMS)).malformed().1, why, "{header}");
    }
}

#[test]
fn a_token_really_signed_with_hs512_is_refused() {
    let header = Header::new(Algorithm::HS512);
    let claims: serde_json::Value = serde_json::from_str(CLAIMS).unwrap();
    let token =
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(b"s3cret")).unwrap();
    assert_eq!(ask().bearer(&token).malformed().1, "the JWT is not signed with HS256");
}

#[test]
fn critical_extensions_are_refused_and_a_key_id_is_ignored() {
    let token = jwt_with_header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, CLAIMS);
    assert_eq!(ask().bearer(&token).malformed().1, "the JWT's header holds critical extensions");
    assert!(ask().bearer(&jwt_with_header(r#"{"kid":"7","alg":"HS256"}"#, CLAIMS)).ask().is_ok());
}

#[test]
fn the_refusal_says_where_the_token_stood() {
    let forged = format!("{}!", jwt(CLAIMS));
    assert_eq!(ask().query(format!("token={forged}")).malformed().0, Carrier::Query);
    let unsigned = format!("{}.", jwt(CLAIMS).rsplit_once('.').unwrap().0);
    assert_eq!(ask().query(format!("token={unsigned}")).ask(), BAD_QUERY);
    assert_eq!(ask().bearer(&unsigned).ask(), BAD_HEADER);
}
