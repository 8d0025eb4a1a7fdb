//! Partial downloads: how a receiving client goes on after a cut.

use bytes::Bytes;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_bytes, expect_eq};
use crate::ctx::Ctx;
use crate::http::Answer;

const SIZE: usize = 1000;

pub(super) const CASES: &[Case] = &[
    case!(
        ["XEP-132"],
        "a range of an empty file from its first byte is the empty file",
        serves_an_empty_file_whole
    ),
    case!(["XEP-70"], "a single range is answered 206 with just those bytes", serves_single_ranges),
    case!(["XEP-71"], "several ranges are answered as multipart/byteranges", serves_several_ranges),
    case!(["XEP-72"], "a range behind the end is answered 416 with the length", refuses_unsatisfiable_ranges),
    case!(["XEP-73"], "If-Range serves the range only of the same content", honours_if_range),
    case!(
        ["XEP-74"],
        "a malformed range or one of another unit never yields a wrong part",
        ignores_strange_ranges
    ),
    case!(["XEP-86"], "overlapping ranges do not multiply the download", ranges_do_not_multiply),
    case!(["XEP-87"], "HEAD knows no ranges", head_ignores_range),
];

fn expect_part(answer: &Answer, body: &Bytes, first: usize, last: usize) -> CaseResult {
    answer.expect_status(206)?;
    answer.expect_header("content-range", &format!("bytes {first}-{last}/{SIZE}"))?;
    expect_eq("Content-Length", &((last - first + 1) as u64), &answer.number("content-length")?)?;
    expect_bytes("the range", body.get(first..=last).unwrap_or_default(), &answer.body)
}

async fn serves_an_empty_file_whole(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("empty.txt", 0).await?;
    let answer = ctx.send(&slot.get().header("Range", "bytes=0-")).await?;
    answer.expect_status(200)?.expect_header("content-length", "0")?.expect_empty()?;
    let answer = ctx.send(&slot.head().header("Range", "bytes=0-")).await?;
    answer.expect_status(200).at("HEAD")?.expect_header("content-length", "0")?;
    Ok(())
}

async fn serves_single_ranges(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=400-", 400, 999),
        ("bytes=-50", 950, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=0-999", 0, 999),
    ] {
        let answer = ctx.send(&slot.get().header("Range", range)).await?;
        expect_part(&answer, &body, first, last).at(range)?;
    }
    Ok(())
}

