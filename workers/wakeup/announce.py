"""Announcements: tell whoever waits for a job that it has changed, so that a long poll answers at once.

Workers publish the ids of changed jobs on one Redis channel; a process with waiters listens with a single thread.
Best effort: whoever waits also looks into Postgres at least once a second.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from workers.wakeup.connections import redis_client

log = structlog.get_logger()

CHANNEL = "mainstay:changed"
BREAK = 1.0


class _Breaker:
    """Leaves Redis alone for a while after it failed, so that a frozen one does not slow every worker down."""

    def __init__(self) -> None:
        self._closed_at = 0.0

    def publish(self, ids: Iterable[UUID]) -> None:
        if time.monotonic() < self._closed_at:
            return
        try:
            redis_client().publish(CHANNEL, " ".join(str(job_id) for job_id in ids))
        except RedisError as error:
            self._closed_at = time.monotonic() + BREAK
            log.warning("announcement_failed", error=type(error).__name__)


_breaker = _Breaker()


def announce(ids: Iterable[UUID]) -> None:
    """Say that these jobs changed. Never raises; waits at most half a second for a sick Redis, once a second."""
    ids = list(ids)
    if ids:
        _breaker.publish(ids)


class Change:
    """One waiter's view of one job."""

    def __init__(self) -> None:
        self._event = Event()

    def wait(self, seconds: float) -> bool:
        """Return True as soon as the job changed since the last call, False after `seconds`."""
        changed = self._event.wait(max(0.0, seconds))
        self._event.clear()
        return changed

    def tell(self) -> None:
        """Wake the waiter."""
        self._event.set()


class _Listener:
    """The subscription of this process: one thread, as many waiters as there are."""

    def __init__(self) -> None:
        self._waiters: defaultdict[str, set[Change]] = defaultdict(set)
        self._lock = Lock()
        self._thread: Thread | None = None

    def add(self, job_id: UUID, change: Change) -> None:
        with self._lock:
            self._waiters[str(job_id)].add(change)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._listen, name="announcements", daemon=True)
                self._thread.start()

    def remove(self, job_id: UUID, change: Change) -> None:
        with self._lock:
            waiters = self._waiters[str(job_id)]
            waiters.discard(change)
            if not waiters:
                del self._waiters[str(job_id)]

    def _listen(self) -> None:
        while True:
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001  # the turn of a loop that must not end
                log.warning("announcements_interrupted", error=type(error).__name__)
                time.sleep(BREAK)

    def _follow(self) -> None:
        with redis_client(timeout=None).pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]  # redis-py
            channel.subscribe(CHANNEL)
            for message in channel.listen():
                self._tell(message["data"].split())

    def _tell(self, ids: list[str]) -> None:
        with self._lock:
            changes = [change for job_id in ids if job_id in self._waiters for change in self._waiters[job_id]]
        for change in changes:
            change.tell()


_listener = _Listener()


@contextmanager
def watch(job_id: UUID) -> Iterator[Change]:
    """Wait for changes of one job: `change.wait(1.0)` inside the block.

    Look into Postgres after each wait, whatever it returned.
    """
    change = Change()
    _listener.add(job_id, change)
    try:
        yield change
    finally:
        _listener.remove(job_id, change)


def forget() -> None:
    """Begin anew in a forked child: threads do not cross a fork."""
    global _breaker, _listener  # one of each per process
    _breaker, _listener = _Breaker(), _Listener()
