//! What the writer may do to a table: each kind of change is one statement for all changes of its kind in a batch.

use crate::fault::Component;

/// The kinds of change, each with its one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Record,
    Fence,
    Advance,
    Tombstone,
    Forget,
    Note,
    RecordSession,
    ReplaceSession,
    RemoveSession,
    CleanSession,
    Bind,
    CleanBinding,
    Probe,
    Adopt,
}

/// What a change is a change of. Its key is the table's primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Uploads,
    Sessions,
    Bindings,
    Identity,
    Notes,
}

impl Statement {
    /// The key of the one row of identity; and what [`Statement::Probe`] reads.
    pub(super) const IDENTITY: &str = "1";

    pub(super) const ALL: [Self; 14] = [
        Self::Record,
        Self::Fence,
        Self::Advance,
        Self::Tombstone,
        Self::Forget,
        Self::Note,
        Self::RecordSession,
        Self::ReplaceSession,
        Self::RemoveSession,
        Self::CleanSession,
        Self::Bind,
        Self::CleanBinding,
        Self::Probe,
        Self::Adopt,
    ];

    pub(super) const fn table(self) -> Table {
        match self {
            Self::Record | Self::Fence | Self::Advance | Self::Tombstone | Self::Forget => Table::Uploads,
            Self::RecordSession | Self::ReplaceSession | Self::RemoveSession | Self::CleanSession => {
                Table::Sessions
            }
            Self::Bind | Self::CleanBinding => Table::Bindings,
            Self::Probe | Self::Adopt => Table::Identity,
            Self::Note => Table::Notes,
        }
    }

    /// Whom a failed change is a fault of.
    pub(super) const fn component(self) -> Component {
        match self.table() {
            Table::Uploads | Table::Identity | Table::Notes => Component::Ledger,
            Table::Sessions | Table::Bindings => Component::Sessions,
        }
    }

    /// Whether the change frees room, or is needed to.
    pub(super) const fn frees_room(self) -> bool {
        matches!(
            self,
            Self::Tombstone | Self::Forget | Self::RemoveSession | Self::CleanSession | Self::CleanBinding
        )
    }

