//! Numbers in fields, as they may be and as they may not.

use bytes::Bytes;

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::tus::{OFFSET_OCTET_STREAM, expect_not_created};

pub(super) const CASES: &[Case] = &[
    case!(
        ["TUS-7"],
        "a PATCH whose Upload-Offset is no number is refused and writes nothing",
        refuses_bad_offsets
    ),
    case!(["TUS-8"], "a creation whose Upload-Length is no number is refused", refuses_bad_lengths),
    case!(["TUS-9"], "a field that is given twice is refused", refuses_repeated_fields),
    case!(["TUS-10"], "offsets and lengths are told in digits", tells_digits),
];

async fn refuses_bad_offsets(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let patch = || upload.request("PATCH").header("Content-Type", OFFSET_OCTET_STREAM);
    let rest: Bytes = body.slice(40..);
    let answer = ctx.send(&patch().body(rest.clone())).await?;
    answer.expect_refused().at("no Upload-Offset")?;
    for value in [
        "-40",
        "+40",
        "40.0",
        "0x28",
        "4 0",
        "40,40",
        "forty",
        "",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        let answer = ctx.send(&patch().header("Upload-Offset", value).body(rest.clone())).await?;
        answer.expect_refused().at(format_args!("Upload-Offset: {value:?}"))?;
        ctx.expect_tus_offset(&upload, 40).await.at(format_args!("after Upload-Offset: {value:?}"))?;
    }
    ctx.tus_finish(&upload, &body, 40).await
}

async fn refuses_bad_lengths(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&ctx.creation(5)).await?;
    for value in
        ["-1", "+1", "1.0", "0x1", "1 0", "one", "", "18446744073709551616", "99999999999999999999999"]
    {
        let answer = ctx.send(&ctx.post().header("Upload-Length", value)).await?;
        expect_not_created(&answer).at(format_args!("Upload-Length: {value:?}"))?;
    }
    Ok(())
}

async fn refuses_repeated_fields(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    for second in [0, 40, 41] {
        let patch = upload.patch(&body, 40, 100).header("Upload-Offset", second);
        ctx.send(&patch).await?.expect_refused().at(format_args!("Upload-Offset: 40 and {second}"))?;
    }
    ctx.expect_tus_offset(&upload, 40).await?;
    for second in [1, 2] {
        let answer = ctx.send(&ctx.creation(1).header("Upload-Length", second)).await?;
        expect_not_created(&answer).at(format_args!("Upload-Length: 1 and {second}"))?;
    }
    ctx.tus_finish(&upload, &body, 40).await
}

async fn tells_digits(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    let head = ctx.tus_head(&upload).await?;
    let patched = ctx.send(&upload.patch(&body, 40, 41)).await?;
    for (answer, name) in [(&head, "upload-offset"), (&head, "upload-length"), (&patched, "upload-offset")] {
        let value = answer.require(name)?;
        let is_digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        expect(is_digits, format_args!("digits in {name}"), value)?;
    }
    Ok(())
}
