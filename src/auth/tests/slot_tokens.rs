//! Tokens v1 and v2.

use super::*;

mod v1 {
    use super::*;

    #[test]
    fn accepts_the_known_vectors() {
        let grant = ask().query(format!("v={V1}")).ask().unwrap();
        assert_eq!(grant.scheme, Scheme::V1);
        assert_eq!((grant.size, grant.filename.as_deref()), (Some(MIB), Some("bar.jpg")));
        assert_eq!((grant.expires_at_ms, grant.content_type, grant.subject), (None, None, None));

        let umlaut = "5f3c26362ddd2f4fdc552aa7296f79f5b8733a5a46b367827974f2592956be30";
        assert!(ask().path(COOL).length(23456).query(format!("v={umlaut}")).ask().is_ok());

        let ejabberd =
            "43feddb25776a343c69835c7e79dc2c7f59598a6/aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcd/très_cool.jpg";
        let tag = "98206edc8aee6c14bc40920fe15d157b24e03884ddc8285b3a0d490909539869";
        let grant = ask().path(ejabberd).length(23456).query(format!("v={tag}")).ask().unwrap();
        assert_eq!(grant.filename.as_deref(), Some("très_cool.jpg"));
    }

    #[test]
    fn accepts_an_empty_file() {
        let tag = hex(&hmac(b"s3cret", b"foo/bar.jpg 0"));
        assert_eq!(ask().length(0).query(format!("v={tag}")).ask().unwrap().size, Some(0));
    }

    #[test]
    fn refuses_another_path_or_length() {
        let request = ask().query(format!("v={V1}"));
        assert_eq!(request.clone().path("foo/baz.jpg").ask(), BAD_QUERY);
        assert_eq!(request.clone().path("/foo/bar.jpg").ask(), BAD_QUERY);
        assert_eq!(request.clone().length(MIB + 1).ask(), BAD_QUERY);
        assert_eq!(request.length(0).ask(), BAD_QUERY);
    }

    #[test]
    fn asks_for_a_length_that_is_unknown() {
        assert_eq!(ask().length(None).query(format!("v={V1}")).ask(), Err(Denied::LengthRequired));
    }

    #[test]
    fn never_expires() {
        assert!(ask().query(format!("v={V1}")).of(&ring(), i64::MAX).is_ok());
    }

    #[test]
    fn counts_among_foreign_parameters() {
        assert!(ask().query(format!("a=b&&v={V1}&x&vv=1")).ask().is_ok());
    }

    #[test]
    fn refuses_capitals_odd_lengths_and_other_letters() {
        let why = (Carrier::Query, "the token is not 64 lowercase hex digits");
        let capitals = V1.to_uppercase();
        let alien = V1.replace('f', "g");
        let short = &V1[..63];
        let shorter = &V1[..62];
        let long = format!("{V1}0");
        for value in [capitals.as_str(), &alien, short, shorter, &long, "0", "très", "%00", "+"] {
            assert_eq!(ask().query(format!("v={value}")).malformed(), why, "{value}");
        }
    }

    #[test]
    fn a_v2_slot_cannot_be_read_as_a_larger_v1_slot() {
        // Asked for as foo/bar.jpg of 5 bytes with the content type "x 999": read as v1 it signs 999 bytes.
        let tag = hex(&hmac(b"s3cret", b"foo/bar.jpg\x005\x00x 999"));
        let forged = ask().path("foo/bar.jpg\x005\x00x").length(999).query(format!("v={tag}"));
        assert_eq!(forged.ask(), Err(Denied::WrongPath { carrier: Carrier::Query }));
    }
}

mod v2 {
    use super::*;

    #[test]
    fn accepts_the_known_vectors_under_both_names() {
        let cool = "10b01b091a77d4a1ec3486d96d2dad9ec1f09fad25ff5333bc94c51e0d0da381";
        for name in ["v2", "token"] {
            let grant = ask().types(&["image/jpeg"]).query(format!("{name}={V2_JPEG}")).ask().unwrap();
            assert_eq!((grant.scheme, grant.content_type.as_deref()), (Scheme::V2, Some("image/jpeg")));
            assert_eq!((grant.size, grant.filename.as_deref()), (Some(MIB), Some("bar.jpg")));

            let grant = ask().query(format!("{name}={V2_UNTYPED}")).ask().unwrap();
            assert_eq!(grant.content_type, None);

            let request = ask().path(COOL).length(23456).types(&["image/jpeg"]);
            assert!(request.query(format!("{name}={cool}")).ask().is_ok());
        }
    }

