"""Prune: forget ended jobs after their retention, a bounded batch at a time.

Ids are in order of creation, so a pass walks the primary key from the oldest job on and needs no index of its own.
Parked jobs stay until someone has decided about them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from settings import Settings

log = structlog.get_logger()

BATCH = 1000
PASS_INTERVAL = 600.0
BATCH_INTERVAL = 0.5
PATIENCE = "1s"
"""How long one batch may hold up the dispatcher."""

_PRUNE = text(
    """
    WITH page AS (
        SELECT id, state, finished_at FROM jobs WHERE id > :after ORDER BY id LIMIT :batch
    ), gone AS (
        DELETE FROM jobs USING page
        WHERE jobs.id = page.id AND jobs.state IN ('succeeded', 'failed', 'cancelled', 'expired')
          AND jobs.finished_at < now() - make_interval(days => :days)
        RETURNING jobs.id
    ), attempts AS (
        DELETE FROM attempts USING gone WHERE attempts.job_id = gone.id
    ), events AS (
        DELETE FROM events USING gone WHERE events.job_id = gone.id
    )
    SELECT (SELECT count(*) FROM gone) AS gone, (SELECT max(id::text) FROM page) AS last,
           (SELECT bool_and(uuid_extract_timestamp(id) < now() - make_interval(days => :days)) FROM page) AS old
    """
)
_PRUNE_KEYS = text(
    """
    DELETE FROM idempotency_keys WHERE ctid IN
        (SELECT ctid FROM idempotency_keys WHERE expires_at < now() LIMIT :batch)
    """
)

_PATIENCE = text("SELECT set_config('statement_timeout', :patience, false)")
_USUAL = text("RESET statement_timeout")

_FIRST = UUID(int=0)


class Pruner:
    """Walks through old jobs beside the dispatcher's turns, never for longer than one batch takes."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._days = settings.retention_days
        self._batch = BATCH
        self._after = _FIRST
        self._next = time.monotonic()

    def turn(self) -> int:
        """Prune one batch if it is time. Returns how many jobs are gone.

        A batch that takes too long is tried again at half the size: forgetting must not stop the dispatcher.
        """
        if time.monotonic() < self._next:
            return 0
        try:
            gone, last, old = self._prune()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            log.warning("prune_failed", jobs=self._batch, error=type(error.orig).__name__)
            self._batch = max(1, self._batch // 2)
            self._next = time.monotonic() + BATCH_INTERVAL
            return 0
        self._batch = min(BATCH, 2 * self._batch)
        self._advance(UUID(last) if last and old else None)
        if gone:
            log.info("pruned", jobs=gone)
        return gone

    def _prune(self) -> tuple[int, str | None, bool | None]:
        values = {"after": self._after, "batch": self._batch, "days": self._days}
        with self._impatient():
            gone, last, old = self._connection.execute(_PRUNE, values).one()
            self._connection.execute(_PRUNE_KEYS, {"batch": self._batch})
        return int(gone), last, old

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """The setting is the session's, because the dispatcher's statements commit one by one."""
        with self._connection.begin():
            self._connection.execute(_PATIENCE, {"patience": PATIENCE})
        try:
            with self._connection.begin():
                yield
        finally:
            if not self._connection.invalidated:
                with self._connection.begin():
                    self._connection.execute(_USUAL)

    def _advance(self, last: UUID | None) -> None:
        """Go on behind `last`, or begin another pass later when the page reached jobs that are too young."""
        self._after = last or _FIRST
        self._next = time.monotonic() + (BATCH_INTERVAL if last else PASS_INTERVAL)
