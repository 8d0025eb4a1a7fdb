//! DELETE, which means the same in every dialect; each has its own statuses for what comes of it.

use super::{
    Call,
    credentials::{NotGranted, granted},
};
use crate::engine::Error;

/// Why an upload was not removed.
#[derive(Debug)]
pub enum NotRemoved {
    /// The credential.
    Denied(NotGranted),
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
    granted(call, length, known.as_ref()).await.map_err(NotRemoved::Denied)?;
    call.house.engine.delete(&call.name, call.realm.may_delete_complete).await?;
    call.visit.dismiss();
    call.removed(known.as_ref().map(|upload| upload.id.0.as_str()));
    Ok(())
}
