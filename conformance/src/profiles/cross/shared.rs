//! What every dialect must agree upon.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::case::{Case, CaseResult, Step as _, case, expect_eq};
use crate::ctx::{Ctx, noise};
use crate::tus::{Resource, VERSION, slice};

use super::{FIRST, PLAIN, RANGED, SECOND, SIZE, Shared, TUS, WRITERS, Write, expect_prompt, name};

pub(super) const CASES: &[Case] = &[
    case!(["DIA-72"], "every dialect tells the same offset", offsets_agree),
    case!(["DIA-73"], "a slot that nothing was sent to is a tus upload at 0", fresh_slot_is_a_tus_upload),
    case!(["DIA-96"], "a DELETE whose If-Match does not hold removes nothing", delete_honours_conditions),
    case!(
        ["DIA-95"],
        "a slot of no bytes is complete for a tus client that asks",
        empty_slot_is_complete_for_tus
    ),
    case!(
        ["DIA-81"],
        "a PATCH without a length is judged by a half-open first writer's",
        length_of_the_writer_counts
    ),
    case!(
        ["DIA-80"],
        "the first PATCH to a slot names the length that its MAC signs",
        first_patch_names_the_length
    ),
    case!(
        ["DIA-74"],
        "a half-open writer of any dialect is taken over by any other, at a slot",
        takes_over_at_slot
    ),
    case!(
        ["DIA-74"],
        "a half-open writer of any dialect is taken over by any other, at a tus upload",
        takes_over_at_files
    ),
    case!(["DIA-75"], "what one dialect completed is complete in all", completion_is_shared),
    case!(
        ["DIA-76"],
        "a tus request at a slot needs the slot's credential",
        slot_asks_tus_for_its_credential
    ),
    case!(["DIA-77"], "a slot that a tus client deleted is gone in every dialect", deletion_is_shared),
    case!(["DIA-78"], "a plain PUT starts a tus upload anew with other bytes", plain_put_supersedes),
    case!(["DIA-79"], "the length of the upload binds every dialect", length_binds_all),
];

