//! DELETE, which means the same in every dialect; each has its own statuses for what comes of it.

use super::{
    Call,
    conditions::{self, Target},
    credentials::{NotGranted, granted},
};
use crate::{auth::Scheme, engine::Error, upload::Phase};

/// Why an upload was not removed.
#[derive(Debug)]
pub enum NotRemoved {
    /// The credential.
    Denied(NotGranted),
    /// A condition of the request does not hold.
    Precondition,
    /// The engine's refusal, or a fault.
    Failed(Error),
}

impl From<Error> for NotRemoved {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Remove the upload that a request names: an incomplete one for whoever may write it, a complete one where the
/// configuration allows it.
///
/// # Errors
/// See [`NotRemoved`].
pub async fn remove(call: &Call<'_>) -> Result<(), NotRemoved> {
    let known = call.house.engine.find(&call.name).await?;
    let length = known.as_ref().and_then(|u| u.length);
    let grant = granted(call, length, known.as_ref()).await.map_err(NotRemoved::Denied)?;
    // [AUT-101] one that was incomplete when it was looked at may be complete now
    let has_owner = known.as_ref().is_some_and(|upload| upload.about.owner.is_some());
    let may_delete_complete = call.realm.may_delete_complete && !(has_owner && grant.scheme == Scheme::Url);
    // [DIA-96] what would be refused anyway is refused for that
    let target = match &known {
        Some(upload) if upload.phase == Phase::Receiving => Some(Target::Incomplete),
        Some(upload) if upload.phase == Phase::Complete && may_delete_complete => {
            Some(Target::Complete(upload))
        }
        Some(_) | None => None,
    };
    if target.is_some_and(|target| !conditions::hold(&call.headers, target)) {
        return Err(NotRemoved::Precondition);
    }
    call.house.engine.delete(&call.name, may_delete_complete).await?;
    call.visit.dismiss();
    call.removed(known.as_ref().map(|upload| upload.id.0.as_str()));
    Ok(())
}
