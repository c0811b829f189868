-- An SM-DP+ database as microipa made it at commit 9c3c5ad.
CREATE TABLE orders (
    id INTEGER NOT NULL,
    iccid VARCHAR NOT NULL,
    profile_type VARCHAR,
    package BLOB NOT NULL,
    profile_metadata BLOB NOT NULL,
    state VARCHAR(11) NOT NULL,
    owner VARCHAR,
    matching_id VARCHAR,
    eid VARCHAR,
    confirmation_hash BLOB,
    expires DATETIME,
    smds_address VARCHAR,
    attempts INTEGER NOT NULL,
    confirmation_failures INTEGER NOT NULL,
    transaction_id VARCHAR,
    bound_to VARCHAR,
    result VARCHAR,
    created DATETIME NOT NULL,
    changed DATETIME NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (matching_id)
);
CREATE INDEX ix_orders_iccid ON orders (iccid);
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
    order_id INTEGER NOT NULL,
    eid VARCHAR NOT NULL,
    euicc_certificate BLOB NOT NULL,
    euicc_otpk BLOB NOT NULL,
    smdp_otpk BLOB NOT NULL,
    parts BLOB NOT NULL,
    created DATETIME NOT NULL,
    result VARCHAR,
    PRIMARY KEY (transaction_id),
    FOREIGN KEY(order_id) REFERENCES orders (id)
);
PRAGMA user_version = 3;
