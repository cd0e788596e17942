"""The tables of the payment provider's file. What must never happen is forbidden here: see `one_success_per_intent`."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    parent TEXT,
    created INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS object_by_kind ON object (account, kind, seq);
CREATE INDEX IF NOT EXISTS object_by_parent ON object (parent);
CREATE UNIQUE INDEX IF NOT EXISTS one_success_per_intent ON object (parent)
    WHERE kind = 'charge' AND json_extract(body, '$.status') = 'succeeded';
CREATE TABLE IF NOT EXISTS idempotency (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created REAL NOT NULL,
    status INTEGER,
    body BLOB,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS call (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    account TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    path TEXT NOT NULL,
    idempotency_key TEXT,
    request_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS answer (
    call INTEGER PRIMARY KEY REFERENCES call,
    status INTEGER NOT NULL,
    error TEXT,
    replayed INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS strike (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    fault TEXT NOT NULL,
    struck TEXT NOT NULL,
    request_id TEXT
);
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ahead REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS errand (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS errand_by_time ON errand (at, seq);
CREATE TABLE IF NOT EXISTS signing_secret (
    endpoint TEXT NOT NULL,
    secret TEXT NOT NULL,
    expires REAL
);
CREATE TABLE IF NOT EXISTS delivery (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'held', 'early', 'delivered', 'failed', 'lost')),
    signature TEXT NOT NULL DEFAULT 'good',
    attempts INTEGER NOT NULL DEFAULT 0,
    status INTEGER
);
CREATE INDEX IF NOT EXISTS delivery_by_event ON delivery (event);
CREATE INDEX IF NOT EXISTS delivery_by_time ON delivery (due, seq) WHERE state IN ('pending', 'held');
CREATE VIEW IF NOT EXISTS payment_intent AS SELECT id, account, created,
    json_extract(body, '$.status') AS status, json_extract(body, '$.amount') AS amount,
    json_extract(body, '$.amount_received') AS amount_received, json_extract(body, '$.currency') AS currency
    FROM object WHERE kind = 'payment_intent';
CREATE VIEW IF NOT EXISTS charge AS SELECT id, account, parent AS payment_intent, created,
    json_extract(body, '$.status') AS status, json_extract(body, '$.amount') AS amount,
    json_extract(body, '$.amount_captured') AS amount_captured,
    json_extract(body, '$.amount_refunded') AS amount_refunded, json_extract(body, '$.currency') AS currency
    FROM object WHERE kind = 'charge';
CREATE VIEW IF NOT EXISTS refund AS SELECT id, account, parent AS payment_intent, created,
    json_extract(body, '$.status') AS status, json_extract(body, '$.amount') AS amount
    FROM object WHERE kind = 'refund';
"""