    /// [ENG-41] A query that tells whether the transaction of a change that took effect in it is committed; `?1` is the
    /// change's row. NULL, or no query: the row cannot tell. Sound because an upload's generation only grows and its
    /// phase only advances.
    pub(super) const fn evidence(self) -> Option<&'static str> {
        match self {
            Self::Record => Some("SELECT EXISTS (SELECT 1 FROM uploads WHERE name = ?1 ->> 'name')"),
            Self::Fence | Self::Tombstone => Some(
                "SELECT EXISTS (SELECT 1 FROM uploads
                     WHERE name = ?1 ->> 'name' AND generation > ?1 ->> 'generation')",
            ),
            Self::Advance => Some(
                "SELECT CASE WHEN ?1 ->> 'phase' <> 'receiving' THEN EXISTS (SELECT 1 FROM uploads
                     WHERE name = ?1 ->> 'name' AND phase <> 'receiving') END",
            ),
            Self::Forget
            | Self::Note
            | Self::RecordSession
            | Self::ReplaceSession
            | Self::RemoveSession
            | Self::CleanSession
            | Self::Bind
            | Self::CleanBinding
            | Self::Probe
            | Self::Adopt => None,
        }
    }

    /// The statement takes a JSON array and returns the keys of the rows that it changed.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Record => {
                r#"INSERT INTO uploads (name, id, phase, generation, "offset", length, blob, blob_state, filename,
                       content_type, owner, retain_until, created_at, updated_at, completed_at, expires_at,
                       metadata, kind, parts, concat)
                   SELECT value ->> 'name', value ->> 'id', value ->> 'phase', value ->> 'generation',
                       value ->> 'offset', value ->> 'length', value ->> 'blob', value ->> 'blob_state',
                       value ->> 'filename', value ->> 'content_type', value ->> 'owner',
                       value ->> 'retain_until', value ->> 'created_at', value ->> 'updated_at',
                       value ->> 'completed_at', value ->> 'expires_at', value ->> 'metadata', value ->> 'kind',
                       value ->> 'parts', value ->> 'concat'
                   FROM json_each(?1) WHERE true
                   ON CONFLICT (name) DO NOTHING
                   RETURNING name"#
            }
            // [ENG-12] each change is a compare-and-set on the generation
            Self::Fence => {
                r#"UPDATE uploads SET generation = generation + 1
                  FROM json_each(?1) AS c
                  WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                      AND uploads."offset" = c.value ->> 'offset' AND uploads.phase = 'receiving'
                  RETURNING uploads.name"#
            }
            Self::Advance => {
                r#"UPDATE uploads SET "offset" = c.value ->> 'offset', length = c.value ->> 'length',
                       phase = c.value ->> 'phase', blob = c.value ->> 'blob',
                       blob_state = c.value ->> 'blob_state',
                       content_type = coalesce(c.value ->> 'content_type', uploads.content_type),
                       updated_at = c.value ->> 'at', expires_at = c.value ->> 'expires_at',
                       completed_at = CASE c.value ->> 'phase' WHEN 'complete' THEN c.value ->> 'at' END
                   FROM json_each(?1) AS c
                   WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                       AND uploads.phase = 'receiving'
                   RETURNING uploads.name"#
            }
            // [ENG-80] only what is still as it was seen, and still due
            // [ENG-86] and nothing that a client said of it stays
            Self::Tombstone => {
                r"UPDATE uploads SET phase = c.value ->> 'phase', generation = uploads.generation + 1,
                      updated_at = c.value ->> 'at', expires_at = c.value ->> 'forget_at', kind = 'single',
                      filename = NULL, content_type = NULL, owner = NULL, retain_until = NULL, metadata = NULL,
                      parts = NULL, concat = NULL, blob_state = ''
                  FROM json_each(?1) AS c
                  WHERE uploads.name = c.value ->> 'name' AND uploads.generation = c.value ->> 'generation'
                      AND uploads.phase = c.value ->> 'seen' AND uploads.phase IN ('receiving', 'complete')
                      AND CASE c.value ->> 'due'
                          WHEN 'expired' THEN uploads.expires_at <= c.value ->> 'due_by'
                          WHEN 'retired' THEN uploads.phase = 'complete'
                              AND uploads.completed_at <= c.value ->> 'due_by'
                          ELSE true END
                  RETURNING uploads.name"
            }
            Self::Forget => {
                r"DELETE FROM uploads WHERE name IN (SELECT value ->> 'name' FROM json_each(?1))
                      AND phase IN ('deleted', 'expired', 'retention') AND expires_at IS NOT NULL
                  RETURNING name"
            }
            Self::Note => {
                r"INSERT INTO notes (key, value)
                  SELECT value ->> 'key', value ->> 'value' FROM json_each(?1) WHERE true
                  ON CONFLICT (key) DO UPDATE SET value = excluded.value
                  RETURNING key"
            }
            Self::RecordSession => {
                r"INSERT INTO sessions (key, version, subject, expires_at, seen_at, is_open, document)
                  SELECT value ->> 'key', value ->> 'version', value ->> 'subject', value ->> 'expires_at',
                      value ->> 'seen_at', value ->> 'is_open', value ->> 'document'
                  FROM json_each(?1) WHERE true
                  ON CONFLICT (key) DO UPDATE SET version = excluded.version, subject = excluded.subject,
                      expires_at = excluded.expires_at, seen_at = excluded.seen_at,
                      is_open = excluded.is_open, document = excluded.document
                  RETURNING key"
            }
            Self::ReplaceSession => {
                r"UPDATE sessions SET version = c.value ->> 'version', subject = c.value ->> 'subject',
                      expires_at = c.value ->> 'expires_at', seen_at = c.value ->> 'seen_at',
                      is_open = c.value ->> 'is_open', document = c.value ->> 'document'
                  FROM json_each(?1) AS c
                  WHERE sessions.key = c.value ->> 'key' AND sessions.version = c.value ->> 'seen'
                  RETURNING sessions.key"
            }
            Self::RemoveSession => {
                r"DELETE FROM sessions WHERE key IN (SELECT value ->> 'key' FROM json_each(?1)) RETURNING key"
            }
            // Who was seen since it was chosen stays.
            Self::CleanSession => {
                r"DELETE FROM sessions
                  WHERE (key, version) IN (SELECT value ->> 'key', value ->> 'version' FROM json_each(?1))
                  RETURNING key"
            }
            Self::Bind => {
                r"INSERT INTO bindings (token, name, until)
                  SELECT value ->> 'token', value ->> 'name', value ->> 'until' FROM json_each(?1) WHERE true
                  ON CONFLICT (token) DO NOTHING
                  RETURNING token"
            }
            Self::CleanBinding => {
                r"DELETE FROM bindings WHERE token IN (SELECT value FROM json_each(?1)) RETURNING token"
            }
            Self::Probe => {
                r"UPDATE identity SET probes = probes + 1 WHERE one IN (SELECT value FROM json_each(?1))
                  RETURNING CAST(one AS TEXT)"
            }
            // [ENG-45]
            Self::Adopt => {
                r"UPDATE identity SET store = c.value, probes = probes + 1 FROM json_each(?1) AS c
                  RETURNING CAST(one AS TEXT)"
            }
        }
    }
}
