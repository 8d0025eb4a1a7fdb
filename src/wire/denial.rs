//! The answers to requests that are not let in, each counted and recorded once.

use http::{Method, StatusCode, header};

use super::{Call, House, audit::Decision, credentials::NotGranted, reply::Reply};
use crate::{
    auth::{Carrier, Denied},
    guard::Stopped,
    session::{self, Place},
    telemetry::{Happened, Outcome},
};

/// The answer to a request that was not let in. Counts, records and tells why.
pub async fn denied(call: &Call<'_>, why: NotGranted, dialect: &'static str) -> Reply {
    match why {
        NotGranted::Denied(why) => {
            let (status, word, challenge) = status_of(&why);
            call.house.metrics.refused(dialect, word);
            tracing::info!(reason = word, detail = %why, "credential refused");
            call.decided(Outcome::Refused, &Decision::of_nobody(word));
            // [SES-51] judged first: a ban is told in place of this refusal, and of nothing else
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
                && let Some(retry_after) = call.house.banned_for(&call.place).await
            {
                return too_often(call.house, &call.place, Stopped::Banned { retry_after });
            }
            // [SES-71] a page can have any browser ask
            if why.is_a_guess() && !matches!(call.method, Method::GET | Method::HEAD) {
                call.house.failed(&call.place).await;
            }
            let reply = Reply::problem(status, word, &why.to_string());
            match challenge {
                Some(challenge) => reply.with(header::WWW_AUTHENTICATE, challenge),
                None => reply,
            }
        }
        NotGranted::Session(why) => {
            call.house.metrics.refused(dialect, why.word());
            session_refused(call.house, &call.place, why).await
        }
        NotGranted::Stopped(stopped) => {
            call.house.metrics.refused(dialect, "rate");
            too_often(call.house, &call.place, stopped)
        }
        NotGranted::Fault(fault) => super::answer::fault(call, &fault),
    }
}

const INVALID_TOKEN: Option<&str> = Some("Bearer error=\"invalid_token\"");

fn status_of(why: &Denied) -> (StatusCode, &'static str, Option<&'static str>) {
    match why {
        Denied::Missing => (StatusCode::UNAUTHORIZED, "credential-missing", Some("Bearer")),
        Denied::Malformed { carrier, .. }
        | Denied::BadSignature { carrier }
        | Denied::BadSignatureOrType { carrier } => match carrier {
            Carrier::Header => (StatusCode::UNAUTHORIZED, "credential-invalid", INVALID_TOKEN),
            Carrier::Query => (StatusCode::FORBIDDEN, "credential-invalid", None),
        },
        Denied::Expired { .. } | Denied::NotYetValid { .. } => {
            (StatusCode::UNAUTHORIZED, "credential-expired", INVALID_TOKEN)
        }
        Denied::WrongPath { .. } => (StatusCode::FORBIDDEN, "credential-path", None),
        Denied::WrongSize { .. } => (StatusCode::FORBIDDEN, "credential-size", None),
        Denied::LengthRequired => (StatusCode::LENGTH_REQUIRED, "length-required", None),
    }
}

/// The answer to a session that does not help.
pub async fn session_refused(house: &House, place: &Place, why: session::Refused) -> Reply {
    use session::Refused;
    let status = match why {
        Refused::Missing | Refused::Malformed | Refused::Unknown | Refused::Expired => {
            StatusCode::UNAUTHORIZED
        }
        Refused::Foreign | Refused::Exhausted => StatusCode::FORBIDDEN,
    };
    house.metrics.session("refused");
    tracing::info!(reason = why.word(), "session refused");
    house.record_refusal(Happened::SessionRefused, why.word(), place);
    // [SES-51] [SES-71] told of a ban, and counted towards none
    if let Some(retry_after) = house.banned_for(place).await {
        return too_often(house, place, Stopped::Banned { retry_after });
    }
    let reply = Reply::problem(status, why.word(), &why.to_string());
    match status {
        StatusCode::UNAUTHORIZED => reply.with(header::WWW_AUTHENTICATE, "Bearer"),
        _ => reply,
    }
}

/// [SES-51] [SES-52] 429, and when to try again
#[must_use]
pub fn too_often(house: &House, place: &Place, stopped: Stopped) -> Reply {
    let (event, word, detail, wait) = match stopped {
        Stopped::Banned { retry_after } => {
            let detail = "too many wrong credentials came from this address; try again later";
            (Happened::Banned, "banned", detail, retry_after)
        }
        Stopped::Rate { retry_after } => {
            (Happened::RateLimited, "rate", "too many requests; try again later", retry_after)
        }
    };
    house.record_refusal(event, word, place);
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    Reply::problem(StatusCode::TOO_MANY_REQUESTS, word, detail).with(header::RETRY_AFTER, seconds)
}
