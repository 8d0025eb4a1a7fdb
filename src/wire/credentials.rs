//! From a request to a [`Grant`], and from what is wrong with it to an answer.
//!
//! ```text
//!   granted ── consider: credential ─┬─ good ─────────────────────────────────────────────────┐
//!                                    ├─ expired, or none, and a session is named: by_session ─┼─ admit ── Grant
//!                                    ├─ expired, within its grace ────────────────────────────┘
//!                                    └─ anything else: NotGranted ── denied ── the answer
//! ```
//!
//! `consider` reads and changes nothing, so that it can be asked twice; `admit` and `denied` count, record, bind and
//! mint, once a request.

use http::{HeaderMap, HeaderName, Method, header};

pub use super::denial::{denied, session_refused, too_often};
use super::{
    Access, Call, Door, House,
    audit::Decision,
    reply::Reply,
    visit::{Admitted, X_SESSION_TOKEN, named_session},
};
use crate::{
    auth::{
        Carrier, Denied, Grant, Presented, ResumeClaims, Scheme, authorize, authorize_grant, authorize_owner,
        mint_resume,
    },
    clock::Timestamp,
    engine::Error,
    fault::{Component, Fault},
    guard::Stopped,
    network::AgentClass,
    session::{self, Covered, Fingerprint, Session, SessionId, SessionKey, Step, Trouble},
    telemetry::{Happened, Outcome},
    upload::{About, Name, Phase, Upload},
};

/// Why a request was not let in.
#[derive(Clone, Debug)]
pub enum NotGranted {
    /// Its credential.
    Denied(Denied),
    /// Its session.
    Session(session::Refused),
    /// It asks too often.
    Stopped(Stopped),
    /// A failure of ours.
    Fault(Fault),
}

