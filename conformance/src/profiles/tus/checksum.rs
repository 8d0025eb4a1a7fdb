//! A PATCH that brings a checksum is taken whole or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use crate::case::{Case, CaseResult, Failure, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::http::request::chunk;
use crate::http::{Answer, Request};
use crate::tus::slice;

use super::{CHECKSUM, TRAILER};

pub(super) const CASES: &[Case] = &[
    case!(["TUS-70"], "a checked PATCH that was cut leaves nothing", cut_leaves_nothing, needs CHECKSUM),
    case!(["TUS-71"], "a mismatch is answered 460, and the bytes are discarded", discards_a_mismatch, needs CHECKSUM),
    case!(["TUS-72"], "an algorithm that is not offered is answered 400", refuses_algorithms, needs CHECKSUM),
    case!(["TUS-121"], "a value of the wrong length is a mismatch", wrong_length_is_a_mismatch, needs CHECKSUM),
    case!(["TUS-73"], "every algorithm that is announced verifies a match", verifies_a_match, needs CHECKSUM),
    case!(["TUS-73"], "every algorithm that is announced finds a mismatch", finds_a_mismatch, needs CHECKSUM),
    case!(["TUS-74"], "a checksum in the trailer is verified", verifies_the_trailer, needs TRAILER),
    case!(["TUS-74"], "a mismatch in the trailer is answered 460", discards_by_trailer, needs TRAILER),
    case!(["TUS-74"], "a checksum that was promised and never came leaves nothing", misses_the_trailer, needs TRAILER),
    case!(["TUS-74"], "a PATCH that was cut before its trailer leaves nothing", cut_before_trailer, needs TRAILER),
];

/// The value of Upload-Checksum.
pub(super) fn claim(algorithm: &str, data: &[u8]) -> Result<String, Failure> {
    let sum = match algorithm {
        "sha1" => sha1::Sha1::digest(data).to_vec(),
        "md5" => md5::Md5::digest(data).to_vec(),
        "sha256" => sha2::Sha256::digest(data).to_vec(),
        "sha384" => sha2::Sha384::digest(data).to_vec(),
        "sha512" => sha2::Sha512::digest(data).to_vec(),
        "crc32" => crc32fast::hash(data).to_be_bytes().to_vec(),
        "crc32c" => crc32c::crc32c(data).to_be_bytes().to_vec(),
        other => return Err(Failure::because(format_args!("the suite cannot compute {other}"))),
    };
    Ok(format!("{algorithm} {}", STANDARD.encode(sum)))
}

/// The announced algorithms that the suite knows; sha1 is always there.
fn algorithms(ctx: &Ctx) -> Vec<&'static str> {
    ["sha1", "md5", "sha256", "sha384", "sha512", "crc32", "crc32c"]
        .into_iter()
        .filter(|name| *name == "sha1" || ctx.tus.announced.algorithms.iter().any(|known| known == name))
        .collect()
}

async fn cut_leaves_nothing(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(300_000, 1000).await?;
    let head = upload.patch_at(1000).length(299_000);
    let head = head.header("Upload-Checksum", claim("sha1", &slice(&body, 1000, 300_000))?);
    let wire = ctx.stalled(&head, &slice(&body, 1000, 200_000)).await?;
    // While the rest is missing, and after it can no longer come.
    ctx.expect_tus_offset(&upload, 1000).await.at("while it lasts")?;
    wire.reset()?;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    ctx.await_tus_offset(&upload, 1000).await.at("after the cut")?;
    ctx.tus_finish(&upload, &body, 1000).await
}

async fn discards_a_mismatch(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(1000, 400).await?;
    for (from, to) in [(400, 700), (400, 1000)] {
        let patch = upload.patch(&body, from, to).header("Upload-Checksum", claim("sha1", b"other bytes")?);
        ctx.send(&patch).await?.expect_status(460).at(format_args!("bytes {from} to {to}"))?;
        ctx.expect_tus_offset(&upload, 400).await?;
    }
    ctx.tus_finish(&upload, &body, 400).await
}

async fn refuses_algorithms(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(1000, 400).await?;
    for value in ["whirlpool AAAA", "SHA-1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1", "sha1 not-base64!", ""] {
        let answer = ctx.send(&upload.patch(&body, 400, 1000).header("Upload-Checksum", value)).await?;
        answer.expect_status(400).at(format_args!("Upload-Checksum: {value:?}"))?;
        ctx.expect_tus_offset(&upload, 400).await.at(format_args!("after Upload-Checksum: {value:?}"))?;
    }
    ctx.tus_finish(&upload, &body, 400).await
}

async fn wrong_length_is_a_mismatch(ctx: &Ctx) -> CaseResult {
    for algorithm in algorithms(ctx) {
        let (upload, body) = ctx.tus_begun(1000, 400).await?;
        for value in ["", "AAA=", "Kq5sNclPz7QV2+lfQIuc6R7oRu0AAAAA"] {
            let patch = upload.patch(&body, 400, 1000);
            let patch = patch.header("Upload-Checksum", format!("{algorithm} {value}"));
            // An empty value loses the space before it on its way, and is of wrong syntax then.
            let expected: &[u16] = if value.is_empty() { &[400, 460] } else { &[460] };
            ctx.send(&patch).await?.expect_status_in(expected).at(format_args!("{algorithm} {value}"))?;
            ctx.expect_tus_offset(&upload, 400).await.at(format_args!("{algorithm} {value}"))?;
        }
        ctx.tus_finish(&upload, &body, 400).await?;
    }
    Ok(())
}

