-- What was added to 3.sql at commit 89ca5d5.
CREATE TABLE variants (
    id INTEGER NOT NULL,
    order_id INTEGER NOT NULL,
    package BLOB NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(order_id) REFERENCES orders (id)
);
PRAGMA user_version = 4;
