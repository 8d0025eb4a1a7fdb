-- tus: metadata as it came, and concatenation. `parts` is a JSON array of names, in their order.
ALTER TABLE uploads ADD COLUMN metadata TEXT;
ALTER TABLE uploads ADD COLUMN kind TEXT NOT NULL DEFAULT 'single' CHECK (kind IN ('single', 'partial', 'final'));
ALTER TABLE uploads ADD COLUMN parts TEXT;
ALTER TABLE uploads ADD COLUMN concat TEXT;

CREATE INDEX uploads_pending ON uploads (name) WHERE kind = 'final' AND phase = 'receiving';
