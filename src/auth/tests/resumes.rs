//! Tokens that go on with one upload.

use super::*;

const NAME: &str = "/upload/foo/bar.jpg";
const SID: &str = "0123456789abcdef";

pub(super) fn claims() -> ResumeClaims {
    ResumeClaims {
        session: SID.into(),
        path: NAME.into(),
        size: Some(MIB),
        max_size: Some(2 * MIB),
        subject: Some("romeo@montague.tld".into()),
        filename: Some("bar.jpg".into()),
        content_type: Some("image/jpeg".into()),
        issued_at_ms: NOW + 999,
        expires_at_ms: NOW + 300_999,
        retain_until_ms: Some(NOW + 7_000_999),
    }
}

fn minted(claims: &ResumeClaims) -> String {
    mint_resume(&ring(), claims).unwrap()
}

fn as_owner(request: &Ask, now_ms: i64) -> Result<Grant, Denied> {
    request.show(|presented| authorize_owner(&ring(), presented, now_ms))
}

fn as_creator(request: &Ask) -> Result<Grant, Denied> {
    request.show(|presented| authorize_grant(&ring(), presented, NOW))
}

const WRONG_PATH: Result<Grant, Denied> = Err(Denied::WrongPath { carrier: Carrier::Header });

// [AUT-73]
#[test]
fn grants_what_it_was_minted_for_wherever_it_stands() {
    let token = minted(&claims());
    let expected = Grant {
        subject: Some("romeo@montague.tld".into()),
        size: Some(MIB),
        max_size: Some(2 * MIB),
        filename: Some("bar.jpg".into()),
        content_type: Some("image/jpeg".into()),
        issued_at_ms: Some(NOW),
        expires_at_ms: Some(NOW + 300_000),
        retain_until_ms: Some(NOW + 7_000_000),
        session: Some(SID.into()),
        ..Grant::of(Scheme::Resume)
    };
    let asks = [
        ask().bearer(&token),
        ask().query(format!("token={token}")),
        ask().session(&token),
        ask().session(format!(" {token} ")),
    ];
    for request in asks {
        assert_eq!(request.ask(), Ok(expected.clone()));
        assert_eq!(as_owner(&request, NOW), Ok(expected.clone()));
    }
    assert!(ask().bearer(&token).length(None).ask().is_ok(), "the length may be unknown to the request");
}

#[test]
fn absent_claims_stay_absent() {
    let bare = ResumeClaims {
        size: None,
        max_size: None,
        subject: None,
        filename: None,
        content_type: None,
        retain_until_ms: None,
        ..claims()
    };
    let grant = ask().bearer(&minted(&bare)).length(u64::MAX).ask().unwrap();
    let expected = Grant {
        issued_at_ms: Some(NOW),
        expires_at_ms: Some(NOW + 300_000),
        session: Some(SID.into()),
        ..Grant::of(Scheme::Resume)
    };
    assert_eq!(grant, expected);
}

// [AUT-71]
#[test]
fn another_upload_is_refused() {
    let request = ask().bearer(&minted(&claims()));
    for path in ["foo/baz.jpg", "foo", "foo/bar.jpg/", "bar.jpg", "/foo/bar.jpg", ""] {
        let other = request.clone().path(path);
        assert_eq!(other.ask(), WRONG_PATH, "{path}");
        assert_eq!(as_owner(&other, NOW), WRONG_PATH, "{path}");
    }
    let below = request.clone().raw("/files/foo/bar.jpg");
    assert_eq!(below.ask(), WRONG_PATH, "the same path below another base");
    assert_eq!(as_owner(&below, NOW), WRONG_PATH);
    assert!(request.raw("/upload/f%6fo%2Fbar.jpg").ask().is_ok(), "the same upload in another spelling");
}

