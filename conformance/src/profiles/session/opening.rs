//! The first answer after a good credential names a session.

use crate::case::{Case, CaseResult, Failure, Need, Step as _, case, expect, expect_eq};
use crate::ctx::Ctx;
use crate::http::{Answer, Request};
use crate::session::{
    SESSION_ID, asking, bare, expect_denied, expect_no_session, list_in, patch, plain, ranged, session_of,
    tus,
};
use crate::token::{self, Claims};
use crate::tus::resolve;

use super::{HALF, HOUR, SIZE};

pub(super) const CASES: &[Case] = &[
    case!(["SES-1"], "answers to a slot token name a session, in every dialect", names_a_session),
    case!(["SES-1"], "a token of every form opens a session", every_scheme_opens),
    case!(["SES-1"], "errors behind a good token name the session", errors_name_the_session),
    case!(
        ["SES-1"],
        "a creation by grant names a session",
        creation_names_a_session,
        needs & [Need::GrantedCreation]
    ),
    case!(["SES-2"], "a plain PUT is told its kind and its location", plain_put_is_told_its_kind),
    case!(["SES-6"], "requests without credential, or with a refused one, get no session", refused_get_none),
    case!(["SES-9"], "an upload that is gone gets no session", gone_gets_none),
    case!(["SES-8"], "the session of a complete plain PUT lives on once it is named", lives_on_once_named),
    case!(["SES-7"], "answers that name a session are not stored", are_not_stored),
];

/// What SES-1 asks of an answer; the upload's id.
fn expect_session(answer: &Answer, status: &str) -> Result<String, Failure> {
    session_of(answer)?;
    let timeout = answer.number("x-upload-session-timeout")?;
    expect((1..=72 * 3600).contains(&timeout), "a timeout of 1 s to 72 h", timeout)?;
    answer.expect_header("x-upload-status", status)?;
    let upload = answer.require("x-upload-id")?;
    expect(!upload.is_empty(), "an id in X-Upload-ID", "an empty one")?;
    Ok(upload.to_owned())
}

async fn names_a_session(ctx: &Ctx) -> CaseResult {
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = ctx.live(&slot)?;
    let request = |method| bare(&slot, method).bearer(&token);
    let steps: [(&str, Request, u16, &str); 7] = [
        ("a range", ranged(request("PUT"), &body, 0, 100), 308, "incomplete"),
        ("bytes */S", asking(request("PUT"), SIZE), 308, "incomplete"),
        ("HEAD", request("HEAD"), 204, "incomplete"),
        ("HEAD of tus", tus(request("HEAD")), 200, "incomplete"),
        ("PATCH", patch(request("PATCH"), &body, 100, HALF), 204, "incomplete"),
        ("the last range", ranged(request("PUT"), &body, HALF, SIZE), 201, "complete"),
        ("bytes */S of all", asking(request("PUT"), SIZE), 201, "complete"),
    ];
    let mut uploads = Vec::new();
    for (what, request, status, progress) in steps {
        let answer = ctx.send(&request).await?;
        answer
            .expect_status_in(if status == 200 { &[200, 204] } else { std::slice::from_ref(&status) })
            .at(what)?;
        uploads.push(expect_session(&answer, progress).at(what)?);
    }
    uploads.dedup();
    expect_eq("different X-Upload-ID of one upload", &1, &uploads.len())?;
    let (slot, body) = ctx.file("film.mp4", SIZE)?;
    let token = ctx.live(&slot)?;
    let answer = ctx.send(&plain(bare(&slot, "PUT").bearer(&token), &body)).await?;
    answer.expect_status(201).at("plain PUT")?;
    let upload = expect_session(&answer, "complete").at("plain PUT")?;
    expect(!uploads.contains(&upload), "another X-Upload-ID for another upload", upload)
}

async fn every_scheme_opens(ctx: &Ctx) -> CaseResult {
    let secret = ctx.secret()?;
    for scheme in ["v", "v2", "token", "jwt"] {
        let (slot, body) = ctx.file("photo.jpg", 300)?;
        let query = match scheme {
            "v" => format!("v={}", token::v1(secret, &slot.path, 300)?),
            "jwt" => format!("token={}", ctx.live(&slot)?),
            name => format!("{name}={}", token::v2(secret, &slot.path, 300, "image/jpeg")?),
        };
        let put = slot.put_with(&query).header("Content-Type", "image/jpeg");
        let answer = ctx.send(&put.body(body)).await?;
        answer.expect_status(201).at(scheme)?;
        expect_session(&answer, "complete").at(scheme)?;
    }
    Ok(())
}

async fn errors_name_the_session(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.live(&held.slot)?;
    let request = |method| held.bare(method).bearer(&token);
    for (what, wrong, status) in [
        ("a range at a wrong offset", ranged(request("PUT"), &held.body, HALF + 1, SIZE), 416),
        ("a PATCH at a wrong offset", patch(request("PATCH"), &held.body, HALF + 1, SIZE), 409),
    ] {
        let answer = ctx.send(&wrong).await?;
        answer.expect_status(status).at(what)?;
        expect_eq("X-Upload-ID", &held.upload, &expect_session(&answer, "incomplete").at(what)?).at(what)?;
    }
    ctx.finish_by(&held, request("PUT")).await?;
    let again = ctx.send(&plain(request("PUT"), &held.body)).await?;
    again.expect_status(409).at("a plain PUT of what is complete")?;
    expect_session(&again, "complete").at("a plain PUT of what is complete")?;
    Ok(())
}

