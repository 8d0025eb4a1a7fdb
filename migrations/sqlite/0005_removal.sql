-- Removal and start, each with an index that holds only the rows which are asked for.

-- Retention is computed when it is asked for: a complete row keeps only what its credential or its kind asked for.
UPDATE uploads SET expires_at = retain_until
    WHERE phase = 'complete' AND kind <> 'partial' AND expires_at IS NOT retain_until;

-- A tombstone keeps its name used, and nothing else.
UPDATE uploads SET kind = 'single', filename = NULL, content_type = NULL, owner = NULL, retain_until = NULL,
        metadata = NULL, parts = NULL, concat = NULL, blob_state = '', expires_at = NULL
    WHERE phase IN ('deleted', 'expired', 'retention');

DROP INDEX uploads_due;
DROP INDEX uploads_blob;
DROP INDEX uploads_pending;
CREATE INDEX uploads_due ON uploads (expires_at)
    WHERE phase IN ('receiving', 'complete') AND expires_at IS NOT NULL;
CREATE INDEX uploads_forgettable ON uploads (expires_at)
    WHERE phase IN ('deleted', 'expired', 'retention') AND expires_at IS NOT NULL;
CREATE INDEX uploads_completed ON uploads (completed_at) WHERE phase = 'complete';
CREATE INDEX uploads_receiving ON uploads (name) WHERE phase = 'receiving';
CREATE INDEX uploads_blob ON uploads (blob) WHERE phase IN ('receiving', 'complete');

-- Which incomplete concatenations wait for which part; a part that is complete or gone is settled.
CREATE TABLE final_parts (
    part       TEXT    NOT NULL,
    final      TEXT    NOT NULL,
    is_settled INTEGER NOT NULL CHECK (is_settled IN (0, 1)),
    PRIMARY KEY (part, final)
) STRICT, WITHOUT ROWID;

CREATE INDEX final_parts_final ON final_parts (final);
CREATE INDEX final_parts_open ON final_parts (final) WHERE is_settled = 0;

INSERT OR IGNORE INTO final_parts (part, final, is_settled)
    SELECT p.value, f.name, coalesce((SELECT phase <> 'receiving' FROM uploads WHERE name = p.value), 1)
    FROM uploads AS f, json_each(f.parts) AS p WHERE f.kind = 'final' AND f.phase = 'receiving';

CREATE TRIGGER final_begins AFTER INSERT ON uploads WHEN new.kind = 'final' AND new.phase = 'receiving' BEGIN
    INSERT OR IGNORE INTO final_parts (part, final, is_settled)
        SELECT p.value, new.name, coalesce((SELECT phase <> 'receiving' FROM uploads WHERE name = p.value), 1)
        FROM json_each(new.parts) AS p;
END;
CREATE TRIGGER final_ends AFTER UPDATE OF phase ON uploads
    WHEN old.kind = 'final' AND old.phase = 'receiving' AND new.phase <> 'receiving' BEGIN
    DELETE FROM final_parts WHERE final = old.name;
END;
CREATE TRIGGER part_settles AFTER UPDATE OF phase ON uploads
    WHEN old.kind = 'partial' AND old.phase = 'receiving' AND new.phase <> 'receiving' BEGIN
    UPDATE final_parts SET is_settled = 1 WHERE part = old.name;
END;

-- What the server notes for its next run.
CREATE TABLE notes (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