// [AUT-15]
#[test]
fn the_raw_path_and_the_path_have_to_agree() {
    let request = ask().bearer(&minted(&claims()));
    for raw in
        ["", "/upload/foo/bar.jpeg", "/upload/xfoo/bar.jpg", "/upload/%ff/foo/bar.jpg", "/%00/foo/bar.jpg"]
    {
        assert_eq!(request.clone().raw(raw).ask(), WRONG_PATH, "{raw}");
    }
    assert_eq!(request.clone().path("oo/bar.jpg").raw(NAME).ask(), WRONG_PATH, "the base ends with a slash");
    assert_eq!(request.path("").raw(NAME).ask(), WRONG_PATH, "no upload at all");
    let place = ask().bearer(&minted(&ResumeClaims { path: "/upload/".into(), ..claims() }));
    assert_eq!(place.path("").raw("/upload/").ask(), WRONG_PATH, "where uploads are created");
}

// [AUT-72]
#[test]
fn another_size_is_refused() {
    let request = ask().bearer(&minted(&claims()));
    for other in [0, MIB - 1, MIB + 1, u64::MAX] {
        let wrong = Err(Denied::WrongSize { signed: MIB, claimed: other });
        assert_eq!(request.clone().length(other).ask(), wrong);
        assert_eq!(as_owner(&request.clone().length(other), NOW), wrong);
    }
    let bounded = ask().bearer(&minted(&ResumeClaims { size: None, ..claims() }));
    for within in [0, MIB, 2 * MIB] {
        assert!(bounded.clone().length(within).ask().is_ok());
    }
    let wrong = Err(Denied::WrongSize { signed: 2 * MIB, claimed: 2 * MIB + 1 });
    assert_eq!(bounded.length(2 * MIB + 1).ask(), wrong);
}

// [AUT-25]
#[test]
fn expires_last_and_then_tells_what_it_granted() {
    let request = ask().bearer(&minted(&claims()));
    let grant = request.at(NOW + 299_999).unwrap();
    let gone = Err(Denied::Expired { at_ms: NOW + 300_000, grant: Box::new(grant) });
    assert_eq!(request.at(NOW + 300_000), gone);
    assert_eq!(as_owner(&request, NOW + 300_000), gone);
    assert_eq!(request.clone().path("foo/baz.jpg").at(i64::MAX), WRONG_PATH);
    let wrong = Err(Denied::WrongSize { signed: MIB, claimed: 1 });
    assert_eq!(request.length(1).at(i64::MAX), wrong);
}

// [AUT-74]
#[test]
fn opens_no_creation() {
    let request = ask().bearer(&minted(&claims()));
    assert_eq!(as_creator(&request), WRONG_PATH);
    assert_eq!(as_creator(&request.path("").raw("/upload")), WRONG_PATH);
}

// [AUT-74]
#[test]
fn an_owner_shows_a_grant_or_a_resume_token_and_no_slot_token() {
    let grant = GrantClaims {
        subject: "romeo".into(),
        max_size: None,
        issued_at_ms: NOW,
        expires_at_ms: NOW + 60_000,
    };
    let request = ask().bearer(&mint_grant(&ring(), &grant).unwrap());
    assert_eq!(as_owner(&request, NOW).unwrap().scheme, Scheme::Grant);
    assert_eq!(expired(&as_owner(&request, NOW + 60_000)), Some(NOW + 60_000));
    assert!(request.ask().is_err(), "and a grant opens no slot");
    assert_eq!(as_owner(&ask().bearer(&jwt(CLAIMS)), NOW), WRONG_PATH);
    for query in [format!("v={V1}"), format!("v2={V2_UNTYPED}"), "X-Amz-Signature=0".to_owned()] {
        let refused = Err(Denied::Malformed { carrier: Carrier::Query, why: "a grant is a JWT" });
        assert_eq!(as_owner(&ask().query(query), NOW), refused);
    }
    assert_eq!(as_owner(&ask(), NOW), Err(Denied::Missing));
}

