-- What was added to 2.sql at commit 9c3c5ad.
CREATE TABLE operators (
    oid VARCHAR NOT NULL,
    address VARCHAR,
    PRIMARY KEY (oid)
);
CREATE TABLE outgoing (
    id INTEGER NOT NULL,
    address VARCHAR NOT NULL,
    interface VARCHAR NOT NULL,
    function VARCHAR NOT NULL,
    body VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    due DATETIME NOT NULL,
    created DATETIME NOT NULL,
    PRIMARY KEY (id)
);
PRAGMA user_version = 3;
