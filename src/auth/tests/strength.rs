//! Which credential of a request counts.

use super::*;

fn good() -> [String; 4] {
    [jwt(CLAIMS), format!("token={}", jwt(CLAIMS)), format!("v2={V2_UNTYPED}"), format!("v={V1}")]
}

#[test]
fn nothing_at_all_is_missing() {
    assert_eq!(ask().ask(), Err(Denied::Missing));
    for query in ["", "&", "a=b", "V=1", "%76=1", "v3=1", "=", "tokens=1;v=1"] {
        assert_eq!(ask().query(query).ask(), Err(Denied::Missing), "{query}");
    }
    assert_eq!(ask().header("").ask(), Err(Denied::Missing));
    assert_eq!(ask().header("Basic cm9tZW86cw==").ask(), Err(Denied::Missing));
}

#[test]
fn the_strongest_decides_the_scheme() {
    let [bearer, token, v2, v1] = good();
    let all = format!("{v1}&{v2}&{token}");
    assert_eq!(ask().query(&all).bearer(&bearer).ask().unwrap().scheme, Scheme::Jwt);
    assert_eq!(ask().query(&all).ask().unwrap().scheme, Scheme::Jwt);
    assert_eq!(ask().query(format!("{v1}&{v2}")).ask().unwrap().scheme, Scheme::V2);
    assert_eq!(ask().query(format!("{v1}&token={V2_UNTYPED}")).ask().unwrap().scheme, Scheme::V2);
    assert_eq!(ask().query(v1).ask().unwrap().scheme, Scheme::V1);
}

#[test]
fn a_bad_stronger_one_is_not_rescued_by_a_good_weaker_one() {
    let [_, token, v2, v1] = good();
    let gone = jwt(&claims_with("exp", "1"));
    let request = ask().query(format!("{token}&{v2}&{v1}")).bearer(&gone);
    assert_eq!(expired(&request.ask()), Some(1000));
    let request = ask().query(format!("token={gone}&{v2}&{v1}"));
    assert_eq!(expired(&request.ask()), Some(1000));
    assert_eq!(ask().query(format!("v2={V1}&{v1}")).ask(), BAD_TYPED);
    assert_eq!(ask().query(format!("token={V1}&{v1}")).ask(), BAD_TYPED);
    ask().query(format!("token=opaque&{v2}&{v1}")).malformed();
    ask().query(format!("v2=&{v1}")).malformed();
    ask().query(format!("v2&{v1}")).malformed();
}

#[test]
fn a_bad_weaker_one_does_no_harm() {
    let [bearer, token, v2, _] = good();
    assert!(ask().query("token=x&token=y&v2=&v=%ff").bearer(&bearer).ask().is_ok());
    assert!(ask().query(format!("v2=&{token}&v=")).ask().is_ok());
    assert!(ask().query(format!("v=1&v=2&{v2}")).ask().is_ok());
}

#[test]
fn a_bearer_of_unknown_form_still_is_the_credential() {
    let [_, token, ..] = good();
    for opaque in ["xpZwhpVJL7qE38mvwuvEyJcG4grubLtwBbN2kAReUF==", V1, "a.b", "a.b.c.d", "..."] {
        let request = ask().query(&token).bearer(opaque);
        assert_eq!(
            request.malformed(),
            (Carrier::Header, "the Bearer token is neither a JWT nor 32 bytes in base64"),
            "{opaque}"
        );
    }
    for header in ["Bearer", "Bearer ", "bearer    "] {
        assert_eq!(ask().query(&token).header(header).malformed().1, "the Bearer token is empty");
    }
}

#[test]
fn another_authorization_scheme_leaves_the_query_its_say() {
    let [_, token, v2, v1] = good();
    for query in [token, v2, v1] {
        for header in ["Basic cm9tZW86cw==", "Digest", "Bearerish a.b.c", "", " "] {
            assert!(ask().query(&query).header(header).ask().is_ok(), "{header}");
        }
    }
}

#[test]
fn an_unreadable_header_is_refused() {
    let [_, token, ..] = good();
    let headers: [&[u8]; 4] = [b"\xff\xfe", b"B\xe9arer a.b.c", b"Bearer \xff.b.c", b"Bearer a.b.c d.e.f"];
    for header in headers {
        assert_eq!(ask().query(&token).header(header).malformed().0, Carrier::Header, "{header:?}");
    }
}

#[test]
fn a_repeated_parameter_is_refused_even_when_both_agree() {
    for name in ["v", "v2", "token"] {
        let query = format!("{name}={V2_UNTYPED}&a=1&{name}={V2_UNTYPED}");
        assert_eq!(ask().query(query).malformed().1, "a credential parameter is repeated", "{name}");
    }
    let query = format!("v2={V2_UNTYPED}&token={V2_UNTYPED}");
    assert_eq!(ask().query(query).malformed().1, "both v2 and token are given");
}

#[test]
fn empty_and_unreadable_values_are_refused() {
    for name in ["v", "v2", "token"] {
        assert_eq!(ask().query(format!("{name}=")).malformed().1, "a credential parameter is empty");
        assert_eq!(ask().query(name).malformed().1, "a credential parameter is empty");
        assert_eq!(ask().query(format!("{name}=%ff")).malformed().1, "a credential parameter is not UTF-8");
    }
}

