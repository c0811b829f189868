-- An SM-DP+ database as microipa made it at commit 96de189.
CREATE TABLE orders (
    matching_id VARCHAR NOT NULL,
    iccid VARCHAR NOT NULL,
    package BLOB NOT NULL,
    profile_metadata BLOB NOT NULL,
    eid VARCHAR,
    confirmation_hash BLOB,
    expires DATETIME,
    state VARCHAR(10) NOT NULL,
    attempts INTEGER NOT NULL,
    confirmation_failures INTEGER NOT NULL,
    transaction_id VARCHAR,
    bound_to VARCHAR,
    result VARCHAR,
    created DATETIME NOT NULL,
    changed DATETIME NOT NULL,
    PRIMARY KEY (matching_id)
);
CREATE TABLE notifications (
    id INTEGER NOT NULL,
    eid VARCHAR NOT NULL,
    seq_number INTEGER NOT NULL,
    event VARCHAR NOT NULL,
    iccid VARCHAR,
    received DATETIME NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (eid, seq_number, event)
);
CREATE TABLE downloads (
    transaction_id VARCHAR NOT NULL,
    matching_id VARCHAR NOT NULL,
    eid VARCHAR NOT NULL,
    euicc_certificate BLOB NOT NULL,
    created DATETIME NOT NULL,
    result VARCHAR,
    PRIMARY KEY (transaction_id),
    FOREIGN KEY(matching_id) REFERENCES orders (matching_id)
);
PRAGMA user_version = 0;
