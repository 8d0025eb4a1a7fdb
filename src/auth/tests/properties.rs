//! What holds for any input.

use proptest::prelude::*;

use super::*;

/// A byte replaced by another one of the same alphabet, so that the change is not refused for its form alone.
fn changed(text: &str, at: usize, by: u8, alphabet: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    let index = alphabet.iter().position(|letter| *letter == bytes[at]).unwrap_or(0);
    bytes[at] = alphabet[(index + 1 + by as usize % (alphabet.len() - 1)) % alphabet.len()];
    String::from_utf8(bytes).unwrap()
}

const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

proptest! {
    #[test]
    fn a_change_of_any_byte_of_a_hex_token_is_refused(at in 0usize..64, by: u8) {
        let digits = b"0123456789abcdef";
        prop_assert_eq!(ask().query(format!("v={}", changed(V1, at, by, digits))).ask(), BAD_QUERY);
        prop_assert_eq!(ask().query(format!("v2={}", changed(V2_UNTYPED, at, by, digits))).ask(), BAD_TYPED);
    }

    #[test]
    fn a_change_of_any_byte_of_a_jwt_is_refused(at: usize, by: u8) {
        let token = changed(&jwt(CLAIMS), at, by, BASE64URL);
        prop_assert!(ask().bearer(&token).ask().is_err());
        let query = format!("token={token}");
        prop_assert!(ask().query(query).ask().is_err());
    }

    #[test]
    fn a_change_of_any_byte_of_the_path_is_refused(at: usize, by: u8) {
        let path = changed(PHOTO, at, by, b"abcdefghijklmnopqrstuvwxyz./ 0123456789");
        prop_assert_eq!(ask().path(&path).query(format!("v={V1}")).ask(), BAD_QUERY);
        prop_assert_eq!(ask().path(&path).query(format!("v2={V2_UNTYPED}")).ask(), BAD_TYPED);
        let wrong = Err(Denied::WrongPath { carrier: Carrier::Header });
        prop_assert_eq!(ask().path(&path).bearer(&jwt(CLAIMS)).ask(), wrong);
    }

    #[test]
    fn any_other_length_is_refused(length: u64) {
        prop_assume!(length != MIB);
        prop_assert_eq!(ask().length(length).query(format!("v={V1}")).ask(), BAD_QUERY);
        prop_assert_eq!(ask().length(length).query(format!("v2={V2_UNTYPED}")).ask(), BAD_TYPED);
        let wrong = Err(Denied::WrongSize { signed: MIB, claimed: length });
        prop_assert_eq!(ask().length(length).bearer(&jwt(CLAIMS)).ask(), wrong);
    }

    #[test]
    fn arbitrary_input_is_refused_without_panic(
        path: String,
        query in "((v|v2|token)=)?[0-9a-f.%&=]{0,80}|\\PC*",
        header in proptest::option::of(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            "(?i:bearer) \\PC{0,80}".prop_map(String::into_bytes),
            "Bearer [A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}".prop_map(String::into_bytes),
        ]),
        length: Option<u64>,
        now: i64,
    ) {
        let request = Ask { path, query: Some(query), authorization: header, length, ..ask() };
        prop_assert!(request.of(&ring(), now).is_err());
    }

    #[test]
    fn arbitrary_signed_claims_are_refused_without_panic(
        claims in "\\PC*|\\{(\"(slot|filename|filesize|exp|iat|nbf|expires)\":(-?[0-9]{1,25}(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?|\"foo\"|null)(,)?){0,7}\\}",
        length: Option<u64>,
        now: i64,
    ) {
        prop_assert!(ask().length(length).bearer(&jwt(&claims)).of(&ring(), now).is_err());
    }

    #[test]
    fn what_is_minted_verifies(
        slot in "[^/\0]{1,40}",
        filename in "[^\0]{1,80}",
        size: u64,
        second in 0i64..253_402_300_000,
    ) {
        let issued_at_ms = second * 1000;
        let claims = SlotClaims {
            subject: None,
            slot,
            filename,
            size,
            content_type: None,
            issued_at_ms,
            expires_at_ms: issued_at_ms + 300_000,
            retain_until_ms: None,
        };
        let token = mint(&ring(), &claims).unwrap();
        let request = ask().path(&format!("{}/{}", claims.slot, claims.filename)).length(size).bearer(&token);
        prop_assert!(request.of(&ring(), issued_at_ms).is_ok());
        let late = request.of(&ring(), issued_at_ms + 300_000);
        prop_assert_eq!(expired(&late), Some(issued_at_ms + 300_000));
    }
}
