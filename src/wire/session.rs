//! `/session`: what a session's holder may ask of it. See `protocol-spec/session.md`.

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    House,
    answer::etag,
    credentials::{resume_token, session_refused},
    reply::Reply,
    visit::{X_UPLOAD_ID, fresh_token, named_session},
};
use crate::{
    fault::Fault,
    session::{Covered, Keeper, Place, Refused, Session, SessionId, Step, Trouble},
    telemetry::Happened,
    upload::{Phase, Upload},
};

/// Where sessions are asked about.
pub const PATH: &str = "/session";
/// Where fresh tokens are made.
pub const REFRESH: &str = "/session/refresh";

/// A request to one of the two paths.
#[derive(Debug)]
pub struct Question<'a> {
    /// The parts of the server.
    pub house: &'a House,
    /// The method.
    pub method: Method,
    /// [`PATH`] or [`REFRESH`].
    pub path: &'a str,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw query.
    pub query: Option<String>,
    /// Where it comes from.
    pub place: Place,
}

impl Question<'_> {
    /// The answer.
    pub async fn answer(self) -> Reply {
        let allow = if self.path == REFRESH { "POST, OPTIONS" } else { "GET, HEAD, DELETE, OPTIONS" };
        let answered = match (self.path, self.method.as_str()) {
            (REFRESH, "POST") => self.refresh().await,
            (PATH, "GET" | "HEAD") => self.show().await,
            (PATH, "DELETE") => self.end().await,
            // [SES-34]
            _ => {
                let detail = "this URL takes the methods that Allow lists";
                return Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
                    .with(header::ALLOW, allow);
            }
        };
        match answered {
            Ok(reply) => reply,
            Err(Trouble::Refused(why)) => session_refused(self.house, &self.place, why).await,
            Err(Trouble::Fault(fault)) => self.fault(&fault),
        }
    }

    fn fault(&self, fault: &Fault) -> Reply {
        self.house.metrics.fault(fault.component.word());
        tracing::error!(%fault, "a question about a session failed by a fault of ours");
        Reply::fault(fault)
    }

    fn keeper(&self) -> Result<&Keeper, Trouble> {
        // With sessions switched off there is none with any id.
        self.house.sessions.as_deref().ok_or(Refused::Unknown.into())
    }

    fn id(&self) -> Result<SessionId, Trouble> {
        match named_session(&self.headers, self.query.as_deref()) {
            None => Err(Refused::Missing.into()),
            Some(None) => Err(Refused::Malformed.into()),
            Some(Some(named)) => Ok(named.id),
        }
    }

    async fn show(&self) -> Result<Reply, Trouble> {
        let (id, keeper) = (self.id()?, self.keeper()?);
        let changed = keeper.step(&id, &Step::See, &self.place).await?;
        self.house.record_step(None, &changed.session, changed.moved.as_ref());
        let uploads = self.uploads(&changed.session).await?;
        let whole = told(&changed.session, keeper.policy().max_refreshes, &uploads);
        Ok(Reply::new(StatusCode::OK).json(&whole).no_store())
    }

    async fn end(&self) -> Result<Reply, Trouble> {
        let (id, keeper) = (self.id()?, self.keeper()?);
        let session = keeper.live(&id).await?;
        keeper.end(&id).await?;
        self.house.record_step(Some(Happened::SessionEnded), &session, None);
        Ok(Reply::new(StatusCode::NO_CONTENT).no_store())
    }

    async fn uploads(&self, session: &Session) -> Result<Vec<Upload>, Trouble> {
        let names: Vec<_> = session.uploads.iter().map(|covered| covered.name.clone()).collect();
        match self.house.engine.states(&names).await {
            Ok(uploads) => Ok(uploads),
            Err(crate::engine::Error::Fault(fault)) => Err(fault.into()),
            // Looking up refuses nothing.
            Err(crate::engine::Error::Refused(_)) => Ok(Vec::new()),
        }
    }

    /// [SES-14]
    async fn refresh(&self) -> Result<Reply, Trouble> {
        let (id, keeper) = (self.id()?, self.keeper()?);
        let session = keeper.live(&id).await?;
        let uploads = self.uploads(&session).await?;
        let wanted = self.headers.get(X_UPLOAD_ID).map(|value| value.to_str().unwrap_or_default());
        let mut candidates = session.uploads.iter().filter(|covered| {
            let known = uploads.iter().find(|upload| upload.name == covered.name);
            let is_open = known.is_none_or(|upload| upload.phase == Phase::Receiving);
            is_open && wanted.is_none_or(|id| known.is_some_and(|upload| upload.id.0 == id))
        });
        let covered = match (candidates.next(), candidates.next()) {
            (Some(one), None) => one.clone(),
            (Some(_), Some(_)) => {
                let detail = "the session covers several incomplete uploads: name one in X-Upload-ID";
                return Ok(Reply::problem(StatusCode::CONFLICT, "upload-ambiguous", detail));
            }
            (None, _) => {
                let detail = "the session covers no such incomplete upload";
                return Ok(Reply::problem(StatusCode::NOT_FOUND, "unknown", detail));
            }
        };
        let step = Step::Refresh { name: &covered.name, by_choice: true };
        let changed = keeper.step(&id, &step, &self.place).await?;
        self.house.record_step(Some(Happened::SessionRefreshed), &changed.session, changed.moved.as_ref());
        let Some(until) = changed.token_until else { return Err(Refused::Exhausted.into()) };
        let token = resume_token(self.house, &changed.session, &covered, until)?;
        let known = uploads.iter().find(|upload| upload.name == covered.name);
        let body = json!({
            "token": token,
            "upload_id": known.map(|upload| &upload.id.0),
            "expires_at": until.to_string(),
            "refreshes_left": keeper.policy().max_refreshes.saturating_sub(changed.session.refreshes),
        });
        Ok(fresh_token(Reply::new(StatusCode::OK).json(&body), &token, until))
    }
}

