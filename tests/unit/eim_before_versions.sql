-- An eIM database as microipa made it before its tables had version numbers (commit 79cff91).
CREATE TABLE devices (
    eid VARCHAR NOT NULL,
    counter INTEGER NOT NULL,
    token INTEGER,
    euicc_certificate BLOB,
    eum_certificate BLOB,
    euicc_info2 BLOB,
    ipa_capabilities BLOB,
    device_info BLOB,
    compact_failed BOOLEAN,
    default_smdp VARCHAR,
    highest_sequence INTEGER NOT NULL,
    profiles JSON,
    profiles_known DOUBLE,
    eims JSON,
    state_change VARCHAR,
    state_changed DOUBLE,
    last_poll DOUBLE,
    rplmn VARCHAR,
    PRIMARY KEY (eid)
);
CREATE TABLE forwards (
    digest VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    message BLOB NOT NULL,
    summary VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    due DOUBLE NOT NULL,
    delivered DOUBLE,
    last_error VARCHAR,
    PRIMARY KEY (digest)
);
CREATE TABLE alarms (
    id INTEGER NOT NULL,
    eid VARCHAR,
    text VARCHAR NOT NULL,
    evidence BLOB NOT NULL,
    created DOUBLE NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE device_keys (
    eid VARCHAR NOT NULL,
    spki BLOB NOT NULL,
    PRIMARY KEY (eid),
    FOREIGN KEY(eid) REFERENCES devices (eid)
);
CREATE TABLE orders (
    id INTEGER NOT NULL,
    eid VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    summary VARCHAR NOT NULL,
    content BLOB NOT NULL,
    confirmation_hash BLOB,
    transaction_id BLOB,
    counter INTEGER,
    message BLOB,
    deliveries INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    result VARCHAR,
    details JSON,
    sequence INTEGER,
    created DOUBLE NOT NULL,
    delivered DOUBLE,
    settled DOUBLE,
    expires DOUBLE,
    PRIMARY KEY (id),
    FOREIGN KEY(eid) REFERENCES devices (eid)
);
CREATE INDEX ix_orders_eid ON orders (eid);
CREATE INDEX ix_orders_transaction_id ON orders (transaction_id);
CREATE INDEX ix_orders_state ON orders (state);
CREATE TABLE sessions (
    transaction_id VARCHAR NOT NULL,
    server_transaction_id VARCHAR NOT NULL,
    smdp_address VARCHAR NOT NULL,
    order_id INTEGER NOT NULL,
    created DOUBLE NOT NULL,
    server_signed_1 BLOB,
    server_certificate BLOB,
    ctx_params_1 BLOB,
    profile_metadata BLOB,
    smdp_signed_2 BLOB,
    smdp_signature_2 BLOB,
    PRIMARY KEY (transaction_id),
    FOREIGN KEY(order_id) REFERENCES orders (id)
);
