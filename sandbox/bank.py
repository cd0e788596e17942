"""The payment provider's own books: one SQLite file that outlives every crash on the other side of the wire.

Every object is a row with its JSON as the provider shows it. What must never happen is forbidden by the file itself:
a second successful charge for one payment intent violates an index.
"""

import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Body = dict[str, Any]

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

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A random id, long enough never to meet itself."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Bank:
    """The file and the one lock in front of it: provider calls are serialised, as the provider's object locks would."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        # A request that was in flight when the process died was rolled back: its key is free again.
        self._db.execute("DELETE FROM idempotency WHERE status IS NULL")

    def now(self) -> float:
        return time.time()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else in between; not to be nested."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def insert(self, account: str, kind: str, body: Body, parent: str | None = None) -> Body:
        self.rows(
            "INSERT INTO object (id, account, kind, parent, created, body) VALUES (?, ?, ?, ?, ?, ?)",
            (body["id"], account, kind, parent, body["created"], json.dumps(body)),
        )
        return body

    def save(self, body: Mapping[str, Any]) -> None:
        self.rows("UPDATE object SET body = ? WHERE id = ?", (json.dumps(body), body["id"]))

    def find(self, account: str, kind: str, object_id: str) -> Body | None:
        found = self.rows(
            "SELECT body FROM object WHERE id = ? AND account = ? AND kind = ?", (object_id, account, kind)
        )
        return json.loads(found[0][0]) if found else None

    def children(self, kind: str, parent: str) -> list[Body]:
        """The objects of `kind` that belong to `parent`, oldest first."""
        found = self.rows("SELECT body FROM object WHERE parent = ? AND kind = ? ORDER BY seq", (parent, kind))
        return [json.loads(body) for (body,) in found]

    def log_call(self, account: str, endpoint: str, path: str, key: str | None, request_id: str) -> None:
        self.rows(
            "INSERT INTO call (at, account, endpoint, path, idempotency_key, request_id) VALUES (?, ?, ?, ?, ?, ?)",
            (self.now(), account, endpoint, path, key, request_id),
        )

    def close(self) -> None:
        with self._lock:
            self._db.close()
