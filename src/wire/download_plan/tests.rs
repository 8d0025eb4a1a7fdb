//! Requests and the answers that RFC 9110 wants for them, on a file of 100 bytes.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use proptest::prelude::*;

use super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const SECOND_BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SECOND_AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn file() -> Servable {
    Servable {
        length: 100,
        etag: "\"tag\"".into(),
        last_modified_ms: 784_111_777_999,
        content_type: Some("image/png".into()),
        filename: "a.png".into(),
    }
}

fn of_length(length: u64) -> Servable {
    Servable { length, ..file() }
}

fn fields(fields: &[(HeaderName, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

fn get(request: &[(HeaderName, &str)]) -> Plan {
    plan(false, &repeated(request), &file())
}

/// Like [`fields`], but keeps fields of the same name.
fn repeated(given: &[(HeaderName, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in given {
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn text(plan: &Plan, name: impl http::header::AsHeaderName) -> &str {
    plan.headers.get(name).map_or("(none)", |value| value.to_str().unwrap())
}

mod answers {
    use super::*;

    #[test]
    fn a_plain_get_is_the_whole_file_with_all_its_headers() {
        let plan = get(&[]);
        assert_eq!((plan.status, &plan.body), (200, &Body::Whole));
        let expected = fields(&[
            (ACCEPT_RANGES, "bytes"),
            (CACHE_CONTROL, "private, max-age=86400, immutable"),
            (CONTENT_DISPOSITION, "inline; filename=\"a.png\""),
            (CONTENT_LENGTH, "100"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (CONTENT_TYPE, "image/png"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
            (ETAG, "\"tag\""),
            (LAST_MODIFIED, MODIFIED),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ]);
        assert_eq!(plan.headers, expected);
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let head = plan(true, &HeaderMap::new(), &file());
        assert_eq!((head.status, head.body), (200, Body::Empty));
        assert_eq!(head.headers, get(&[]).headers);
    }

    #[test]
    fn head_ignores_ranges() {
        for range in ["bytes=0-9", "bytes=100-", "bytes=0-1,5-6"] {
            let head = plan(true, &fields(&[(RANGE, range), (IF_RANGE, "\"tag\"")]), &file());
            assert_eq!((head.status, text(&head, CONTENT_LENGTH)), (200, "100"), "{range}");
            assert!(!head.headers.contains_key(CONTENT_RANGE));
        }
    }

    #[test]
    fn head_is_conditional_like_get() {
        assert_eq!(plan(true, &fields(&[(IF_NONE_MATCH, "\"tag\"")]), &file()).status, 304);
        assert_eq!(plan(true, &fields(&[(IF_MATCH, "\"other\"")]), &file()).status, 412);
    }

    #[test]
    fn an_empty_file_is_served_with_length_zero() {
        let plan = plan(false, &HeaderMap::new(), &of_length(0));
        assert_eq!((plan.status, text(&plan, CONTENT_LENGTH)), (200, "0"));
    }

    #[test]
    fn a_type_that_runs_script_is_an_attachment_whatever_part_is_asked_for() {
        let page = Servable { content_type: Some("text/html".into()), filename: "x.html".into(), ..file() };
        for range in ["", "bytes=0-0", "bytes=0-0,5-5"] {
            let plan = plan(false, &fields(&[(RANGE, range)]), &page);
            assert_eq!(text(&plan, CONTENT_DISPOSITION), "attachment; filename=\"x.html\"");
            assert_eq!(text(&plan, CONTENT_SECURITY_POLICY), "default-src 'none'; frame-ancestors 'none'");
            assert_eq!(text(&plan, X_CONTENT_TYPE_OPTIONS), "nosniff");
        }
    }

    #[test]
    fn a_304_says_how_to_keep_the_file_and_nothing_of_its_content() {
        let plan = get(&[(IF_NONE_MATCH, "\"tag\"")]);
        assert_eq!((plan.status, &plan.body), (304, &Body::Empty));
        assert_eq!((text(&plan, ETAG), text(&plan, LAST_MODIFIED)), ("\"tag\"", MODIFIED));
        assert_eq!(text(&plan, CACHE_CONTROL), "private, max-age=86400, immutable");
        for absent in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_DISPOSITION, CONTENT_RANGE] {
            assert!(!plan.headers.contains_key(&absent), "{absent}");
        }
    }

    #[test]
    fn refusals_have_no_content_and_are_not_kept() {
        for (field, value, status) in [(IF_MATCH, "\"other\"", 412), (RANGE, "bytes=100-", 416)] {
            let plan = get(&[(field, value)]);
            assert_eq!((plan.status, &plan.body), (status, &Body::Empty));
            assert_eq!((text(&plan, CONTENT_LENGTH), text(&plan, CACHE_CONTROL)), ("0", "no-store"));
            assert!(!plan.headers.contains_key(CONTENT_TYPE));
        }
    }

    #[test]
    fn a_time_that_http_cannot_say_is_moved_to_the_nearest_that_it_can() {
        for (ms, said) in [
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (999, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1000, "Thu, 01 Jan 1970 00:00:01 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let plan = plan(false, &HeaderMap::new(), &Servable { last_modified_ms: ms, ..file() });
            assert_eq!(text(&plan, LAST_MODIFIED), said, "{ms}");
        }
    }

    #[test]
    fn no_answer_claims_an_encoding() {
        let asks = [(http::header::ACCEPT_ENCODING, "gzip, br"), (RANGE, "bytes=0-0")];
        for request in [&asks[..0], &asks[..1], &asks[..]] {
            assert!(!get(request).headers.contains_key(http::header::CONTENT_ENCODING));
        }
    }
}

mod preconditions_of_section_13 {
    use super::*;

    #[test]
    fn if_match_compares_strongly() {
        for (value, status) in [
            ("\"tag\"", 200),
            ("*", 200),
            (" * ", 200),
            ("\"a\", \"tag\"", 200),
            ("\"a,b\" ,, \"tag\"", 200),
            ("W/\"tag\"", 412),
            ("\"Tag\"", 412),
            ("\"other\"", 412),
            ("tag", 412),
            ("\"tag", 412),
            ("\"a\"\"tag\"", 412),
            ("", 412),
        ] {
            assert_eq!(get(&[(IF_MATCH, value)]).status, status, "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (value, status) in [
            ("\"tag\"", 304),
            ("W/\"tag\"", 304),
            ("*", 304),
            ("\"a\", W/\"b\",W/\"tag\"", 304),
            ("\"tag\", broken", 304),
            ("w/\"tag\"", 200),
            ("\"other\"", 200),
            ("\"x\\\", \"tag\\\"\"", 200),
            ("tag", 200),
            ("", 200),
        ] {
            assert_eq!(get(&[(IF_NONE_MATCH, value)]).status, status, "{value}");
        }
    }

    #[test]
    fn lists_may_be_spread_over_fields() {
        assert_eq!(get(&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, "\"tag\"")]).status, 304);
        assert_eq!(get(&[(IF_MATCH, "\"a\""), (IF_MATCH, "\"tag\"")]).status, 200);
        assert_eq!(get(&[(IF_MATCH, "\"a\""), (IF_MATCH, "\"b\"")]).status, 412);
    }

    #[test]
    fn if_modified_since_compares_whole_seconds() {
        for (value, status) in [
            (MODIFIED, 304),
            (SECOND_AFTER, 304),
            (SECOND_BEFORE, 200),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
            ("Sun Nov  6 08:49:37 1994", 304),
            ("1994-11-06T08:49:37Z", 200),
            ("0", 200),
            ("", 200),
        ] {
            assert_eq!(get(&[(IF_MODIFIED_SINCE, value)]).status, status, "{value}");
        }
    }

    #[test]
    fn if_unmodified_since_compares_whole_seconds() {
        for (value, status) in
            [(MODIFIED, 200), (SECOND_AFTER, 200), (SECOND_BEFORE, 412), ("yesterday", 200), ("", 200)]
        {
            assert_eq!(get(&[(IF_UNMODIFIED_SINCE, value)]).status, status, "{value}");
        }
    }

    #[test]
    fn a_repeated_date_is_no_date() {
        assert_eq!(get(&[(IF_MODIFIED_SINCE, MODIFIED), (IF_MODIFIED_SINCE, MODIFIED)]).status, 200);
        let twice = [(IF_UNMODIFIED_SINCE, SECOND_BEFORE), (IF_UNMODIFIED_SINCE, SECOND_BEFORE)];
        assert_eq!(get(&twice).status, 200);
    }

    #[test]
    fn a_tag_outranks_the_date_beside_it() {
        assert_eq!(get(&[(IF_MATCH, "\"tag\""), (IF_UNMODIFIED_SINCE, SECOND_BEFORE)]).status, 200);
        assert_eq!(get(&[(IF_MATCH, "\"other\""), (IF_UNMODIFIED_SINCE, SECOND_AFTER)]).status, 412);
        assert_eq!(get(&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, SECOND_AFTER)]).status, 200);
        assert_eq!(get(&[(IF_NONE_MATCH, "\"tag\""), (IF_MODIFIED_SINCE, SECOND_BEFORE)]).status, 304);
    }

    #[test]
    fn what_asks_for_a_match_is_judged_before_what_asks_for_a_change() {
        assert_eq!(get(&[(IF_MATCH, "\"other\""), (IF_NONE_MATCH, "\"tag\"")]).status, 412);
        assert_eq!(get(&[(IF_MATCH, "\"tag\""), (IF_NONE_MATCH, "\"tag\"")]).status, 304);
        assert_eq!(get(&[(IF_UNMODIFIED_SINCE, SECOND_BEFORE), (IF_MODIFIED_SINCE, MODIFIED)]).status, 412);
        assert_eq!(get(&[(IF_UNMODIFIED_SINCE, MODIFIED), (IF_NONE_MATCH, "\"tag\"")]).status, 304);
    }

    #[test]
    fn preconditions_are_judged_before_ranges() {
        for range in ["bytes=0-9", "bytes=100-"] {
            assert_eq!(get(&[(RANGE, range), (IF_NONE_MATCH, "\"tag\"")]).status, 304);
            assert_eq!(get(&[(RANGE, range), (IF_MATCH, "\"other\"")]).status, 412);
        }
        assert_eq!(get(&[(RANGE, "bytes=0-9"), (IF_MATCH, "\"tag\"")]).status, 206);
        assert_eq!(get(&[(RANGE, "bytes=0-9"), (IF_NONE_MATCH, "\"other\"")]).status, 206);
    }

    #[test]
    fn if_range_wants_this_very_file() {
        for (value, status) in [
            ("\"tag\"", 206),
            (" \"tag\" ", 206),
            (MODIFIED, 206),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 206),
            ("W/\"tag\"", 200),
            ("\"other\"", 200),
            ("\"tag\", \"other\"", 200),
            ("*", 200),
            ("tag", 200),
            ("", 200),
            (SECOND_AFTER, 200),
            (SECOND_BEFORE, 200),
        ] {
            let plan = get(&[(RANGE, "bytes=0-9"), (IF_RANGE, value)]);
            assert_eq!(plan.status, status, "{value}");
            let length = if status == 206 { "10" } else { "100" };
            assert_eq!(text(&plan, CONTENT_LENGTH), length);
        }
        let twice = [(RANGE, "bytes=0-9"), (IF_RANGE, "\"tag\""), (IF_RANGE, "\"tag\"")];
        assert_eq!(get(&twice).status, 200);
    }

    #[test]
    fn a_false_if_range_also_saves_from_416() {
        assert_eq!(get(&[(RANGE, "bytes=100-"), (IF_RANGE, "\"other\"")]).status, 200);
        assert_eq!(get(&[(RANGE, "bytes=100-"), (IF_RANGE, "\"tag\"")]).status, 416);
    }

    #[test]
    fn if_range_alone_means_nothing() {
        assert_eq!(get(&[(IF_RANGE, "\"other\"")]).status, 200);
    }
}

mod ranges_of_section_14 {
    use super::*;

    #[test]
    fn one_range_is_answered_with_its_bytes() {
        for (value, range, content_range) in [
            ("bytes=0-0", 0..1, "bytes 0-0/100"),
            ("bytes=0-99", 0..100, "bytes 0-99/100"),
            ("bytes=0-", 0..100, "bytes 0-99/100"),
            ("bytes=10-19", 10..20, "bytes 10-19/100"),
            ("bytes=99-", 99..100, "bytes 99-99/100"),
            ("bytes=90-1000", 90..100, "bytes 90-99/100"),
            ("bytes=90-99999999999999999999999999", 90..100, "bytes 90-99/100"),
            ("bytes=0-18446744073709551615", 0..100, "bytes 0-99/100"),
            ("bytes=-1", 99..100, "bytes 99-99/100"),
            ("bytes=-100", 0..100, "bytes 0-99/100"),
            ("bytes=-1000", 0..100, "bytes 0-99/100"),
            ("bytes=-99999999999999999999999999", 0..100, "bytes 0-99/100"),
            ("Bytes=000-009", 0..10, "bytes 0-9/100"),
            (" bytes= 5-6 ", 5..7, "bytes 5-6/100"),
            ("bytes=,5-6,,", 5..7, "bytes 5-6/100"),
        ] {
            let plan = get(&[(RANGE, value)]);
            assert_eq!(plan.status, 206, "{value}");
            assert_eq!(text(&plan, CONTENT_RANGE), content_range, "{value}");
            assert_eq!(text(&plan, CONTENT_LENGTH), (range.end - range.start).to_string(), "{value}");
            assert_eq!(plan.body, Body::One(range), "{value}");
            assert_eq!((text(&plan, CONTENT_TYPE), text(&plan, ETAG)), ("image/png", "\"tag\""));
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_refused_with_the_length() {
        for value in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999-",
            "bytes=200-,100-101,-0",
        ] {
            let plan = get(&[(RANGE, value)]);
            assert_eq!((plan.status, text(&plan, CONTENT_RANGE)), (416, "bytes */100"), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_or_of_another_unit_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=9-5",
            "bytes=0-1,9-5",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=0x1-2",
            "bytes=--1",
            "bytes=1--2",
            "bytes=1-2-3",
            "bytes=1 - 2",
            "bytes=0-1;2-3",
            "bytes 0-1",
            "bytes =0-1",
            "byte=0-1",
            "lines=0-1",
            "0-1",
        ] {
            let plan = get(&[(RANGE, value)]);
            assert_eq!((plan.status, &plan.body), (200, &Body::Whole), "{value}");
            assert!(!plan.headers.contains_key(CONTENT_RANGE));
        }
        assert_eq!(get(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=5-6")]).status, 200);
    }

    #[test]
    fn an_empty_file_has_no_first_byte_but_an_empty_suffix() {
        for (value, status) in [
            ("bytes=0-", 200),
            ("bytes=0-0", 416),
            ("bytes=-0", 416),
            ("bytes=-5", 200),
            ("bytes=0-0,-5", 200),
        ] {
            let plan = plan(false, &fields(&[(RANGE, value)]), &of_length(0));
            assert_eq!(plan.status, status, "{value}");
            let content_range = if status == 416 { "bytes */0" } else { "(none)" };
            assert_eq!(text(&plan, CONTENT_RANGE), content_range);
        }
    }

    #[test]
    fn several_ranges_come_as_parts_in_the_order_asked_for() {
        let plan = get(&[(RANGE, "bytes=50-59,0-9, -1")]);
        assert_eq!(plan.status, 206);
        assert!(!plan.headers.contains_key(CONTENT_RANGE));
        let boundary = text(&plan, CONTENT_TYPE).strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert!(boundary.len() == 32 && boundary.bytes().all(|byte| byte.is_ascii_hexdigit()));

        let head = |delimiter: &str, range: &str| {
            let head =
                format!("{delimiter}\r\nContent-Type: image/png\r\nContent-Range: bytes {range}/100\r\n\r\n");
            head.into_bytes()
        };
        let (first, next) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
        let expected = Body::Many {
            parts: vec![
                (head(&first, "50-59"), 50..60),
                (head(&next, "0-9"), 0..10),
                (head(&next, "99-99"), 99..100),
            ],
            trailer: format!("\r\n--{boundary}--\r\n").into_bytes(),
        };
        assert_eq!(plan.body, expected);
        assert_eq!(text(&plan, CONTENT_LENGTH), length_of(&plan.body).to_string());
    }

    #[test]
    fn a_range_that_lies_outside_is_left_out() {
        assert_eq!(get(&[(RANGE, "bytes=0-9,100-,-0")]).body, Body::One(0..10));
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        assert_eq!(get(&[(RANGE, "bytes=0-9,5-19")]).body, Body::One(0..20));
        assert_eq!(get(&[(RANGE, "bytes=10-19,0-9")]).body, Body::One(0..20));
        assert_eq!(get(&[(RANGE, "bytes=0-9,0-9,0-9")]).body, Body::One(0..10));
        assert_eq!(get(&[(RANGE, "bytes=0-,-1,5-5")]).body, Body::One(0..100));
        let mixed = get(&[(RANGE, "bytes=50-59,0-9,5-19")]);
        assert_eq!(ranges_of(&mixed.body), [0..20, 50..60]);
    }

    #[test]
    fn more_parts_than_the_limit_are_answered_with_the_whole_file() {
        let every_other = |count: usize| {
            let specs: Vec<_> = (0..count).map(|index| format!("{0}-{0}", 2 * index)).collect();
            format!("bytes={}", specs.join(","))
        };
        let most = get(&[(RANGE, &every_other(ranges::MOST_PARTS))]);
        assert_eq!(ranges_of(&most.body).len(), ranges::MOST_PARTS);
        let more = get(&[(RANGE, &every_other(ranges::MOST_PARTS + 1))]);
        assert_eq!((more.status, more.body), (200, Body::Whole));
    }

    #[test]
    fn thousands_of_overlapping_ranges_cost_no_more_than_the_file() {
        let specs: Vec<_> = (0..5000).map(|index| format!("{}-", index % 100)).collect();
        let plan = get(&[(RANGE, &format!("bytes={}", specs.join(",")))]);
        assert_eq!((plan.status, plan.body), (206, Body::One(0..100)));
    }

    #[test]
    fn other_files_and_other_ranges_have_other_boundaries() {
        let of = |range: &str, etag: &str| {
            let file = Servable { etag: etag.into(), ..file() };
            text(&plan(false, &fields(&[(RANGE, range)]), &file), CONTENT_TYPE).to_owned()
        };
        assert_eq!(of("bytes=0-0,5-5", "\"a\""), of("bytes=0-0,5-5", "\"a\""));
        assert_ne!(of("bytes=0-0,5-5", "\"a\""), of("bytes=0-0,5-5", "\"b\""));
        assert_ne!(of("bytes=0-0,5-5", "\"a\""), of("bytes=0-0,6-6", "\"a\""));
    }

    #[test]
    fn the_largest_file_there_can_be_is_served_to_its_end() {
        let huge = of_length(u64::MAX);
        let plan = plan(false, &fields(&[(RANGE, "bytes=18446744073709551614-")]), &huge);
        assert_eq!(plan.body, Body::One(u64::MAX - 1..u64::MAX));
        assert_eq!(
            text(&plan, CONTENT_RANGE),
            "bytes 18446744073709551614-18446744073709551614/18446744073709551615"
        );
    }
}

fn ranges_of(body: &Body) -> Vec<Range<u64>> {
    match body {
        Body::Empty | Body::Whole => vec![],
        Body::One(range) => vec![range.clone()],
        Body::Many { parts, .. } => parts.iter().map(|(_, range)| range.clone()).collect(),
    }
}

/// Bytes that a server sends for this body of a file of 100 bytes.
fn length_of(body: &Body) -> u64 {
    let ranges: u64 = ranges_of(body).iter().map(|range| range.end - range.start).sum();
    match body {
        Body::Empty => 0,
        Body::Whole => 100,
        Body::One(_) => ranges,
        Body::Many { parts, trailer } => {
            ranges + parts.iter().map(|(head, _)| head.len() as u64).sum::<u64>() + trailer.len() as u64
        }
    }
}

/// What is asked for, byte by byte: the plain reading of RFC 9110 section 14.1.2 for a file of 100 bytes.
fn asked_bytes(specs: &[(Option<u64>, Option<u64>)]) -> Vec<bool> {
    let asked = |byte: u64| {
        specs.iter().any(|spec| match *spec {
            (Some(first), Some(last)) => first <= byte && byte <= last,
            (Some(first), None) => first <= byte,
            (None, Some(count)) => byte + count >= 100,
            (None, None) => false,
        })
    };
    (0..100).map(asked).collect()
}

fn one_spec() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    prop_oneof![
        (0u64..130, 0u64..130).prop_map(|(a, b)| (Some(a.min(b)), Some(a.max(b)))),
        (0u64..130).prop_map(|first| (Some(first), None)),
        (0u64..130).prop_map(|count| (None, Some(count))),
    ]
}

proptest! {
    #[test]
    fn exactly_the_bytes_asked_for_are_sent_once_and_the_length_is_theirs(
        specs in proptest::collection::vec(one_spec(), 1..12),
    ) {
        let number = |position: Option<u64>| position.map(|n| n.to_string()).unwrap_or_default();
        let written: Vec<_> = specs.iter().map(|(a, b)| format!("{}-{}", number(*a), number(*b))).collect();
        let value = format!("bytes={}", written.join(","));
        let plan = get(&[(RANGE, &value)]);

        let mut sent = vec![0; 100];
        for range in ranges_of(&plan.body) {
            for byte in range {
                sent[usize::try_from(byte).unwrap()] += 1;
            }
        }
        let asked: Vec<i32> = asked_bytes(&specs).into_iter().map(i32::from).collect();
        prop_assert_eq!(&sent, &asked);
        prop_assert_eq!(plan.status, if asked.contains(&1) { 206 } else { 416 });
        prop_assert_eq!(text(&plan, CONTENT_LENGTH), length_of(&plan.body).to_string());
    }

    #[test]
    fn any_header_bytes_get_an_answer(
        name in prop_oneof![
            Just(RANGE), Just(IF_RANGE), Just(IF_MATCH), Just(IF_NONE_MATCH),
            Just(IF_MODIFIED_SINCE), Just(IF_UNMODIFIED_SINCE),
        ],
        value in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "(bytes=)?[0-9, -]{0,60}".prop_map(String::into_bytes),
            "[W/\"a-c, *]{0,30}".prop_map(String::into_bytes),
            "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
        ],
        with_range: bool,
        length: u64,
    ) {
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut request = HeaderMap::new();
        request.insert(name, value);
        if with_range {
            request.append(RANGE, HeaderValue::from_static("bytes=1-2,5-6"));
        }
        let plan = plan(false, &request, &of_length(length));
        prop_assert!([200, 206, 304, 412, 416].contains(&plan.status));
        prop_assert!(ranges_of(&plan.body).iter().all(|range| range.start < range.end && range.end <= length));
    }
}