/// [SES-30] [SES-31] [SES-32] the session, for its holder
fn told(session: &Session, max_refreshes: u32, uploads: &[Upload]) -> Value {
    json!({
        "subject": session.subject,
        "created_at": session.created_at.to_string(),
        "expires_at": session.expires_at.to_string(),
        "refreshes_used": session.refreshes,
        "refreshes_left": max_refreshes.saturating_sub(session.refreshes),
        "uploads": session.uploads.iter().map(|covered| told_upload(covered, uploads)).collect::<Vec<_>>(),
        "network": told_place(&session.place),
        "changes": session.changes,
        "history": session.history.iter().map(|change| json!({
            "at": change.at.to_string(),
            "from": told_place(&change.from),
            "to": told_place(&change.to),
        })).collect::<Vec<_>>(),
    })
}

fn told_place(place: &Place) -> Value {
    json!({
        "address": place.address.to_string(),
        "network": place.network,
        "agent": place.agent,
        "class": place.class.word(),
    })
}

fn told_upload(covered: &Covered, uploads: &[Upload]) -> Value {
    let known = uploads.iter().find(|upload| upload.name == covered.name);
    let size = known.and_then(|upload| upload.length).or(covered.size);
    let offset = known.map_or(0, |upload| upload.offset.0);
    let status = match known.map(|upload| upload.phase) {
        Some(Phase::Complete) => "complete",
        Some(Phase::Gone(why)) => why.word(),
        Some(Phase::Receiving) | None => "incomplete",
    };
    let filename =
        known.and_then(|upload| upload.about.filename.clone()).or_else(|| covered.filename.clone());
    json!({
        "id": known.map(|upload| &upload.id.0),
        "path": covered.name.as_str(),
        "filename": filename,
        "offset": offset,
        "size": size,
        "percent": size.map(|size| percent(offset, size)),
        "status": status,
        "etag": known.filter(|upload| upload.phase == Phase::Complete).map(etag),
    })
}

/// Hundredths that are there, rounded down: 100 means all of it.
fn percent(offset: u64, size: u64) -> u64 {
    let whole = u128::from(offset) * 100;
    whole.checked_div(u128::from(size)).and_then(|hundredths| u64::try_from(hundredths).ok()).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn a_hundred_per_cent_are_all_bytes_and_nothing_less() {
        assert_eq!([percent(0, 3), percent(2, 3), percent(3, 3)], [0, 66, 100]);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
        assert_eq!(percent(0, 0), 100, "an empty file is there");
    }
}
