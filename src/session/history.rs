//! How the changes of place are stored: where one began stands in the one before it, so it is left out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Change, Place};
use crate::clock::Timestamp;

#[derive(Serialize)]
struct Written<'a> {
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Place>,
    to: &'a Place,
}

#[derive(Deserialize)]
struct Read {
    at: Timestamp,
    from: Option<Place>,
    to: Place,
}

pub(super) fn serialize<S: Serializer>(history: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    let before = std::iter::once(None).chain(history.iter().map(|change| Some(&change.to)));
    serializer.collect_seq(history.iter().zip(before).map(|(change, before)| Written {
        at: change.at,
        from: Some(&change.from).filter(|from| Some(*from) != before),
        to: &change.to,
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Change>, D::Error> {
    let mut history: Vec<Change> = Vec::new();
    for Read { at, from, to } in Vec::<Read>::deserialize(deserializer)? {
        let from = from.or_else(|| history.last().map(|before| before.to.clone()));
        let from = from.ok_or_else(|| serde::de::Error::missing_field("from"))?;
        history.push(Change { at, from, to });
    }
    Ok(history)
}
