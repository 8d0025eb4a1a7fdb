//! Strict append: nothing but the next byte is ever taken, and only from those who may write.

use std::time::Duration;

use crate::case::{Case, CaseResult, Step as _, case};
use crate::ctx::{Ctx, noise};

use super::{begin, expect_mismatch, expect_offset, finish, part, range};

const SIZE: usize = 3000;
const AT_ONCE: Duration = Duration::from_secs(3);

pub(super) const CASES: &[Case] = &[
    case!(["CRG-62"], "conditions that do not hold are answered 412", honours_conditions),
    case!(["CRG-22"], "a range beyond the offset is answered 416 with the offset", refuses_gaps),
    case!(["CRG-23"], "a range before the offset is answered 416 with the offset", refuses_overlaps),
    case!(["CRG-24"], "a wrong offset is refused before the body is read, and instead of 100", refuses_early),
    case!(["CRG-25"], "the last range repeated after completion is answered 201, unread", repeats_completion),
    case!(["CRG-26"], "no other range reaches a complete upload", complete_stays),
    case!(["CRG-27"], "the granted size is the file's, not the range's", grants_the_whole),
    case!(["CRG-28"], "a range needs a credential as a whole file does", needs_a_credential),
    case!(["CRG-29"], "400 and 416 carry problem documents, readable across origins", refusals_are_problems),
];

async fn refuses_gaps(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    expect_mismatch(&ctx.send(&range(&slot, &body, 1, 999)).await?, 0).at("before the first byte")?;
    begin(ctx, &slot, &body, 1000).await?;
    for (first, last) in [(1001, 1999), (2000, 2999), (2999, 2999)] {
        let answer = ctx.send(&range(&slot, &body, first, last)).await?;
        expect_mismatch(&answer, 1000).at(format_args!("{first}-{last}"))?;
    }
    finish(ctx, &slot, &body, 1000).await
}

async fn refuses_overlaps(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    for (first, last) in [(0, 999), (999, 1999), (500, 700), (0, 2999)] {
        let answer = ctx.send(&range(&slot, &body, first, last)).await?;
        expect_mismatch(&answer, 1000).at(format_args!("{first}-{last}"))?;
    }
    finish(ctx, &slot, &body, 1000).await
}

async fn refuses_early(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let head = slot.put().header("Content-Range", "bytes 2000-2999/3000").length(1000);
    let mut wire = ctx.connect().await?;
    wire.send_head(&head).await?;
    expect_mismatch(&wire.answer_within(AT_ONCE).await?, 1000)?;
    let mut wire = ctx.connect().await?;
    wire.send_head(&head.header("Expect", "100-continue")).await?;
    expect_mismatch(&wire.any_answer().await?, 1000).at("with Expect: 100-continue")?;
    // At the right offset the body is asked for.
    let mut wire = ctx.connect().await?;
    let right = slot.put().header("Content-Range", "bytes 1000-2999/3000").length(2000);
    wire.send_head(&right.header("Expect", "100-continue")).await?;
    wire.any_answer().await?.expect_status(100)?;
    wire.send(&part(&body, 1000, 2999)).await?;
    wire.answer().await?.expect_status(201)?;
    Ok(())
}

async fn repeats_completion(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    finish(ctx, &slot, &body, 1000).await?;
    for first in [1000, 0, 2999] {
        let field = format!("bytes {first}-2999/3000");
        let mut wire = ctx.connect().await?;
        wire.send_head(&slot.put().header("Content-Range", &field).length(3000 - first)).await?;
        wire.answer_within(AT_ONCE).await.at(&field)?.expect_status(201).at(&field)?;
    }
    let other = noise("other content", SIZE);
    ctx.send(&range(&slot, &other, 0, SIZE - 1)).await?.expect_status(201).at("with other bytes")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn complete_stays(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.uploaded("photo.jpg", SIZE).await?;
    let other = noise("other content", SIZE);
    for (first, last) in [(0, 999), (1000, 1999), (2998, 2998)] {
        let answer = ctx.send(&range(&slot, &other, first, last)).await?;
        answer.expect_status_in(&[409, 416]).at(format_args!("{first}-{last}"))?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn grants_the_whole(ctx: &Ctx) -> CaseResult {
    ctx.secret()?;
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    let part_only = ctx.resized(&slot, 1000)?;
    let put = part_only.put().header("Content-Range", "bytes 0-999/3000").body(part(&body, 0, 999));
    ctx.send(&put).await?.expect_status(403).at("a credential for the range's length")?;
    let inflated = slot.put().header("Content-Range", "bytes 0-999/4000").body(part(&body, 0, 999));
    ctx.send(&inflated).await?.expect_status(403).at("a total beyond the credential's size")?;
    ctx.send(&slot.head()).await?.expect_status(404).at("HEAD after nothing but refusals")?;
    begin(ctx, &slot, &body, 1000).await?;
    finish(ctx, &slot, &body, 1000).await
}

async fn needs_a_credential(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let wrong = format!("v={}", "0".repeat(64));
    for (query, status) in [("", 401), (wrong.as_str(), 403)] {
        let put = slot
            .put_with(query)
            .header("Content-Range", "bytes 1000-1999/3000")
            .body(part(&body, 1000, 1999));
        ctx.send(&put).await?.expect_status(status).at("a range")?;
        let ask = slot.put_with(query).header("Content-Range", "bytes */3000");
        ctx.send(&ask).await?.expect_status(status).at("a question")?;
    }
    expect_offset(ctx, &slot, 1000).await?;
    finish(ctx, &slot, &body, 1000).await
}

async fn refusals_are_problems(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", SIZE)?;
    begin(ctx, &slot, &body, 1000).await?;
    let gap = range(&slot, &body, 2000, 2999);
    let nonsense = slot.put().header("Content-Range", "bytes x-y/z").body(part(&body, 0, 9));
    for (request, status) in [(gap, 416), (nonsense, 400)] {
        let answer = ctx.send(&request.header("Origin", "https://web.example")).await?;
        answer.expect_status(status)?.expect_problem().at(status)?;
        answer.require("access-control-allow-origin").at(status)?;
        answer
            .expect_members("access-control-expose-headers", &["content-range", "upload-offset"])
            .at(status)?;
    }
    Ok(())
}

async fn honours_conditions(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("photo.jpg", 3000)?;
    begin(ctx, &slot, &body, 1000).await?;
    for tag in ["*", "\"some-tag\""] {
        let next = range(&slot, &body, 1000, 1999).header("If-Match", tag);
        ctx.send(&next).await?.expect_status(412).at(format_args!("If-Match: {tag}"))?;
        expect_offset(ctx, &slot, 1000).await?;
    }
    let rest = range(&slot, &body, 1000, 2999);
    let answer = ctx.send(&rest.clone().header("If-None-Match", "*")).await?;
    let tag = answer.expect_status(201)?.require("etag")?.to_owned();
    ctx.send(&rest.clone().header("If-Match", &tag)).await?.expect_status(201).at("its own tag")?;
    for (field, value) in
        [("If-Match", "\"some-tag\""), ("If-None-Match", "*"), ("If-None-Match", tag.as_str())]
    {
        let repeated = rest.clone().header(field, value);
        ctx.send(&repeated).await?.expect_status(412).at(format_args!("{field}: {value}"))?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}
