-- One row an upload. Times are milliseconds since the Unix epoch, sizes are bytes.
CREATE TABLE uploads (
    name         TEXT    NOT NULL PRIMARY KEY,
    id           TEXT    NOT NULL,
    phase        TEXT    NOT NULL CHECK (phase IN ('receiving', 'complete', 'deleted', 'expired', 'retention')),
    generation   INTEGER NOT NULL CHECK (generation > 0),
    "offset"     INTEGER NOT NULL CHECK ("offset" >= 0),
    length       INTEGER CHECK (length IS NULL OR length >= "offset"),
    blob         TEXT    NOT NULL,
    blob_state   TEXT    NOT NULL,
    filename     TEXT,
    content_type TEXT,
    owner        TEXT,
    retain_until INTEGER,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    completed_at INTEGER,
    expires_at   INTEGER,
    CHECK (phase <> 'complete' OR (length IS NOT NULL AND length = "offset"))
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_due ON uploads (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX uploads_blob ON uploads (blob);