/// Content-Range and bytes of each part.
fn parts(answer: &Answer) -> Result<Vec<(String, Bytes)>, Failure> {
    let kind = answer.require("content-type")?;
    let boundary = kind
        .strip_prefix("multipart/byteranges")
        .and_then(|rest| rest.split_once("boundary="))
        .map(|(_, boundary)| boundary.trim_matches('"'))
        .ok_or_else(|| Failure::new("multipart/byteranges with a boundary", kind))?;
    let delimiter = format!("--{boundary}").into_bytes();
    let mut rest = answer.body.clone();
    let mut found = Vec::new();
    let broken = || Failure::because("the multipart body is malformed");
    loop {
        let start = find(&rest, &delimiter).ok_or_else(broken)?;
        rest = rest.slice(start + delimiter.len()..);
        if rest.starts_with(b"--") {
            return Ok(found);
        }
        let head_end = find(&rest, b"\r\n\r\n").ok_or_else(broken)?;
        let head = String::from_utf8_lossy(&rest.slice(..head_end)).into_owned();
        let range = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-range"))
            .map(|(_, value)| value.trim().to_owned())
            .ok_or_else(broken)?;
        rest = rest.slice(head_end + 4..);
        let mut closing = b"\r\n".to_vec();
        closing.extend_from_slice(&delimiter);
        let end = find(&rest, &closing).ok_or_else(broken)?;
        found.push((range, rest.slice(..end)));
        rest = rest.slice(end..);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

async fn serves_several_ranges(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    let answer = ctx.send(&slot.get().header("Range", "bytes=0-9, 500-599, -1")).await?;
    answer.expect_status(206)?.expect_no_header("content-range")?;
    expect_eq("Content-Length", &(answer.body.len() as u64), &answer.number("content-length")?)?;
    let wanted: Vec<(String, Bytes)> = [(0, 9), (500, 599), (999, 999)]
        .into_iter()
        .map(|(first, last)| (format!("bytes {first}-{last}/{SIZE}"), body.slice(first..=last)))
        .collect();
    let seen = parts(&answer)?;
    let ranges = |parts: &[(String, Bytes)]| parts.iter().map(|(range, _)| range.clone()).collect::<Vec<_>>();
    expect_eq("parts", &ranges(&wanted), &ranges(&seen))?;
    expect(wanted == seen, "the bytes of each part", "others")
}

async fn refuses_unsatisfiable_ranges(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("photo.jpg", SIZE).await?;
    for range in ["bytes=1000-", "bytes=5000-6000", "bytes=-0"] {
        let answer = ctx.send(&slot.get().header("Range", range)).await?;
        answer.expect_status(416).at(range)?.expect_header("content-range", "bytes */1000").at(range)?;
    }
    Ok(())
}

async fn honours_if_range(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    let tag = ctx.send(&slot.head()).await?.require("etag")?.to_owned();
    let ranged = slot.get().header("Range", "bytes=10-19");
    let same = ctx.send(&ranged.clone().header("If-Range", &tag)).await?;
    expect_part(&same, &body, 10, 19).at("the same tag")?;
    for other in ["\"another\"".to_owned(), format!("W/{tag}"), "Sat, 01 Jan 2000 00:00:00 GMT".to_owned()] {
        let answer = ctx.send(&ranged.clone().header("If-Range", &other)).await?;
        answer.expect_status(200).at(format_args!("If-Range: {other}"))?;
        expect_bytes("the download", &body, &answer.body)?;
    }
    Ok(())
}

async fn ignores_strange_ranges(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    for range in ["lines=1-2", "bytes", "bytes=9-1", "bytes=a-b", "bytes=1-2-3"] {
        let answer = ctx.send(&slot.get().header("Range", range)).await?;
        // RFC 9110 section 14.2: an unknown unit is ignored, an invalid range may be refused as well.
        let allowed: &[u16] = if range.starts_with("bytes") { &[200, 400, 416] } else { &[200] };
        answer.expect_status_in(allowed).at(range)?;
        if answer.status == 200 {
            expect_bytes("the download", &body, &answer.body).at(range)?;
        }
    }
    Ok(())
}

async fn ranges_do_not_multiply(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("photo.jpg", SIZE).await?;
    for ranges in [vec!["0-"; 150].join(","), vec!["0-999,-1000"; 50].join(","), vec!["0-0"; 1000].join(",")]
    {
        let answer = ctx.send(&slot.get().header("Range", format!("bytes={ranges}"))).await?;
        answer.expect_status_in(&[200, 206, 400, 416, 431])?;
        let limit = 4 * SIZE;
        let seen = format!("{} bytes, status {}", answer.body.len(), answer.status);
        expect(answer.body.len() <= limit, format_args!("at most {limit} bytes for a file of {SIZE}"), seen)?;
    }
    Ok(())
}

async fn head_ignores_range(ctx: &Ctx) -> CaseResult {
    let (slot, _) = ctx.uploaded("photo.jpg", SIZE).await?;
    for range in ["bytes=0-9", "bytes=5000-"] {
        let answer = ctx.send(&slot.head().header("Range", range)).await?;
        answer.expect_status(200).at(range)?.expect_header("content-length", "1000").at(range)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipart_bodies_are_taken_apart_even_when_a_part_holds_line_breaks() {
        let body = "\r\n--B\r\nContent-Type: x\r\ncontent-range: bytes 0-3/9\r\n\r\na\r\nb\r\n--B\r\n\
                    Content-Range: bytes 5-5/9\r\n\r\nz\r\n--B--\r\n";
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", "multipart/byteranges; boundary=B".parse().unwrap());
        let answer = Answer { status: 206, headers, body: Bytes::from(body) };
        let seen = parts(&answer).unwrap();
        assert_eq!(
            seen,
            [
                ("bytes 0-3/9".to_owned(), Bytes::from_static(b"a\r\nb")),
                ("bytes 5-5/9".to_owned(), Bytes::from_static(b"z"))
            ]
        );
    }
}