    fn signed_for(content_type: &str) -> Ask {
        let message = format!("foo/bar.jpg\0{MIB}\0{content_type}");
        ask().query(format!("v2={}", hex(&hmac(b"s3cret", message.as_bytes()))))
    }

    #[test]
    fn refuses_another_content_type() {
        assert_eq!(signed_for("image/jpeg").types(&["image/png"]).ask(), BAD_TYPED);
        assert_eq!(signed_for("application/octet-stream").types(&["text/html"]).ask(), BAD_TYPED);
    }

    #[test]
    fn refuses_another_path_or_length() {
        let request = signed_for("image/jpeg").types(&["image/jpeg"]);
        assert!(request.ask().is_ok());
        assert_eq!(request.clone().path("fop/bar.jpg").ask(), BAD_TYPED);
        assert_eq!(request.clone().length(MIB - 1).ask(), BAD_TYPED);
        assert_eq!(request.length(None).ask(), Err(Denied::LengthRequired));
    }

    #[test]
    fn a_client_that_sends_no_type_is_helped_by_the_generic_one_and_by_the_extension() {
        let grant = signed_for("application/octet-stream").ask().unwrap();
        assert_eq!(grant.content_type.as_deref(), Some("application/octet-stream"));
        let grant = signed_for("image/jpeg").ask().unwrap();
        assert_eq!(grant.content_type.as_deref(), Some("image/jpeg"));
        assert!(signed_for("image/jpeg").types(&[" "]).ask().is_ok());
        assert_eq!(signed_for("video/mp4").ask(), BAD_TYPED);
    }

    // [AUT-13]
    #[test]
    fn office_archive_and_map_files_are_known_by_their_names() {
        for (name, signed) in [
            ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            ("a.odt", "application/vnd.oasis.opendocument.text"),
            ("A.APK", "application/vnd.android.package-archive"),
            ("a.7z", "application/x-7z-compressed"),
            ("a.rar", "application/vnd.rar"),
            ("a.tar.gz", "application/gzip"),
            ("a.gpx", "application/gpx+xml"),
            ("a.kmz", "application/vnd.google-earth.kmz"),
            ("a.geojson", "application/geo+json"),
            ("a.vcf", "text/vcard"),
            ("a.ics", "text/calendar"),
            ("a.zip", "application/x-zip-compressed"),
        ] {
            let message = format!("foo/{name}\0{MIB}\0{signed}");
            let slot = ask().path(&format!("foo/{name}"));
            let slot = slot.query(format!("v2={}", hex(&hmac(b"s3cret", message.as_bytes()))));
            for sent in [&[][..], &["application/octet-stream"], &["application/x-www-form-urlencoded"]] {
                let grant =
                    slot.clone().types(sent).ask().unwrap_or_else(|why| panic!("{name} {sent:?}: {why}"));
                assert_eq!(grant.content_type.as_deref(), Some(signed));
            }
            assert_eq!(slot.types(&["image/png"]).ask(), BAD_TYPED, "{name} sent as an image");
        }
    }

    // [AUT-13]
    #[test]
    fn types_are_compared_without_regard_to_case() {
        for sent in ["image/jpeg", "Image/JPEG", "IMAGE/JPEG; q=1"] {
            assert!(signed_for("image/jpeg").types(&[sent]).ask().is_ok(), "{sent}");
        }
        assert!(signed_for("Image/JPEG").types(&["Image/JPEG"]).ask().is_ok());
    }

    #[test]
    fn the_ledgers_type_counts_beside_the_requests() {
        assert!(
            signed_for("video/mp4").types(&["application/offset+octet-stream", "video/mp4"]).ask().is_ok()
        );
    }

    #[test]
    fn parameters_of_the_type_may_be_added_on_the_way() {
        assert!(signed_for("text/plain").types(&["text/plain; charset=utf-8"]).ask().is_ok());
        let exact =
            signed_for("text/plain; charset=utf-8").types(&["text/plain; charset=utf-8"]).ask().unwrap();
        assert_eq!(exact.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(signed_for("text/plain; charset=utf-8").types(&["text/plain"]).ask(), BAD_TYPED);
    }

    #[test]
    fn a_token_of_64_capital_digits_is_malformed() {
        let query = format!("token={}", V2_JPEG.to_uppercase());
        assert_eq!(
            ask().query(query).malformed(),
            (Carrier::Query, "the token is not 64 lowercase hex digits")
        );
    }

    #[test]
    fn v1_does_not_pass_as_v2() {
        assert_eq!(ask().query(format!("v2={V1}")).ask(), BAD_TYPED);
        assert_eq!(ask().query(format!("v={V2_UNTYPED}")).ask(), BAD_QUERY);
    }
}