impl From<Trouble> for NotGranted {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(why) => Self::Session(why),
            Trouble::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<Fault> for NotGranted {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Why a request is let in.
#[derive(Debug)]
enum Admission {
    /// The URL suffices here.
    Url,
    /// Its credential is good.
    Credential(Grant),
    /// Its credential has expired, and its client is given time.
    Grace { grant: Grant, class: AgentClass, ends_by: Timestamp },
    /// It names a session that covers the upload.
    Session { id: SessionId, session: Box<Session>, covered: Covered },
}

/// Judge a request that wants to write an upload of `length` bytes in all, or to know more of it than anybody may.
///
/// # Errors
/// Why it is not let in; [`denied`] makes an answer of it.
pub async fn granted(
    call: &Call<'_>,
    length: Option<u64>,
    known: Option<&Upload>,
) -> Result<Grant, NotGranted> {
    match consider(call, length, known).await {
        Ok(admission) => admit(call, admission, known).await,
        Err(why) => Err(why),
    }
}

/// Whether a request would be let in if it named this length. Changes and counts nothing.
pub async fn would_be_granted(call: &Call<'_>, length: Option<u64>, known: Option<&Upload>) -> bool {
    consider(call, length, known).await.is_ok()
}

/// Whether a request may read an upload where its URL does not suffice. Opens no session.
///
/// # Errors
/// Why not.
pub async fn may_read(call: &Call<'_>, known: Option<&Upload>) -> Result<(), NotGranted> {
    match call.realm.door {
        Door::Files { access: Access::Grant, .. } => consider(call, None, known).await.map(|_| ()),
        Door::Files { access: Access::Url, .. } | Door::Slots => Ok(()),
    }
}

async fn consider(
    call: &Call<'_>,
    length: Option<u64>,
    known: Option<&Upload>,
) -> Result<Admission, NotGranted> {
    if let Door::Files { access: Access::Url, .. } = call.realm.door
        && !asks_for_its_grant(call, known)
    {
        return Ok(Admission::Url);
    }
    let judged = judge(call, length, known);
    let why = match still_given(call, judged).await? {
        Ok(grant) => return Ok(Admission::Credential(grant)),
        Err(why) => why,
    };
    let expired = match &why {
        Denied::Expired { at_ms, grant } => Some((Timestamp(*at_ms), grant)),
        Denied::Missing => None,
        // [SES-17] nothing else is mended by a session, or by time
        Denied::Malformed { .. }
        | Denied::BadSignature { .. }
        | Denied::BadSignatureOrType { .. }
        | Denied::WrongPath { .. }
        | Denied::WrongSize { .. }
        | Denied::LengthRequired
        | Denied::NotYetValid { .. } => return Err(NotGranted::Denied(why)),
    };
    let refused = match named_session(&call.headers, call.query.as_deref()) {
        None => NotGranted::Denied(why.clone()),
        Some(None) => NotGranted::Session(session::Refused::Malformed),
        Some(Some(named)) => {
            match by_session(call, named.id, expired.map(|(_, grant)| &**grant), length).await {
                Ok(admission) => return Ok(admission),
                Err(NotGranted::Fault(fault)) => return Err(NotGranted::Fault(fault)),
                Err(refused) => refused,
            }
        }
    };
    // [SES-40] [SES-22] what a session gave out ends with it, and a grant is for more than one file
    let Some((expired_at, grant)) = expired.filter(|(_, grant)| grant.scheme.is_slot_token()) else {
        return Err(refused);
    };
    let now = call.house.clock.now();
    let looked_up = match known {
        Some(_) => None,
        None => call.house.engine.find(&call.name).await.map_err(of_engine)?,
    };
    match call.house.grace.until(call.place.class, known.or(looked_up.as_ref()), expired_at, now) {
        Some(_) => Ok(Admission::Grace {
            grant: (**grant).clone(),
            class: call.place.class,
            ends_by: call.house.grace.last(expired_at),
        }),
        None => Err(refused),
    }
}

/// [AUT-101] Who was given the URL of a download may not remove the file: deleting what a grant created, and what is
/// complete, asks for a grant of the same subject, or for a session that covers it.
fn asks_for_its_grant(call: &Call<'_>, known: Option<&Upload>) -> bool {
    call.method == Method::DELETE
        && known.is_some_and(|upload| upload.phase == Phase::Complete && upload.about.owner.is_some())
}

/// [ENG-154] A fresh token ends with the session that gave it, whenever that is.
async fn still_given(
    call: &Call<'_>,
    judged: Result<Grant, Denied>,
) -> Result<Result<Grant, Denied>, NotGranted> {
    let Ok(Grant { session: Some(key), .. }) = &judged else { return Ok(judged) };
    let is_there = match &call.house.sessions {
        Some(keeper) => keeper.may_live(&SessionKey(key.clone())).await?,
        None => false,
    };
    let at_ms = call.house.clock.now().0;
    Ok(judged.and_then(|grant| match is_there {
        true => Ok(grant),
        false => Err(Denied::Expired { at_ms, grant: Box::new(grant) }),
    }))
}

/// Looking up refuses nothing; only a fault can come of it.
fn of_engine(error: Error) -> NotGranted {
    match error {
        Error::Fault(fault) => NotGranted::Fault(fault),
        Error::Refused(refusal) => {
            NotGranted::Fault(Fault::new(Component::Ledger, "finding an upload", refusal))
        }
    }
}

/// The request's credential, judged by itself.
fn judge(call: &Call<'_>, length: Option<u64>, known: Option<&Upload>) -> Result<Grant, Denied> {
    shown_once(&call.headers)?;
    let types = content_types(call, known);
    let hosts = call.hosts();
    let header = |name: &str| joined(&call.headers, name);
    let presented = presented(call, length, &types, &hosts, &header);
    let (keys, now) = (call.realm.keys.current(), call.house.clock.now().0);
    if call.realm.door == Door::Slots {
        return authorize(&keys, &call.house.bearer, &presented, now);
    }
    // [TUS-95] with `access = "grant"` every verb asks for a grant of the upload's own subject
    let owner = |grant: Grant| match known {
        // What is gone has no owner any more, and tells nothing but that it is gone.
        Some(Upload { phase: Phase::Gone(_), .. }) => Ok(grant),
        Some(upload) if upload.about.owner != grant.subject => {
            Err(Denied::WrongPath { carrier: Carrier::Header })
        }
        Some(_) | None => Ok(grant),
    };
    match authorize_owner(&keys, &presented, now) {
        Ok(grant) => owner(grant),
        Err(Denied::Expired { at_ms, grant }) => {
            owner(*grant).and_then(|grant| Err(Denied::Expired { at_ms, grant: Box::new(grant) }))
        }
        Err(why) => Err(why),
    }
}

/// [AUT-102] Of two credentials in one place neither is the one, even when both agree.
fn shown_once(headers: &HeaderMap) -> Result<(), Denied> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    match [header::AUTHORIZATION, X_SESSION_TOKEN].iter().any(is_repeated) {
        true => {
            let why = "a header that carries a credential is given twice";
            Err(Denied::Malformed { carrier: Carrier::Header, why })
        }
        false => Ok(()),
    }
}

fn presented<'a>(
    call: &'a Call<'_>,
    length: Option<u64>,
    content_types: &'a [&'a str],
    hosts: &'a [&'a str],
    header: &'a (dyn Fn(&str) -> Option<String> + Sync),
) -> Presented<'a> {
    Presented {
        path: &call.path,
        query: call.query.as_deref(),
        authorization: call.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        session_token: call.headers.get(X_SESSION_TOKEN).map(http::HeaderValue::as_bytes),
        raw_path: &call.raw_path,
        hosts,
        header,
        length,
        content_types,
    }
}

