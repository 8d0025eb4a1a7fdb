-- One row a session. `document` is the whole of it, as JSON; the other columns repeat what is searched for. Times are
-- milliseconds since the Unix epoch.
CREATE TABLE sessions (
    key        TEXT    NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL CHECK (version > 0),
    subject    TEXT,
    expires_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    is_open    INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    document   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_end ON sessions (expires_at);
-- In this order sessions go when there are too many.
CREATE INDEX sessions_rank ON sessions (is_open, seen_at);

-- What a token was bound to at its first use. `token` is its SHA-256 in hex, `name` that of an upload.
CREATE TABLE bindings (
    token TEXT    NOT NULL PRIMARY KEY,
    name  TEXT    NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX bindings_end ON bindings (until);
