-- What this file is. `store` is the id of the store whose blobs the rows name, NULL until a server has served both;
-- `probes` is changed to see whether the file can be written.
CREATE TABLE identity (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    store  TEXT,
    probes INTEGER NOT NULL
) STRICT;

INSERT INTO identity (one, store, probes) VALUES (1, NULL, 0);
