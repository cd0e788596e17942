"""One turn of the dispatcher at one queue: stage, expire, rescue, dispatch.

Everything is written in short transactions on the one connection that holds the queue's lock.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from models import Job, Kind, lifecycle
from models.job import State
from models.lifecycle import Hint
from settings import Settings
from tasks import Handler
from workers.announce import announce
from workers.dispatcher.chunks import Candidate, Load, divide, fitting
from workers.dispatcher.messages import Waiting
from workers.presence import Lane, lanes

log = structlog.get_logger()

PAGE = 4000
BATCH = 1000
ROUNDS = 2
"""How many messages per worker slot may wait in Redis."""
UPKEEP_INTERVAL = 1.0
RESCUE_DELAY = 5.0
"""Seconds after winning a queue before anyone's lease counts as run out: after an outage of Postgres the living renew
theirs first."""

type_Publish = Callable[[str, str, Sequence[Hint]], None]


class Turn:
    """What one dispatcher knows from turn to turn; all of it can be lost without harm."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        handlers: Mapping[str, Handler],
        publish: type_Publish,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._handlers = handlers
        self._publish = publish
        self._won_at: dict[str, float] = {}
        self._upkeep_at: dict[str, float] = {}
        self._learned_at = 0.0
        self._lanes: Mapping[str, Lane] = {}
        self._sizes: dict[str, int] = {}

    def win(self, queue: str) -> None:
        """The queue is ours from now on."""
        self._won_at[queue] = time.monotonic()
        self._upkeep_at[queue] = 0.0

    def keep_up(self, queue: str) -> None:
        """Move on what time alone moves: due, expired and lost jobs. At most once a second, but due jobs each turn."""
        with self._transaction() as session:
            staged = lifecycle.stage(session, queue, BATCH)
        if staged:
            log.debug("staged", queue=queue, jobs=staged)
        now = time.monotonic()
        if now - self._upkeep_at[queue] >= UPKEEP_INTERVAL:
            self._upkeep_at[queue] = now
            self._expire(queue)
            self._rescue(queue, now)

    def dispatch(self, queue: str, waiting: Waiting) -> int:
        """Publish ready jobs as far as there is room in Redis. Returns how many messages could not be sent yet
        although there were jobs for them (so that the next look should come soon), or 0.
        """
        if waiting.wiped:
            self._begin_anew(queue)
        self._learn()
        lane = self._lanes.get(queue)
        if lane is None:
            return 0
        room = ROUNDS * lane.slots - waiting.messages
        if room <= 0:
            return 1
        loads = self._mark(queue, lane, room)
        for load, hints in loads:
            self._send(queue, load, hints)
        return 1 if len(loads) >= room else 0

    def next_due(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next scheduled job of `queues` is due; None when there is none."""
        statement = select(func.extract("epoch", func.min(Job.run_at) - func.now())).where(
            Job.queue.in_(queues), Job.state == State.SCHEDULED
        )
        with self._transaction() as session:
            seconds = session.scalar(statement)
        return None if seconds is None else max(0.0, float(seconds))

    def _mark(self, queue: str, lane: Lane, room: int) -> list[tuple[Load, list[Hint]]]:
        with self._transaction() as session:
            candidates = self._ready(session, queue, lane, room)
            loads = divide(candidates, self._sizes, lane.slots, room)
            ids = [job_id for load in loads for job_id in load.ids]
            hints = lifecycle.dispatch(session, ids, self._settings.dispatch_lease) if ids else {}
        marked = [(load, [hints[job_id] for job_id in load.ids if job_id in hints]) for load in loads]
        return [(load, hints) for load, hints in marked if hints]

    def _ready(self, session: Session, queue: str, lane: Lane, room: int) -> list[Candidate]:
        known = [kind for kind in lane.kinds if kind in self._handlers]
        limit = min(PAGE, room * max((self._sizes.get(kind, 1) for kind in known), default=1))
        rows = session.execute(_READY, {"queue": queue, "kinds": known, "limit": limit})
        return [Candidate(row.id, row.kind, row.lost > 0 or not self._handlers[row.kind].chunk) for row in rows]

    def _send(self, queue: str, load: Load, hints: Sequence[Hint]) -> None:
        try:
            self._publish(queue, load.kind, hints)
        except Exception as error:
            log.warning("publish_failed", queue=queue, kind=load.kind, error=type(error).__name__)
            with self._transaction() as session:
                lifecycle.withdraw(session, hints)
            raise

    def _learn(self) -> None:
        """Look up who works and how long kinds take; once a second, or each turn while nobody works."""
        now = time.monotonic()
        if now - self._learned_at < UPKEEP_INTERVAL:
            return
        self._learned_at = now
        with self._transaction() as session:
            self._lanes = lanes(session, self._settings.lease)
            observed = dict(session.execute(select(Kind.kind, Kind.seconds)).tuples().all())
        self._sizes = {kind: fitting(observed.get(kind), self._settings.max_chunk) for kind in self._handlers}

    def _expire(self, queue: str) -> None:
        with self._transaction() as session:
            expired = lifecycle.expire(session, queue, BATCH)
        self._tell("expired", queue, expired)

    def _rescue(self, queue: str, now: float) -> None:
        with self._transaction() as session:
            lost = lifecycle.lose_messages(session, queue, BATCH)
            rescued: list[UUID] = []
            if now - self._won_at[queue] >= RESCUE_DELAY:
                rescued = lifecycle.rescue(session, queue, self._settings.max_lost, BATCH)
        if lost:
            log.warning("messages_lost", queue=queue, jobs=lost)
        self._tell("rescued", queue, rescued)

    def _begin_anew(self, queue: str) -> None:
        """Redis was wiped: what was published before is gone, so its jobs need not wait for their lease."""
        with self._transaction() as session:
            lost = lifecycle.lose_messages(session, queue, PAGE, early=self._settings.dispatch_lease + _MINUTE)
        log.warning("redis_wiped", queue=queue, jobs=lost)

    def _tell(self, what: str, queue: str, ids: Sequence[UUID]) -> None:
        if ids:
            log.warning(f"jobs_{what}", queue=queue, jobs=len(ids))
            announce(ids)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with Session(self._connection) as session, session.begin():
            yield session


_MINUTE = timedelta(minutes=1)

_READY = text(
    """
    SELECT id, kind, lost FROM jobs
    WHERE queue = :queue AND state = 'ready' AND kind = ANY(:kinds)
    ORDER BY priority DESC, run_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