async fn verifies_a_match(ctx: &Ctx) -> CaseResult {
    for algorithm in algorithms(ctx) {
        let (upload, body) = ctx.tus_file(100_000).await?;
        for (from, to) in [(0, 40_000), (40_000, 100_000)] {
            let patch = upload.patch(&body, from, to);
            let patch = patch.header("Upload-Checksum", claim(algorithm, &slice(&body, from, to))?);
            ctx.expect_patched(&patch, to).await.at(algorithm)?;
        }
        ctx.expect_tus_content(&upload, &body).await.at(algorithm)?;
    }
    Ok(())
}

async fn finds_a_mismatch(ctx: &Ctx) -> CaseResult {
    for algorithm in algorithms(ctx) {
        let (upload, body) = ctx.tus_file(1000).await?;
        let patch =
            upload.patch(&body, 0, 1000).header("Upload-Checksum", claim(algorithm, &slice(&body, 0, 999))?);
        ctx.send(&patch).await?.expect_status(460).at(algorithm)?;
        ctx.expect_tus_offset(&upload, 0).await.at(algorithm)?;
    }
    Ok(())
}

/// A chunked PATCH with this trailer section, empty or of whole lines.
async fn with_trailer(ctx: &Ctx, head: Request, data: &[u8], trailer: &str) -> Result<Answer, Failure> {
    let mut wire = ctx.connect().await?;
    wire.send_head(&head.chunked().header("Trailer", "Upload-Checksum")).await?;
    for piece in data.chunks(7000) {
        wire.send(&chunk(piece)).await?;
    }
    wire.send(format!("0\r\n{trailer}\r\n").as_bytes()).await?;
    wire.answer().await
}

async fn verifies_the_trailer(ctx: &Ctx) -> CaseResult {
    for algorithm in algorithms(ctx) {
        let (upload, body) = ctx.tus_begun(100_000, 400).await?;
        let rest = body.slice(400..);
        let trailer = format!("Upload-Checksum: {}\r\n", claim(algorithm, &rest)?);
        let answer = with_trailer(ctx, upload.patch_at(400), &rest, &trailer).await?;
        answer.expect_status(204).at(algorithm)?;
        expect_eq("Upload-Offset", &100_000, &answer.number("upload-offset")?)?;
        ctx.expect_tus_content(&upload, &body).await.at(algorithm)?;
    }
    Ok(())
}

async fn discards_by_trailer(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100_000, 400).await?;
    let trailer = format!("Upload-Checksum: {}\r\n", claim("sha1", b"other bytes")?);
    let answer = with_trailer(ctx, upload.patch_at(400), &body.slice(400..), &trailer).await?;
    answer.expect_status(460)?;
    ctx.expect_tus_offset(&upload, 400).await?;
    ctx.tus_finish(&upload, &body, 400).await
}

async fn misses_the_trailer(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100_000, 400).await?;
    for (what, trailer) in [
        ("no trailer", ""),
        ("another trailer", "X-Other: 1\r\n"),
        ("an algorithm that is not offered", "Upload-Checksum: whirlpool AAAA\r\n"),
    ] {
        let answer = with_trailer(ctx, upload.patch_at(400), &body.slice(400..), trailer).await?;
        answer.expect_refused().at(what)?;
        ctx.expect_tus_offset(&upload, 400).await.at(what)?;
    }
    ctx.tus_finish(&upload, &body, 400).await
}

async fn cut_before_trailer(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100_000, 400).await?;
    let head = upload.patch_at(400).chunked().header("Trailer", "Upload-Checksum");
    let sent: Vec<u8> = body.slice(400..).chunks(7000).flat_map(chunk).collect();
    let wire = ctx.stalled(&head, &sent).await?;
    ctx.expect_tus_offset(&upload, 400).await.at("while it lasts")?;
    wire.reset()?;
    ctx.await_tus_offset(&upload, 400).await.at("after the cut")?;
    let answer = ctx.tus_head(&upload).await?;
    expect(answer.number("upload-length")? == 100_000, "the length as it was", answer.summary())?;
    ctx.tus_finish(&upload, &body, 400).await
}

#[cfg(test)]
mod tests {
    use super::claim;

    #[test]
    fn claims_match_the_known_vectors() {
        assert_eq!(claim("sha1", b"hello world").unwrap(), "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
        assert_eq!(claim("md5", b"").unwrap(), "md5 1B2M2Y8AsgTpgAmY7PhCfg==");
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(claim("crc32c", &[0; 32]).unwrap(), "crc32c ipE2qg==");
        assert_eq!(claim("crc32", b"123456789").unwrap(), "crc32 y/Q5Jg==");
        assert!(claim("whirlpool", b"").is_err());
    }
}