/// All values of a header, as one.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The candidates for the media type that a v2 token signs.
fn content_types<'a>(call: &'a Call<'_>, known: Option<&'a Upload>) -> Vec<&'a str> {
    let stored = known.and_then(|u| u.about.content_type.as_deref());
    call.header(header::CONTENT_TYPE).into_iter().chain(stored).collect()
}

/// A token that does not sign its whole path is good for the first upload that it is used for.
async fn bind(call: &Call<'_>, grant: &Grant) -> Result<(), NotGranted> {
    let Some(token) = &grant.fingerprint else { return Ok(()) };
    let now = call.house.clock.now();
    let ends = grant.expires_at_ms.map_or(now, Timestamp).max(now);
    let until = ends.plus(call.house.grace.ceiling);
    match call.house.bindings.bind(&Fingerprint(token.clone()), &call.name, until).await? {
        first if first == call.name => Ok(()),
        _ => Err(NotGranted::Denied(Denied::WrongPath { carrier: Carrier::Header })),
    }
}

/// [SES-10] a live session that covers the upload stands in for an expired credential, and for none
async fn by_session(
    call: &Call<'_>,
    id: SessionId,
    expired: Option<&Grant>,
    length: Option<u64>,
) -> Result<Admission, NotGranted> {
    let Some(keeper) = &call.house.sessions else { return Err(session::Refused::Unknown.into()) };
    let session = keeper.live(&id).await?;
    // [SES-16]
    let covered = session.covered(&call.name).cloned().ok_or(session::Refused::Foreign)?;
    if expired.is_some_and(|grant| grant.subject != session.subject) {
        return Err(session::Refused::Foreign.into());
    }
    // [SES-18] neither another length nor a longer one
    let signed = covered.size.or(covered.max_size);
    if let (Some(signed), Some(claimed)) = (signed, length)
        && (claimed > signed || covered.size.is_some_and(|size| size != claimed))
    {
        return Err(NotGranted::Denied(Denied::WrongSize { signed, claimed }));
    }
    Ok(Admission::Session { id, session: Box::new(session), covered })
}

impl From<session::Refused> for NotGranted {
    fn from(why: session::Refused) -> Self {
        Self::Session(why)
    }
}

