"""The payment provider's own books: one SQLite file that outlives every crash on the other side of the wire.

Every object is a row with its JSON as the provider shows it. Time is the books' own: it runs like everybody's, but can
be moved ahead, and how far it is ahead is written down like everything else.
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

from sandbox.books.schema import SCHEMA

Body = dict[str, Any]
# The objects that a transaction has touched, as they were before it; None for those that it made.
Before = dict[str, Body | None]

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A random id, long enough never to meet itself."""
    # One read of randomness for the whole id: that some letters come a little more often does no harm.
    return prefix + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length))


class Bank:
    """The file and the one lock in front of it: provider calls are serialised, as the provider's object locks would."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._before: Before = {}
        self.alarm = threading.Event()
        """Set when something has been put down for later."""
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        # A request that was in flight when the process died was rolled back: its key is free again.
        self._db.execute("DELETE FROM idempotency WHERE status IS NULL")
        self._db.execute("UPDATE delivery SET state = 'pending' WHERE state = 'early'")
        self._ahead = float(self.rows("SELECT coalesce(max(ahead), 0) FROM clock")[0][0])

    def now(self) -> float:
        return time.time() + self._ahead

    def move_clock(self, moment: float) -> None:
        """Let it be `moment`; time never goes back."""
        with self._lock:
            self._ahead = max(self._ahead, moment - time.time())
            self.rows("INSERT OR REPLACE INTO clock (one, ahead) VALUES (1, ?)", (self._ahead,))

    @contextmanager
    def transaction(self) -> Iterator[Before]:
        """All or nothing, and nobody else in between; not to be nested. Gives what it touches as it was before."""
        with self._lock:
            self._before = {}
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._before
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def insert(self, account: str, kind: str, body: Body, parent: str | None = None) -> Body:
        with self._lock:
            self._before.setdefault(body["id"], None)
            self.rows(
                "INSERT INTO object (id, account, kind, parent, created, body) VALUES (?, ?, ?, ?, ?, ?)",
                (body["id"], account, kind, parent, body["created"], json.dumps(body)),
            )
        return body

    def save(self, body: Mapping[str, Any]) -> None:
        with self._lock:
            if body["id"] not in self._before:
                self._before[body["id"]] = self.get(body["id"])
            self.rows("UPDATE object SET body = ? WHERE id = ?", (json.dumps(body), body["id"]))

    def delete(self, object_id: str) -> None:
        self.rows("DELETE FROM object WHERE id = ?", (object_id,))

    def get(self, object_id: str) -> Body | None:
        """The object of that id, whatever it is and whosever."""
        found = self.rows("SELECT body FROM object WHERE id = ?", (object_id,))
        return json.loads(found[0][0]) if found else None

    def find(self, account: str, kind: str, object_id: str) -> Body | None:
        found = self.rows(
            "SELECT body FROM object WHERE id = ? AND account = ? AND kind = ?", (object_id, account, kind)
        )
        return json.loads(found[0][0]) if found else None

    def all_of(self, account: str, kind: str) -> list[Body]:
        """The account's objects of one kind, oldest first."""
        found = self.rows("SELECT body FROM object WHERE account = ? AND kind = ? ORDER BY seq", (account, kind))
        return [json.loads(body) for (body,) in found]

    def close(self) -> None:
        with self._lock:
            self._db.close()
