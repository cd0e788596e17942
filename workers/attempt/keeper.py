"""The keeper: two threads per worker process that keep what the process holds, and let go of it in time.

One talks to Postgres: it renews leases, hears that a job shall be cancelled, hands back what a slow job would hold up,
records what has ended while something long runs, and keeps the worker's own row fresh. The other never does, so that
no frozen server, lock or silent network delays it: it enforces time limits, and when nothing could be renewed for most
of a lease it stops the handlers, by the process's own monotonic clock, before anyone else may take the jobs.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import lease
from models.session import transaction
from settings import get_settings
from tasks import Cancelled, LeaseLost, TimedOut
from workers.attempt import stopping
from workers.attempt.chunk import Chunk, Done
from workers.attempt.context import JobContext
from workers.attempt.outcome import Stopping, raised
from workers.attempt.record import flush
from workers.process.presence import Presence

log = structlog.get_logger()

TICK = 0.25
SLOW = 1.0
"""Seconds after which what runs no longer makes the rest of its chunk wait. A message must not take longer than this
and one job: its hard limit is a job's."""
RENEWALS_PER_LEASE = 4
RETRY_PAUSE = 1.0
"""Seconds after which a renewal that failed is tried again: well before dispatchers that are back begin to rescue."""
SELF_STOP = 0.8
"""The share of a lease after which a holder that could not renew stops by itself."""
LAST_WORDS = 2.0
"""Seconds in which a process that is to be killed may still record what it knows."""


class Keeper:
    """Watches over the chunks of one process. `killable` processes are killed when a handler will not stop.

    In others its thread is given up. When half of them are, `resign` is called, once, to end the process in order.
    """

    def __init__(self, presence: Presence, *, killable: bool, resign: Callable[[], None] | None = None) -> None:
        self.presence = presence
        self._killable = killable
        self._resign = resign
        self._given_up: dict[JobContext, Chunk] = {}
        self._chunks: set[Chunk] = set()
        self._lock = Lock()
        self._stop = Event()
        self._lease = get_settings().lease
        self._renewed_at = time.monotonic()
        """When the oldest of all leases in hand was begun or renewed."""
        self._tried_at = 0.0
        self._left = False
        """Whether the worker is stopping and has said so."""
        self._doomed: tuple[Chunk, JobContext, float] | None = None
        """What the process is to be killed for, and when at the latest."""
        self._threads = (
            Thread(target=self._run, args=(self.judge,), name="judge", daemon=True),
            Thread(target=self._run, args=(self.write,), name="keeper", daemon=True),
        )

    def start(self) -> None:
        """Begin to keep watch."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the watch and take the worker's row away."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        with suppress(SQLAlchemyError), transaction() as session:
            self.presence.leave(session)

    @contextmanager
    def watching(self, chunk: Chunk) -> Iterator[None]:
        """Keep `chunk` while the block runs."""
        with self._lock:
            self._renewed_at = min(self._renewed_at, chunk.since) if self._chunks else chunk.since
            self._chunks.add(chunk)
        try:
            yield
        finally:
            with self._lock:
                self._chunks.discard(chunk)

    def _run(self, turn: Callable[[], None]) -> None:
        while not self._stop.wait(TICK):
            try:
                turn()
            except SQLAlchemyError as error:
                log.warning("keeper_without_database", error=type(error).__name__)
            except Exception:
                log.exception("keeper_turn_failed")

    def judge(self) -> None:
        """See that nothing runs longer than it may. Waits for nobody."""
        for chunk in self._watched():
            self._judge(chunk)
        if self._doomed is not None:
            self._kill_once_recorded(*self._doomed)
        if self._resign is not None and 2 * self.stuck() >= self.presence.slots:
            log.error("half_of_the_threads_are_stuck", threads=self.stuck())
            resign, self._resign = self._resign, None
            resign()

    def stuck(self) -> int:
        """How many threads are in handlers that were given up and have not come back, and owe no record."""
        with self._lock:
            self._given_up = {context: chunk for context, chunk in self._given_up.items() if not context.over}
            return sum(chunk.settled for chunk in self._given_up.values())

    def write(self) -> None:
        """Renew, hand back and record what is due."""
        chunks = self._watched()
        self._leave_if_stopping()
        self._renew_if_due(chunks)
        for chunk in chunks:
            self._relieve(chunk)

    def _leave_if_stopping(self) -> None:
        """A worker that stops is sent nothing more, however long what it has may take."""
        if stopping.begun() and not self._left:
            with transaction() as session:
                self.presence.leave(session)
            self._left = True

    def _watched(self) -> list[Chunk]:
        with self._lock:
            return list(self._chunks)

    def _judge(self, chunk: Chunk) -> None:
        context = chunk.current
        if context is None:
            return
        if context.timed_out:
            context.interrupt(TimedOut)
        if stopping.overdue():
            context.interrupt(Stopping)
        if self.lapsed:
            context.interrupt(LeaseLost)
        if context.interrupted_at is not None and time.monotonic() - context.interrupted_at > _grace(context):
            self._fence(chunk, context)

    def _fence(self, chunk: Chunk, context: JobContext) -> None:
        """End the attempt in the handler's place: it was asked to stop and did not."""
        reason = context.interruption or LeaseLost
        context.log.error("handler_did_not_stop", reason=reason.__name__)
        if reason is LeaseLost:
            chunk.drop(context)
        else:
            chunk.end(Done(raised(context.attempted(), reason()), context.app_id, ()))
        chunk.release()
        if self._killable:
            self._doomed = (chunk, context, time.monotonic() + LAST_WORDS)
        else:
            with self._lock:
                self._given_up[context] = chunk

    def _kill_once_recorded(self, chunk: Chunk, context: JobContext, until: float) -> None:
        """Kill this process once all is written down, unless the handler came back: then it is at another job."""
        if context.over:
            self._doomed = None
        elif chunk.settled or time.monotonic() > until:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def lapsed(self) -> bool:
        """Whether our leases may run out any moment: nothing is begun any more."""
        return time.monotonic() - self._renewed_at > SELF_STOP * self._lease.total_seconds()

    def _renew_if_due(self, chunks: Sequence[Chunk]) -> None:
        now = time.monotonic()
        interval = self._lease.total_seconds() / RENEWALS_PER_LEASE
        if now - self._tried_at < interval:
            return
        self._tried_at = now - interval + min(interval, RETRY_PAUSE)  # should it fail
        held = {token: job_id for chunk in chunks for token, job_id in chunk.held().items()}
        with transaction() as session:
            kept = lease.renew(session, held, self._lease) if held else {}
            if not self._left:
                self.presence.refresh(session, self.stuck())
        self._tried_at = now
        with self._lock:
            claimed_meanwhile = self._chunks.difference(chunks)
            self._renewed_at = min([now, *(chunk.since for chunk in claimed_meanwhile)])
        for chunk in chunks:
            self._tell(chunk, held, kept)

    def _tell(self, chunk: Chunk, held: Mapping[UUID, UUID], kept: Mapping[UUID, bool]) -> None:
        chunk.forget(held.keys() - kept.keys())
        context = chunk.current
        if context is None or context.token not in held:
            return
        if context.token not in kept:
            context.interrupt(LeaseLost)
        elif kept[context.token]:
            context.interrupt(Cancelled)

    def _relieve(self, chunk: Chunk) -> None:
        """While a chunk takes long: write down what ended, and hand back what waits."""
        if chunk.age > SLOW:
            chunk.release()
        if chunk.flush_due():
            flush(chunk)


def _grace(context: JobContext) -> float:
    return context.handler.grace.total_seconds()