async fn admit(call: &Call<'_>, admission: Admission, known: Option<&Upload>) -> Result<Grant, NotGranted> {
    if let Some(upload) = known {
        call.visit.found(upload);
    }
    match admission {
        Admission::Url => Ok(Grant::of_url()),
        Admission::Credential(grant) => {
            limited(call, &grant).await?;
            bind(call, &grant).await?;
            call.decided(Outcome::Allowed, &Decision::of(&grant, Happened::Credential, "good"));
            // [SES-1] a grant has a session once there is an upload, a slot before that
            if known.is_some() || may_begin(call) {
                call.visit.admit(by_credential(call, &grant, &call.name, None));
            }
            Ok(grant)
        }
        Admission::Grace { grant, class, ends_by } => {
            limited(call, &grant).await?;
            bind(call, &grant).await?;
            call.house.metrics.graced(class.word());
            call.decided(Outcome::Allowed, &Decision::of(&grant, Happened::Grace, "within-grace"));
            call.visit.admit(by_credential(call, &grant, &call.name, Some(ends_by)));
            Ok(grant)
        }
        Admission::Session { id, session, covered } => {
            let Some(keeper) = &call.house.sessions else { return Err(session::Refused::Unknown.into()) };
            let grant = of_session(&session, covered.clone());
            limited(call, &grant).await?;
            // [SES-19] what is complete needs no token
            let looked_up = match known {
                Some(_) => None,
                None => call.house.engine.find(&call.name).await.map_err(of_engine)?,
            };
            let is_over = known.or(looked_up.as_ref()).is_some_and(|upload| upload.phase != Phase::Receiving);
            let step =
                if is_over { Step::See } else { Step::Refresh { name: &covered.name, by_choice: false } };
            let changed = keeper.step(&id, &step, &call.place).await?;
            call.house.metrics.session("recovered");
            call.house.record_step(
                Some(Happened::SessionRecovered),
                &changed.session,
                changed.moved.as_ref(),
            );
            let fresh = match changed.token_until {
                Some(until) => Some((resume_token(call.house, &changed.session, &covered, until)?, until)),
                None => None,
            };
            call.decided(Outcome::Allowed, &Decision::of(&grant, Happened::Credential, "session"));
            let expires_at = changed.session.expires_at;
            call.visit.admit(Admitted::Session { id, expires_at, fresh });
            Ok(grant)
        }
    }
}

/// [SES-52]
async fn limited(call: &Call<'_>, grant: &Grant) -> Result<(), NotGranted> {
    match &grant.subject {
        Some(subject) => call.house.guard.admit_subject(subject).await.map_err(NotGranted::Stopped),
        None => Ok(()),
    }
}

fn by_credential(call: &Call<'_>, grant: &Grant, name: &Name, ends_by: Option<Timestamp>) -> Admitted {
    Admitted::Credential {
        upload: Covered {
            name: name.clone(),
            id: None,
            size: grant.size,
            max_size: grant.max_size,
            filename: grant.filename.clone(),
            content_type: grant.content_type.clone(),
            retain_until: grant.retain_until_ms.map(Timestamp),
            token_until: None,
            is_complete: false,
        },
        subject: grant.subject.clone(),
        named: named_session(&call.headers, call.query.as_deref()).flatten(),
        // [SES-22]
        may_open: grant.scheme != Scheme::Resume,
        ends_by,
    }
}

/// What a session allows: what its first credential for this upload did.
fn of_session(session: &Session, covered: Covered) -> Grant {
    Grant {
        scheme: Scheme::Session,
        subject: session.subject.clone(),
        size: covered.size,
        max_size: covered.max_size,
        filename: covered.filename,
        content_type: covered.content_type,
        issued_at_ms: Some(session.created_at.0),
        expires_at_ms: Some(session.expires_at.0),
        retain_until_ms: covered.retain_until.map(|at| at.0),
        fingerprint: None,
        session: None,
    }
}

/// A fresh token for one upload of a session, signed as the credentials of its base path are.
///
/// # Errors
/// A fault when it cannot be signed.
pub fn resume_token(
    house: &House,
    session: &Session,
    covered: &Covered,
    until: Timestamp,
) -> Result<String, Fault> {
    let failed = |cause: &str| Fault::new(Component::Sessions, "making a fresh token", cause);
    let (realm, _) = house.realm_of(covered.name.as_str()).ok_or_else(|| failed("its base path is gone"))?;
    let claims = ResumeClaims {
        session: session.key.0.clone(),
        subject: session.subject.clone(),
        path: covered.name.0.clone(),
        size: covered.size,
        max_size: covered.max_size,
        filename: covered.filename.clone(),
        content_type: covered.content_type.clone(),
        retain_until_ms: covered.retain_until.map(|at| at.0),
        issued_at_ms: house.clock.now().0,
        expires_at_ms: until.0,
    };
    mint_resume(&realm.keys.current(), &claims).map_err(|error| failed(&error.to_string()))
}