#[test]
fn endless_values_are_refused_unread() {
    let endless = "a".repeat(LONGEST_CREDENTIAL + 1);
    for name in ["v", "v2", "token"] {
        let query = format!("{name}={endless}");
        assert_eq!(ask().query(query).malformed().1, "a credential parameter is too long");
    }
    assert_eq!(ask().bearer(&format!("{endless}.b.c")).malformed().1, "the Bearer token is too long");
}

#[test]
fn refusals_hold_no_token_text() {
    let secret_text = "tokentext";
    let asks = [
        ask().bearer(secret_text),
        ask().bearer(&format!("{secret_text}.b.c")),
        ask().query(format!("token={secret_text}")),
        ask().query(format!("v={secret_text}")),
    ];
    for request in asks {
        let denied = request.ask().unwrap_err();
        assert!(!format!("{denied} {denied:?}").contains(secret_text));
    }
}

mod sessions_and_presigned_urls {
    use super::*;

    const MAC: &str = "xpZwhpVJL7qE38mvwuvEyJcG4grubLtwBbN2kAReUFs=";
    const PRESIGNED: &str = "X-Amz-Signature=x";

    fn session() -> String {
        mint_resume(&ring(), &resumes::claims()).unwrap()
    }

    // [AUT-2]
    #[test]
    fn the_order_is_fixed_from_the_strongest_down() {
        let [bearer, token, v2, v1] = good();
        let mac = format!("token={MAC}&user=a@b&expiry=1");
        let all = format!("{PRESIGNED}&{token}&{v2}&{v1}");

        let judged = ask().session(session()).bearer(&bearer).query(&all).ask();
        assert_eq!(judged.unwrap().scheme, Scheme::Resume);
        assert_eq!(ask().bearer(&bearer).query(&all).ask().unwrap().scheme, Scheme::Jwt);
        assert_eq!(ask().bearer(MAC).query(&all).malformed().1, "the parameter user is missing");
        assert_eq!(ask().query(&all).malformed().1, "a signed parameter is missing");
        assert_eq!(ask().query(format!("{token}&{v2}&{v1}")).ask().unwrap().scheme, Scheme::Jwt);
        assert_eq!(ask().query(format!("{mac}&{v2}&{v1}")).ask(), BAD_QUERY);
        assert_eq!(ask().query(format!("{v2}&{v1}")).ask().unwrap().scheme, Scheme::V2);
        assert_eq!(ask().query(v1).ask().unwrap().scheme, Scheme::V1);
    }

    // [AUT-14]
    #[test]
    fn a_session_token_that_is_no_jwt_is_no_credential() {
        let [bearer, token, v2, v1] = good();
        for id in ["", "0123abcd", "a.b", "a.b.c.d", "a.b c.d", "a.b.\u{e8}", "Bearer a.b.c"] {
            assert_eq!(ask().session(id).ask(), Err(Denied::Missing), "{id}");
            for query in [&token, &v2, &v1] {
                assert!(ask().session(id).query(query).ask().is_ok(), "{id}");
            }
            assert!(ask().session(id).bearer(&bearer).ask().is_ok(), "{id}");
        }
        assert_eq!(ask().session(b"\xff.b.c").ask(), Err(Denied::Missing));
    }

    #[test]
    fn a_bad_session_jwt_is_not_rescued() {
        let [bearer, token, ..] = good();
        let request = ask().bearer(&bearer).query(token);
        assert!(request.clone().session("a.b.c").ask().is_err());
        let other = mint_resume(&ring_of(&["other"]), &resumes::claims()).unwrap();
        assert_eq!(request.clone().session(other).ask(), BAD_HEADER);
        let endless = format!("{}.b.c", "a".repeat(LONGEST_CREDENTIAL));
        assert_eq!(request.session(endless).malformed().1, "the session token is too long");
    }

    // [AUT-5]
    #[test]
    fn a_signed_authorization_header_of_s3_leaves_the_query_its_say() {
        let header =
            "AWS4-HMAC-SHA256 Credential=AKID/20231114/r/s3/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(ask().header(header).ask(), Err(Denied::Missing));
        let [_, token, ..] = good();
        assert!(ask().header(header).query(token).ask().is_ok());
    }

    #[test]
    fn a_presigned_url_is_known_by_its_signature_alone() {
        let [.., v1] = good();
        for query in
            ["X-Amz-Date=1", "x-amz-signature=1", "X-Amz-Signatures=1", "X-Amz-Expires=60&X-Amz-Algorithm=a"]
        {
            assert_eq!(ask().query(query).ask(), Err(Denied::Missing), "{query}");
            assert!(ask().query(format!("{query}&{v1}")).ask().is_ok(), "{query}");
        }
        for query in ["X-Amz-Signature", "X-Amz-Signature=", "a&X-Amz-Signature=b=c"] {
            assert_eq!(ask().query(query).malformed().1, "a signed parameter is missing", "{query}");
        }
    }
}