async fn both(ctx: &Ctx) -> Result<[(&'static str, Shared); 2], crate::case::Failure> {
    Ok([("slot", Shared::slot(ctx)?), ("tus upload", Shared::files(ctx).await?)])
}

async fn offsets_agree(ctx: &Ctx) -> CaseResult {
    for begun in WRITERS {
        for (place, shared) in both(ctx).await? {
            shared.cut(ctx, begun, 0, FIRST).await?;
            shared.await_offset(ctx, TUS, FIRST).await?;
            for asked in WRITERS {
                let step = format!("{place} begun by {}", name(begun));
                shared.expect_offset(ctx, asked, FIRST).await.at(step)?;
            }
        }
    }
    Ok(())
}

async fn fresh_slot_is_a_tus_upload(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = slot.claims("video/mp4").sign(ctx.secret()?)?;
    let upload = Resource::at(format!("{}?token={token}", slot.url));
    let answer = ctx.tus_head(&upload).await?;
    answer.expect_header("tus-resumable", VERSION)?;
    expect_eq("Upload-Offset", &0, &answer.number("upload-offset")?)?;
    expect_eq("Upload-Length", &(SIZE as u64), &answer.number("upload-length")?)?;
    for (from, to) in [(0, FIRST), (FIRST, SIZE)] {
        ctx.expect_patched(&upload.patch(&body, from, to), to).await?;
    }
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn empty_slot_is_complete_for_tus(ctx: &Ctx) -> CaseResult {
    for by_head in [true, false] {
        let slot = ctx.slot("empty.txt", 0)?;
        let token = slot.claims("text/plain").sign(ctx.secret()?)?;
        let upload = Resource::at(format!("{}?token={token}", slot.url));
        if by_head {
            let answer = ctx.tus_head(&upload).await?;
            expect_eq("Upload-Offset", &0, &answer.number("upload-offset")?)?;
            expect_eq("Upload-Length", &0, &answer.number("upload-length")?)?;
        } else {
            ctx.expect_patched(&upload.patch_at(0).body(""), 0).await?;
        }
        ctx.expect_served(&slot, b"").await.at(if by_head { "after HEAD" } else { "after PATCH" })?;
    }
    // Without a credential nothing comes into being.
    let slot = ctx.slot("empty.txt", 0)?;
    ctx.send(&Resource::at(slot.url.clone()).head()).await?.expect_refused()?;
    ctx.expect_not_served(&slot).await
}

async fn first_patch_names_the_length(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let secret = ctx.secret()?;
    let upload = Resource::at(format!("{}?v={}", slot.url, crate::token::v1(secret, &slot.path, slot.size)?));
    ctx.send(&upload.patch(&body, 0, FIRST)).await?.expect_status(411).at("without Upload-Length")?;
    let wrong = upload.patch(&body, 0, FIRST).header("Upload-Length", SIZE + 1);
    ctx.send(&wrong).await?.expect_status(403).at("with another Upload-Length")?;
    ctx.expect_patched(&upload.patch(&body, 0, FIRST).header("Upload-Length", SIZE), FIRST).await?;
    ctx.expect_patched(&upload.patch(&body, FIRST, SIZE), SIZE).await.at("later, without Upload-Length")?;
    ctx.expect_served(&slot, &body).await?;
    Ok(())
}

async fn take_over(ctx: &Ctx, place: &str, shared: &Shared, [old, new]: [char; 2]) -> CaseResult {
    let step = format!("{place}, {} by {}", name(old), name(new));
    let mut writer = shared.half_open(ctx, old, 0, FIRST).await.at(&step)?;
    let start = Instant::now();
    if new == TUS {
        // As a stock client does.
        shared.expect_offset(ctx, TUS, FIRST).await.at(&step)?;
    }
    shared.rest(ctx, new, FIRST).await.at(&step)?;
    expect_prompt(start).at(&step)?;
    // Wrong bytes; the target may have closed the socket already.
    let _closed_already = writer.send(&[0x55; 5000]).await;
    writer.expect_given_up(Duration::from_secs(5)).await.at(&step)?;
    sleep(Duration::from_millis(50)).await;
    shared.expect_served(ctx).await.at(&step)
}

async fn takes_over_at_slot(ctx: &Ctx) -> CaseResult {
    for old in WRITERS {
        for new in WRITERS {
            take_over(ctx, "slot", &Shared::slot(ctx)?, [old, new]).await?;
        }
    }
    Ok(())
}

async fn takes_over_at_files(ctx: &Ctx) -> CaseResult {
    for old in WRITERS {
        for new in WRITERS {
            take_over(ctx, "tus upload", &Shared::files(ctx).await?, [old, new]).await?;
        }
    }
    Ok(())
}

async fn length_of_the_writer_counts(ctx: &Ctx) -> CaseResult {
    for old in WRITERS {
        let shared = Shared::slot(ctx)?;
        let _writer = shared.half_open(ctx, old, 0, FIRST).await.at(name(old))?;
        shared.rest(ctx, TUS, FIRST).await.at(name(old))?;
        shared.expect_served(ctx).await.at(name(old))?;
    }
    Ok(())
}

async fn completion_is_shared(ctx: &Ctx) -> CaseResult {
    for ended in WRITERS {
        for (place, shared) in both(ctx).await? {
            let step = format!("{place} ended by {}", name(ended));
            shared.rest(ctx, ended, 0).await.at(&step)?;
            shared.expect_offset(ctx, TUS, SIZE).await.at(&step)?;
            let query = shared.request("PUT").header("Content-Range", format_args!("bytes */{SIZE}"));
            ctx.send(&query).await?.expect_status(201).at(&step)?;
            // A client of another dialect that repeats its last request hears what its protocol has for that.
            shared.rest(ctx, RANGED, SECOND).await.at(&step)?;
            let again = shared.head(TUS, SECOND).body(slice(&shared.body, SECOND, SIZE));
            ctx.send(&again).await?.expect_status(409).at(format_args!("{step}, then the PATCH again"))?;
            let anew = shared.head(PLAIN, 0).body(vec![0x55; SIZE]);
            ctx.send(&anew).await?.expect_status(409).at(format_args!("{step}, then a plain PUT"))?;
            shared.expect_served(ctx).await.at(&step)?;
        }
    }
    Ok(())
}

async fn slot_asks_tus_for_its_credential(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let bare = Resource::at(slot.url.clone());
    let wrong = Resource::at(format!(
        "{}?v={}",
        slot.url,
        crate::token::v1(b"another secret", &slot.path, slot.size)?
    ));
    ctx.secret()?;
    let patch = |upload: &Resource, from| upload.patch(&body, from, SIZE).header("Upload-Length", SIZE);
    ctx.send(&patch(&bare, 0)).await?.expect_status(401).at("a first PATCH without a credential")?;
    ctx.send(&patch(&wrong, 0)).await?.expect_status(403).at("a first PATCH with a wrong one")?;
    let shared = Shared { write: Write::Slot(slot), body: body.clone() };
    shared.cut(ctx, TUS, 0, FIRST).await?;
    shared.await_offset(ctx, TUS, FIRST).await?;
    for (credential, upload, status) in [("no", &bare, 401), ("a wrong", &wrong, 403)] {
        for (verb, request) in [("PATCH", patch(upload, FIRST)), ("DELETE", upload.request("DELETE"))] {
            let step = format!("{verb} with {credential} credential");
            ctx.send(&request).await?.expect_status(status).at(step)?;
        }
    }
    shared.expect_offset(ctx, TUS, FIRST).await
}

async fn deletion_is_shared(ctx: &Ctx) -> CaseResult {
    for (place, shared) in both(ctx).await? {
        shared.cut(ctx, PLAIN, 0, FIRST).await?;
        shared.await_offset(ctx, TUS, FIRST).await?;
        ctx.send(&shared.tus("DELETE")).await?.expect_status(204).at(place)?;
        for (what, request) in [
            ("GET", shared.get()),
            ("HEAD", shared.request("HEAD")),
            ("HEAD of tus", shared.tus("HEAD")),
            ("ranged PUT", shared.head(RANGED, FIRST).body(shared.body.slice(FIRST..))),
            ("tus PATCH", shared.head(TUS, FIRST).body(shared.body.slice(FIRST..))),
            ("plain PUT", shared.head(PLAIN, 0).body(shared.body.clone())),
        ] {
            let answer = ctx.send(&request).await?;
            answer.expect_status_in(&[404, 410]).at(format_args!("{what} of a deleted {place}"))?;
        }
    }
    Ok(())
}

async fn plain_put_supersedes(ctx: &Ctx) -> CaseResult {
    let shared = Shared::files(ctx).await?;
    shared.cut(ctx, TUS, 0, SECOND).await?;
    shared.await_offset(ctx, TUS, SECOND).await?;
    let anew = Shared { body: noise("anew", SIZE), ..shared };
    // A new beginning that is cut sooner than the old one: the offset is its own.
    anew.cut(ctx, PLAIN, 0, FIRST).await?;
    anew.await_offset(ctx, TUS, FIRST).await?;
    anew.rest(ctx, TUS, FIRST).await?;
    anew.expect_served(ctx).await
}

async fn length_binds_all(ctx: &Ctx) -> CaseResult {
    for (place, shared) in both(ctx).await? {
        shared.cut(ctx, RANGED, 0, FIRST).await?;
        shared.await_offset(ctx, TUS, FIRST).await?;
        let longer = shared.body.len() + 1;
        let surplus = || [shared.body.slice(FIRST..).as_ref(), b"x"].concat();
        let range = format!("bytes {FIRST}-{}/{longer}", longer - 1);
        for (what, request) in [
            ("ranged PUT", shared.request("PUT").header("Content-Range", range).body(surplus())),
            ("tus PATCH", shared.head(TUS, FIRST).body(surplus())),
            (
                "tus PATCH with a length",
                shared.head(TUS, FIRST).header("Upload-Length", longer).body(surplus()),
            ),
            ("plain PUT", shared.request("PUT").body(vec![0x55; longer])),
        ] {
            ctx.send(&request).await?.expect_refused().at(format_args!("{what} of a longer {place}"))?;
            shared.expect_offset(ctx, TUS, FIRST).await.at(format_args!("{place} after {what}"))?;
        }
        shared.rest(ctx, TUS, FIRST).await?;
        shared.expect_served(ctx).await?;
    }
    Ok(())
}

async fn delete_honours_conditions(ctx: &Ctx) -> CaseResult {
    let (upload, body) = ctx.tus_begun(100, 40).await?;
    for delete in [upload.request("DELETE"), upload.plain("DELETE")] {
        let answer = ctx.send(&delete.clone().header("If-Match", "\"some-tag\"")).await?;
        answer.expect_status(412)?;
        ctx.expect_tus_offset(&upload, 40).await?;
    }
    ctx.send(&upload.request("DELETE").header("If-Match", "*"))
        .await?
        .expect_status(204)
        .at("If-Match: *")?;
    ctx.expect_gone(&upload).await?;
    drop(body);
    Ok(())
}