/// Whether a request shows what may be a grant, where creation asks for none.
#[must_use]
pub fn presents_grant(call: &Call<'_>) -> bool {
    // [AUT-14]
    let in_session_token =
        call.headers.get(X_SESSION_TOKEN).is_some_and(|value| value.as_bytes().contains(&b'.'));
    let in_query = || call.query.as_deref().is_some_and(|query| query.contains("token="));
    in_session_token || call.headers.contains_key(header::AUTHORIZATION) || in_query()
}

/// Judge the grant that a creation presents.
///
/// # Errors
/// Why it is none.
pub async fn may_create(call: &Call<'_>, length: Option<u64>) -> Result<Grant, NotGranted> {
    let hosts = call.hosts();
    let header = |name: &str| joined(&call.headers, name);
    let presented = presented(call, length, &[], &hosts, &header);
    shown_once(&call.headers).map_err(NotGranted::Denied)?;
    // [SES-18] neither a session nor time lets anybody create
    let grant = authorize_grant(&call.realm.keys.current(), &presented, call.house.clock.now().0)
        .map_err(NotGranted::Denied)?;
    limited(call, &grant).await?;
    call.decided(Outcome::Allowed, &Decision::of(&grant, Happened::Credential, "good"));
    Ok(grant)
}

/// An upload was created with a grant: from here on its session covers it.
pub fn was_created(call: &Call<'_>, grant: &Grant, upload: &Upload) {
    if grant.scheme == Scheme::Url {
        return;
    }
    let grant = Grant { size: upload.length, ..grant.clone() };
    call.visit.admit(by_credential(call, &grant, &upload.name, None));
    call.visit.saw(upload);
}

/// Whether a request may bring an upload into being by writing to its URL: in slots, which are minted before.
#[must_use]
pub fn may_begin(call: &Call<'_>) -> bool {
    call.realm.door == Door::Slots
}

/// What a grant and the request say of the file.
#[must_use]
pub fn about(call: &Call<'_>, grant: &Grant) -> About {
    let last = call.path.rsplit('/').next().unwrap_or(&call.path);
    About {
        filename: Some(grant.filename.clone().unwrap_or_else(|| last.to_owned())),
        content_type: grant
            .content_type
            .clone()
            .or_else(|| call.header(header::CONTENT_TYPE).map(str::to_owned)),
        owner: grant.subject.clone(),
        retain_until: grant.retain_until_ms.map(Timestamp),
        metadata: None,
        concat: None,
    }
}

/// Judge a HEAD, where whoever knows a URL may ask how far its upload is: `None` when the state is told although no
/// credential is good. A wrong one is counted and recorded as everywhere. `named` is the length that the client names: a
/// token that signs the length can then be judged before anything has arrived.
///
/// # Errors
/// The answer to send instead.
pub async fn granted_to_ask(
    call: &Call<'_>,
    named: Option<u64>,
    known: Option<&Upload>,
    dialect: &'static str,
) -> Result<Option<Grant>, Reply> {
    let why = match granted(call, known.and_then(|upload| upload.length).or(named), known).await {
        Ok(grant) => return Ok(Some(grant)),
        Err(why) => why,
    };
    match &why {
        NotGranted::Denied(_) | NotGranted::Session(_) if may_begin(call) => {
            if !matches!(why, NotGranted::Denied(Denied::Missing)) {
                denied(call, why, dialect).await;
            }
            Ok(None)
        }
        // [ENG-31] [SES-52] neither is the credential's fault
        NotGranted::Denied(_) | NotGranted::Session(_) | NotGranted::Stopped(_) | NotGranted::Fault(_) => {
            Err(denied(call, why, dialect).await)
        }
    }
}