async fn creation_names_a_session(ctx: &Ctx) -> CaseResult {
    let answer = ctx.send(&ctx.creation(SIZE)).await?;
    answer.expect_status(201)?;
    expect_session(&answer, "incomplete")?;
    Ok(())
}

async fn plain_put_is_told_its_kind(ctx: &Ctx) -> CaseResult {
    for query in [true, false] {
        let (slot, body) = ctx.file("très cool.jpg", SIZE)?;
        let put = if query { slot.put() } else { bare(&slot, "PUT").bearer(&ctx.live(&slot)?) };
        let answer = ctx.send(&put.body(body.clone())).await?;
        answer.expect_status(201)?.expect_header("x-upload-type", "legacy-xmpp")?;
        let location = answer.require("location")?;
        expect(!location.contains(['?', '#']), "a location without a credential", location)?;
        let url = resolve(&slot.url, location)?;
        let download = ctx.send(&Request::new("GET", url)).await.at("GET of the location")?;
        download.expect_status(200).at("GET of the location")?;
        crate::case::expect_bytes("the download", &body, &download.body)?;
    }
    Ok(())
}

async fn gone_gets_none(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.live(&held.slot)?;
    let gone = ctx.send(&held.bare("DELETE").bearer(&token)).await?;
    gone.expect_status(204)?;
    expect_no_session(&gone).at("the DELETE")?;
    for (what, request) in [
        ("a plain PUT", plain(held.bare("PUT").bearer(&token), &held.body)),
        ("a range", ranged(held.bare("PUT").bearer(&token), &held.body, HALF, SIZE)),
        ("bytes */S", asking(held.bare("PUT").bearer(&token), SIZE)),
        ("the session", asking(held.bare("PUT").header(SESSION_ID, &held.session), SIZE)),
    ] {
        let answer = ctx.send(&request).await?;
        answer.expect_status(410).at(what)?;
        expect_no_session(&answer).at(what)?;
    }
    Ok(())
}

async fn lives_on_once_named(ctx: &Ctx) -> CaseResult {
    let put = async |session: Option<&str>| {
        let (slot, body) = ctx.file("photo.jpg", SIZE)?;
        let put = bare(&slot, "PUT").bearer(&ctx.live(&slot)?).body(body);
        let put = if let Some(id) = session { put.header(SESSION_ID, id) } else { put };
        let answer = ctx.send(&put).await?;
        answer.expect_status(201)?;
        Ok::<_, Failure>((session_of(&answer)?.to_owned(), answer.number("x-upload-session-timeout")?))
    };
    let (id, timeout) = put(None).await?;
    expect((1..=3600).contains(&timeout), "an hour to be named", timeout)?;
    let (again, timeout) = put(Some(&id)).await.at("the next PUT")?;
    expect_eq("X-Session-ID", &id, &again)?;
    expect(timeout > 3600, "more than an hour once it was named", timeout)?;
    let document = ctx.session_document(&id).await?;
    expect_eq("uploads", &2, &list_in(&document, "uploads")?.len())
}

async fn refused_get_none(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let claims = held.slot.claims("video/mp4");
    let forged = claims.sign(b"not the secret of this server")?;
    let other_slot = Claims { slot: crate::ctx::unique(), ..claims.clone() }.sign(ctx.secret()?)?;
    let other_size = Claims { filesize: claims.filesize + 1, ..claims }.sign(ctx.secret()?)?;
    let expired = ctx.expired(&held.slot, HOUR)?;
    let rest = |request| ranged(request, &held.body, HALF, SIZE);
    for (what, request) in [
        ("no credential", held.bare("PUT")),
        ("a forged token", held.bare("PUT").bearer(&forged)),
        ("a token of another slot", held.bare("PUT").bearer(&other_slot)),
        ("a token of another size", held.bare("PUT").bearer(&other_size)),
        ("an expired token", held.bare("PUT").bearer(&expired)),
        ("a wrong MAC", held.slot.put_with(&format!("v={}", "0".repeat(64)))),
    ] {
        expect_denied(&ctx.send(&rest(request)).await?).at(what)?;
    }
    let head = ctx.send(&held.bare("HEAD")).await?;
    head.expect_status(204).at("HEAD by the URL")?;
    expect_no_session(&head).at("HEAD by the URL")?;
    ctx.expect_untouched(&held).await?;
    let download = ctx.send(&held.slot.get()).await?;
    expect_no_session(&download).at("a download")
}

async fn are_not_stored(ctx: &Ctx) -> CaseResult {
    let held = ctx.held(SIZE, HALF).await?;
    let token = ctx.live(&held.slot)?;
    let request = |method| held.bare(method).bearer(&token);
    for (what, request) in [
        ("HEAD", request("HEAD")),
        ("HEAD of tus", tus(request("HEAD"))),
        ("PATCH", patch(request("PATCH"), &held.body, HALF, HALF + 100)),
        ("recovery", asking(held.with_session("PUT"), SIZE)),
        ("refresh", ctx.session_request("POST", "/refresh", &held.session)),
        ("a range at a wrong offset", ranged(request("PUT"), &held.body, 0, SIZE)),
        ("the last range", ranged(request("PUT"), &held.body, HALF + 100, SIZE)),
        ("GET of the session", ctx.session_request("GET", "", &held.session)),
    ] {
        let answer = ctx.send(&request).await?;
        answer.expect_members("cache-control", &["no-store"]).at(what)?;
    }
    let (slot, body) = ctx.file("photo.jpg", 100)?;
    ctx.send(&slot.put().body(body)).await?.expect_members("cache-control", &["no-store"]).at("plain PUT")?;
    Ok(())
}
