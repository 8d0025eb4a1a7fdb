//! An upload as a row, and back.

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};

use super::fault;
use crate::{
    clock::Timestamp,
    fault::Fault,
    upload::{About, BlobKey, BlobState, Generation, Gone, Kind, Name, Offset, Phase, Upload, UploadId},
};

pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Receiving => "receiving",
        Phase::Complete => "complete",
        Phase::Gone(why) => why.word(),
    }
}

fn phase_of(word: &str) -> Result<Phase, String> {
    match word {
        "receiving" => Ok(Phase::Receiving),
        "complete" => Ok(Phase::Complete),
        "deleted" => Ok(Phase::Gone(Gone::Deleted)),
        "expired" => Ok(Phase::Gone(Gone::Expired)),
        "retention" => Ok(Phase::Gone(Gone::Retention)),
        other => Err(format!("unknown phase {other:?}")),
    }
}

pub(super) fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Single => "single",
        Kind::Partial => "partial",
        Kind::Final(_) => "final",
    }
}

pub(super) fn parts_text(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Single | Kind::Partial => None,
        Kind::Final(parts) => Some(json!(parts.iter().map(Name::as_str).collect::<Vec<_>>()).to_string()),
    }
}

fn kind_of(word: &str, parts: Option<&str>) -> Result<Kind, String> {
    match (word, parts) {
        ("single", _) => Ok(Kind::Single),
        ("partial", _) => Ok(Kind::Partial),
        ("final", Some(parts)) => {
            let names: Vec<String> = serde_json::from_str(parts).map_err(|e| e.to_string())?;
            Ok(Kind::Final(names.into_iter().map(Name).collect()))
        }
        (other, _) => Err(format!("unknown kind {other:?}")),
    }
}

pub(super) fn unsigned(value: i64) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| format!("negative value {value}"))
}

pub(super) fn upload(row: &SqliteRow) -> Result<Upload, Fault> {
    let parse = || -> Result<Upload, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Upload {
            name: Name(row.try_get("name")?),
            id: UploadId(row.try_get("id")?),
            phase: phase_of(row.try_get("phase")?)?,
            generation: Generation(unsigned(row.try_get("generation")?)?),
            offset: Offset(unsigned(row.try_get("offset")?)?),
            length: row.try_get::<Option<i64>, _>("length")?.map(unsigned).transpose()?,
            blob: BlobKey(row.try_get("blob")?),
            blob_state: BlobState(row.try_get("blob_state")?),
            about: About {
                filename: row.try_get("filename")?,
                content_type: row.try_get("content_type")?,
                owner: row.try_get("owner")?,
                retain_until: row.try_get::<Option<i64>, _>("retain_until")?.map(Timestamp),
                metadata: row.try_get("metadata")?,
                concat: row.try_get("concat")?,
            },
            kind: kind_of(row.try_get("kind")?, row.try_get("parts")?)?,
            created_at: Timestamp(row.try_get("created_at")?),
            updated_at: Timestamp(row.try_get("updated_at")?),
            completed_at: row.try_get::<Option<i64>, _>("completed_at")?.map(Timestamp),
            expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(Timestamp),
        })
    };
    parse().map_err(|cause| fault("reading a row", cause))
}
