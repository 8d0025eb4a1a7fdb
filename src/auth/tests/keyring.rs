//! Secrets and their rotation.

use super::*;

#[test]
fn refuses_an_empty_ring_and_an_empty_secret() {
    assert_eq!(Keyring::new(vec![]).unwrap_err(), KeyringError::NoSecret);
    assert_eq!(Keyring::new(vec![b"a".to_vec(), vec![]]).unwrap_err(), KeyringError::EmptySecret);
}

// [ENG-10]
#[test]
fn shows_no_secret_when_printed() {
    assert_eq!(format!("{:?}", ring_of(&["hunter2", "hunter1"])), "Keyring(2 secrets, masked)");
}

#[test]
fn every_secret_of_the_ring_verifies_and_the_newest_signs() {
    let rotated = ring_of(&["newest", "middle", "s3cret"]);
    assert!(ask().query(format!("v={V1}")).of(&rotated, NOW).is_ok());
    assert!(ask().query(format!("v2={V2_JPEG}")).types(&["image/jpeg"]).of(&rotated, NOW).is_ok());
    assert!(ask().bearer(&jwt(CLAIMS)).of(&rotated, NOW).is_ok());

    let token = mint(&rotated, &minting::claims()).unwrap();
    assert!(ask().bearer(&token).of(&ring_of(&["newest"]), NOW).is_ok());
    assert_eq!(ask().bearer(&token).of(&ring_of(&["middle", "s3cret"]), NOW), BAD_HEADER);
}

#[test]
fn a_retired_secret_no_longer_verifies() {
    let others = ring_of(&["newest", "middle"]);
    assert_eq!(ask().query(format!("v={V1}")).of(&others, NOW), BAD_QUERY);
    assert_eq!(ask().query(format!("v2={V2_UNTYPED}")).of(&others, NOW), BAD_TYPED);
    assert_eq!(ask().bearer(&jwt(CLAIMS)).of(&others, NOW), BAD_HEADER);
}

#[test]
fn a_presented_request_prints_without_its_credential() {
    let presented = Presented {
        path: PHOTO,
        query: Some("v=abc"),
        authorization: Some(b"Bearer abc"),
        session_token: Some(b"abc"),
        ..Presented::nothing()
    };
    assert!(!format!("{presented:?}").contains("abc"));
}