// [AUT-70]
#[test]
fn the_scope_decides_what_the_other_claims_are_read_for() {
    let slot = CLAIMS.replacen('{', r#"{"scope":"resume","#, 1);
    assert_eq!(ask().bearer(&jwt(&slot)).malformed().1, "the claim path is missing");
    let both = slot.replacen('{', r#"{"sid":"0","path":"/upload/x/y","#, 1);
    assert_eq!(ask().bearer(&jwt(&both)).ask(), WRONG_PATH);
    let other = r#"{"scope":"upload","path":"/upload/foo/bar.jpg","exp":1700604800}"#;
    assert!(ask().bearer(&jwt(other)).ask().is_err());
    let unscoped = r#"{"path":"/upload/foo/bar.jpg","exp":1700604800}"#;
    assert_eq!(ask().bearer(&jwt(unscoped)).malformed().1, "the claim slot is missing");
}

#[test]
fn claims_of_another_type_are_malformed() {
    let with = |claim: &str| {
        jwt(&format!(
            r#"{{"scope":"resume","sid":"0","path":"/upload/foo/bar.jpg","exp":1700604800,{claim}}}"#
        ))
    };
    assert!(ask().bearer(&with(r#""a":1"#)).ask().is_ok());
    for claim in [
        r#""size":"1048576""#,
        r#""size":-1"#,
        r#""max_size":1.5"#,
        r#""sub":1"#,
        r#""filename":[]"#,
        r#""filetype":{}"#,
        r#""iat":"now""#,
        r#""expires":true"#,
        r#""nbf":"a""#,
    ] {
        assert_eq!(ask().bearer(&with(claim)).malformed().0, Carrier::Header, "{claim}");
    }
    let early = ask().bearer(&with(r#""nbf":1700604501"#)).ask();
    assert_eq!(early, Err(Denied::NotYetValid { from_ms: 1_700_604_501_000 }));
    let endless = jwt(r#"{"scope":"resume","sid":"0","path":"/upload/foo/bar.jpg"}"#);
    assert_eq!(ask().bearer(&endless).malformed().1, "the claim exp is missing");
    // [AUT-104]
    let unbound = jwt(r#"{"scope":"resume","path":"/upload/foo/bar.jpg","exp":1700604800}"#);
    assert_eq!(ask().bearer(&unbound).malformed().1, "the claim sid is missing");
}

#[test]
fn what_could_never_be_used_is_not_minted() {
    for path in ["", "/upload/a\0b"] {
        let claims = ResumeClaims { path: path.into(), ..claims() };
        assert_eq!(mint_resume(&ring(), &claims), Err(MintError::Path));
    }
    for time in [-1, i64::MIN, i64::MAX] {
        let times = [
            ResumeClaims { issued_at_ms: time, ..claims() },
            ResumeClaims { expires_at_ms: time, ..claims() },
            ResumeClaims { retain_until_ms: Some(time), ..claims() },
        ];
        for claims in times {
            assert_eq!(mint_resume(&ring(), &claims), Err(MintError::Time));
        }
    }
}

// [AUT-9]
#[test]
fn the_newest_secret_signs_and_every_one_verifies() {
    let rotated = ring_of(&["newest", "s3cret"]);
    let request = ask().bearer(&minted(&claims()));
    assert!(request.of(&rotated, NOW).is_ok());
    let request = ask().bearer(&mint_resume(&rotated, &claims()).unwrap());
    assert!(request.of(&ring_of(&["newest"]), NOW).is_ok());
    assert_eq!(request.of(&ring(), NOW), BAD_HEADER);
}

proptest::proptest! {
    #[test]
    fn a_minted_token_opens_its_own_upload_alone(
        path in "[^\0/][^\0]{0,60}",
        other in "[^\0/][^\0]{0,60}",
        size: u64,
        length: u64,
    ) {
        let token = minted(&ResumeClaims {
            path: format!("/upload/{path}"), size: Some(size), max_size: None, ..claims()
        });
        let request = ask().bearer(&token).path(&path).length(size);
        proptest::prop_assert!(request.ask().is_ok());
        proptest::prop_assert_eq!(request.clone().path(&other).ask().is_ok(), other == path);
        proptest::prop_assert_eq!(request.length(length).ask().is_ok(), length == size);
    }

    #[test]
    fn a_change_of_any_byte_is_refused(at: usize, by in 1u8..64) {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut token = minted(&claims()).into_bytes();
        let at = at % token.len();
        let index = LETTERS.iter().position(|letter| *letter == token[at]).unwrap_or(0);
        token[at] = LETTERS[(index + by as usize) % 64];
        let token = String::from_utf8(token).unwrap();
        proptest::prop_assert!(ask().bearer(&token).ask().is_err());
        proptest::prop_assert!(ask().session(&token).ask().is_err());
    }
}
