//! Upload-Metadata: checked at creation, kept as it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::case::{Case, CaseResult, Step as _, case, expect};
use crate::ctx::Ctx;
use crate::tus::expect_not_created;

pub(super) const CASES: &[Case] = &[
    case!(["TUS-33"], "metadata that breaks the rules is answered 400", refuses_bad_metadata),
    case!(["TUS-33"], "metadata may have empty values, with the space or without", takes_empty_values),
    case!(["TUS-120"], "metadata has a bound on its bytes and on its pairs", bounds_metadata),
    case!(["TUS-124"], "the media type may be named filetype, type or mime_type", knows_names_of_the_type),
    case!(["TUS-37"], "HEAD tells the metadata byte for byte", tells_them_verbatim),
    case!(["TUS-39"], "metadata reaches no header of a download unsanitised", smuggles_nothing),
];

async fn refuses_bad_metadata(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&ctx.creation(5)).await?;
    for value in [
        ",",
        "filename d29ybGQ=,",
        ",filename d29ybGQ=",
        "filename d29ybGQ=,,is_confidential",
        "filename d29ybGQ=,filename d29ybGQ=",
        "filename not-base64!",
        "filename d29ybGQ= d29ybGQ=",
        "fil\u{e9}name d29ybGQ=",
    ] {
        let answer = ctx.send(&ctx.creation(1).header("Upload-Metadata", value)).await?;
        answer.expect_status(400).at(format_args!("Upload-Metadata: {value:?}"))?;
        expect_not_created(&answer)?;
    }
    Ok(())
}

async fn takes_empty_values(ctx: &Ctx) -> CaseResult {
    for value in ["is_confidential", "a,b,c", "is_confidential,filename d29ybGQ="] {
        let created = ctx.send(&ctx.creation(1).header("Upload-Metadata", value)).await?;
        ctx.resource(&created).at(format_args!("Upload-Metadata: {value:?}"))?;
    }
    // The space may stay where the value is empty, but only inside does it reach a server.
    let created = ctx.send(&ctx.creation(1).header("Upload-Metadata", "empty ,filename d29ybGQ=")).await?;
    ctx.resource(&created).at("an empty value behind its space")?;
    Ok(())
}

async fn bounds_metadata(ctx: &Ctx) -> CaseResult {
    let pairs = |count: usize| (0..count).map(|n| format!("k{n} Yg==")).collect::<Vec<_>>().join(",");
    let long = |bytes: usize| format!("k {}", "A".repeat(bytes - 2));
    for good in [pairs(64), long(8190)] {
        ctx.create(&ctx.creation(1).header("Upload-Metadata", &good)).await?;
    }
    for bad in [pairs(65), long(8194)] {
        let answer = ctx.send(&ctx.creation(1).header("Upload-Metadata", &bad)).await?;
        answer.expect_refused()?;
        expect_not_created(&answer)?;
    }
    Ok(())
}

async fn knows_names_of_the_type(ctx: &Ctx) -> CaseResult {
    for key in ["filetype", "type", "mime_type"] {
        let value = format!("{key} {}", STANDARD.encode("image/png"));
        let upload = ctx.create(&ctx.creation(1).header("Upload-Metadata", &value)).await?;
        ctx.expect_patched(&upload.patch_at(0).body("x"), 1).await?;
        let answer = ctx.send(&upload.plain("GET")).await?;
        answer.expect_header("content-type", "image/png").at(key)?;
    }
    Ok(())
}

async fn tells_them_verbatim(ctx: &Ctx) -> CaseResult {
    let binary: Vec<u8> = (0..=255).collect();
    for value in [
        "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential".to_owned(),
        format!("blob {}", STANDARD.encode(binary)),
        format!("filename {}", STANDARD.encode("très cool 🙂.jpg")),
        "Zebra YQ==,apple Yg==,Mango Yw==".to_owned(),
        "k!#$%&'*+-.^_`|~;:@/[]{}()=?<>\" YQ==".to_owned(),
        format!("long {}", STANDARD.encode([b'x'; 2000])),
    ] {
        let upload = ctx.create(&ctx.creation(4).header("Upload-Metadata", &value)).await?;
        let short: String = value.chars().take(40).collect();
        for offset in [0, 2, 4] {
            if offset > 0 {
                ctx.expect_patched(&upload.patch_at(offset - 2).body("ab"), offset).await?;
            }
            let answer = ctx.tus_head(&upload).await?;
            answer.expect_header("upload-metadata", &value).at(format_args!("{short} at {offset}"))?;
        }
    }
    Ok(())
}

async fn smuggles_nothing(ctx: &Ctx) -> CaseResult {
    // Refusing counts for something only where the good one is taken.
    ctx.create(&ctx.creation(5)).await?;
    for name in
        ["a\r\nX-Smuggled: yes\r\n\r\n", "a\"; X-Smuggled=\"yes", "a\nX-Smuggled: yes", "../../x-smuggled\0"]
    {
        for key in ["filename", "name", "filetype", "type", "contentType", "content-type"] {
            let value = format!("{key} {}", STANDARD.encode(name));
            let answer = ctx.send(&ctx.creation(1).header("Upload-Metadata", &value)).await?;
            if answer.status != 201 {
                expect_not_created(&answer).at(key)?;
                continue;
            }
            let upload = ctx.resource(&answer)?;
            ctx.expect_patched(&upload.patch_at(0).body("x"), 1).await?;
            for method in ["GET", "HEAD"] {
                let answer = ctx.send(&upload.plain(method)).await?;
                answer.expect_no_header("x-smuggled").at(format_args!("{key} in {method}"))?;
                expect(answer.status < 500, "no fault", answer.summary())
                    .at(format_args!("{key} in {method}"))?;
            }
        }
    }
    Ok(())
}
