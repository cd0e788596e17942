"""One turn of the dispatcher at one queue: stage, expire, rescue, dispatch.

Every statement commits by itself, on the one connection that holds the queue's lock.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias
from uuid import UUID

import structlog
from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from models import Job, Kind, lifecycle
from models.job import State
from models.lifecycle import Hint
from settings import Settings
from tasks import Handler
from workers.dispatcher.chunks import COST, TARGET, Candidate, Load, divide, fitting, rounds
from workers.dispatcher.messages import REDIS_ERRORS, Waiting, still_waiting
from workers.process.presence import Lane, bury, lanes
from workers.wakeup.announce import announce

log = structlog.get_logger()

PAGE = 4000
BATCH = 1000
ROUNDS = 2
"""How many messages per worker slot may wait in Redis; of messages with little work in them, up to this many:"""
LIGHT_ROUNDS = 16
UPKEEP_INTERVAL = 1.0

Publish: TypeAlias = Callable[[str, str, Sequence[Hint]], None]


class Turn:
    """What one dispatcher knows from turn to turn; all of it can be lost without harm."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        handlers: Mapping[str, Handler],
        publish: Publish,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._handlers = handlers
        self._publish = publish
        self._learned_at = -UPKEEP_INTERVAL
        self._lanes: Mapping[str, Lane] = {}
        self._seconds: Mapping[str, float] = {}
        self._sizes: dict[str, int] = {}
        self._rounds: dict[str, int] = {}
        """By queue, what suited the jobs that were dispatched last."""
        self.sent = 0
        """Messages published so far."""
        self._suspects: dict[str, UUID] = {}
        """By queue, the suspect that was dispatched last."""

    def stage(self, queues: Sequence[str]) -> int:
        """Make ready what is due. Returns how many."""
        with self._session() as session:
            return lifecycle.stage(session, queues, BATCH)

    def expire(self, queues: Sequence[str]) -> None:
        """End what is too late to start."""
        with self._session() as session:
            expired = lifecycle.expire(session, queues, BATCH)
        self._tell("jobs_expired", expired)

    def recover(self, queues: Sequence[str]) -> None:
        """Dispatch anew what no worker claimed in time, unless it still waits in Redis behind long jobs.

        Nothing is lost while Redis cannot be asked, since nothing could be published either. A wrong answer of Redis
        costs time only: what it says to be waiting is looked for again, and what it says to be gone is sent twice.
        """
        with self._session() as session:
            overdue = list(session.scalars(_OVERDUE, {"queues": list(queues)}))
        if not overdue:
            return
        try:
            hints = still_waiting(overdue)
        except REDIS_ERRORS as error:
            log.warning("messages_not_looked_for", error=type(error).__name__)
            return
        with self._session() as session:
            lifecycle.prolong(session, hints, self._settings.dispatch_lease)
        with self._session() as session:
            lost = lifecycle.lose_messages(session, overdue, BATCH)
        if lost:
            log.warning("messages_lost", jobs=lost)

    def rescue(self, queues: Sequence[str]) -> None:
        """Take back the jobs of workers that vanished."""
        with self._session() as session:
            rescued = lifecycle.rescue(session, queues, self._settings.max_lost, BATCH)
        self._tell("jobs_rescued", rescued)

    def dispatch(self, queue: str, waiting: Waiting) -> bool:
        """Publish ready jobs as far as there is room in Redis.

        Returns whether more may be ready than there was room for.
        """
        if waiting.wiped:
            self._begin_anew(queue)
        self._learn()
        lane = self._lanes.get(queue)
        if lane is None:
            return False
        room = self._rounds.get(queue, ROUNDS) * lane.slots - waiting.messages
        if room <= 0:
            return True
        candidates = self._ready(queue, lane, room)
        self._rounds[queue] = self._suited_rounds(candidates)
        marked = self._mark(candidates, lane, room)
        self._send(queue, marked)
        self.sent += len(marked)
        return len(marked) >= room

    def bury_workers(self) -> None:
        """Forget the workers that have long been gone without a word."""
        with self._session() as session:
            bury(session, self._settings.lease)

    def next_due(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next scheduled job of `queues` is due; None when there is none."""
        with self._session() as session:
            seconds = session.scalar(_NEXT_DUE, {"queues": list(queues)})
        return None if seconds is None else max(0.0, float(seconds))

    def _suited_rounds(self, candidates: Sequence[Candidate]) -> int:
        """A kind that nobody has observed yet counts as heavy."""
        kinds = {candidate.kind for candidate in candidates}
        messages = [(self._seconds.get(kind, TARGET) + COST) * self._sizes[kind] for kind in kinds]
        return rounds(messages, ROUNDS, LIGHT_ROUNDS)

    def _mark(self, candidates: Sequence[Candidate], lane: Lane, room: int) -> list[tuple[Load, list[Hint]]]:
        loads = divide(candidates, self._sizes, lane.slots, room)
        ids = [job_id for load in loads for job_id in load.ids]
        with self._session() as session:
            hints = lifecycle.dispatch(session, ids, self._settings.dispatch_lease) if ids else {}
        marked = [(load, [hints[job_id] for job_id in load.ids if job_id in hints]) for load in loads]
        return [(load, hints) for load, hints in marked if hints]

    def _ready(self, queue: str, lane: Lane, room: int) -> list[Candidate]:
        known = [kind for kind in lane.kinds if kind in self._handlers]
        limit = min(PAGE, room * max((self._sizes.get(kind, 1) for kind in known), default=1))
        values = {"queue": queue, "kinds": known, "limit": limit, "max_lost": self._settings.max_lost}
        with self._session() as session:
            rows = session.execute(_READY, {**values, "suspects": not self._suspect_is_out(session, queue)}).all()
        first, *others = [row.id for row in rows if row.suspect] or [None]
        if first is not None:
            self._suspects[queue] = first
        kept = set(others)
        return [
            Candidate(row.id, row.kind, row.lost > 0 or not self._handlers[row.kind].chunk)
            for row in rows
            if row.id not in kept
        ]

    def _suspect_is_out(self, session: Session, queue: str) -> bool:
        """Whether a job of `queue` that another lost worker would fail is on its way or running.

        There is one at a time: where many run in one process, or one machine runs out of memory, the innocent would
        otherwise be lost as often as the culprit beside them, and fail with it.
        """
        suspect = self._suspects.get(queue)
        statement = select(Job.id).where(Job.id == suspect, Job.state.in_((State.DISPATCHED, State.RUNNING)))
        return suspect is not None and session.scalar(statement) is not None

    def _send(self, queue: str, marked: Sequence[tuple[Load, list[Hint]]]) -> None:
        for number, (load, hints) in enumerate(marked):
            try:
                self._publish(queue, load.kind, hints)
            except Exception:
                unsent = [hint for _, rest in marked[number:] for hint in rest]
                with self._session() as session:
                    lifecycle.withdraw(session, unsent)
                raise

    def _learn(self) -> None:
        """Look up, once a second, who works and how long kinds take."""
        if time.monotonic() - self._learned_at < UPKEEP_INTERVAL:
            return
        self._learned_at = time.monotonic()
        with self._session() as session:
            self._lanes = lanes(session, self._settings.lease)
            self._seconds = {row.kind: row.seconds for row in session.execute(select(Kind.kind, Kind.seconds))}
        self._sizes = {kind: fitting(self._seconds.get(kind), self._settings.max_chunk) for kind in self._handlers}

    def _begin_anew(self, queue: str) -> None:
        """Redis was wiped: what was published before is gone, so its jobs need not wait for their lease."""
        lost, page = 0, PAGE
        while page == PAGE:
            with self._session() as session:
                page = lifecycle.lose_messages(session, [queue], PAGE, early=2 * self._settings.dispatch_lease)
            lost += page
        if lost:
            log.warning("redis_wiped", queue=queue, jobs=lost)

    def _tell(self, event: str, ids: Sequence[UUID]) -> None:
        if ids:
            log.warning(event, jobs=len(ids))
            announce(ids)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._connection) as session:
            yield session


_READY = text(
    """
    SELECT id, kind, lost, lost > 0 AND lost + 1 >= :max_lost AS suspect FROM jobs
    WHERE queue = :queue AND state = 'ready' AND kind = ANY(:kinds) AND (:suspects OR lost = 0 OR lost + 1 < :max_lost)
    ORDER BY priority DESC, run_at, id LIMIT :limit
    """
)

_OVERDUE = text(
    """
    SELECT queue FROM unnest(CAST(:queues AS text[])) AS queue
    WHERE EXISTS (SELECT FROM jobs WHERE jobs.queue = queue.queue AND state = 'dispatched' AND lease_expires_at < now())
    """
)

# One look into the index for each queue; a minimum over several queues reads every job that waits for its time.
_NEXT_DUE = text(
    """
    SELECT extract(epoch FROM min(first.run_at) - now())
    FROM unnest(CAST(:queues AS text[])) AS queue,
         LATERAL (SELECT run_at FROM jobs WHERE jobs.queue = queue.queue AND state = 'scheduled'
                  ORDER BY run_at LIMIT 1) AS first
    """
)
