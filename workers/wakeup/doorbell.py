"""The doorbell: tells the dispatcher that a queue has new work, so that it need not wait for its next look.

Ringing is fire and forget. It is done by a thread of its own, so that a frozen Redis costs the ringer nothing; a ring
that is lost costs the dispatcher's poll interval.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Condition, Thread

import structlog
from redis.exceptions import RedisError

from workers.wakeup.connections import redis_client

log = structlog.get_logger()

RESOLUTION = 0.1
"""Seconds below which the server's time-outs are too coarse: a shorter wait just sleeps, a ring stays for the next."""
BREAK = 1.0
"""Seconds to leave Redis alone after it failed."""


def _key(queue: str) -> str:
    return f"mainstay:doorbell:{queue}"


class _Ringer:
    """Collects the queues to ring for and rings them together; one per process, started by its first ring."""

    def __init__(self) -> None:
        self._due: set[str] = set()
        self._condition = Condition()
        self._thread: Thread | None = None

    def ring(self, queues: Iterable[str]) -> None:
        with self._condition:
            self._due.update(queues)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._due:
                    self._condition.wait()
                queues, self._due = self._due, set()
            try:
                _push(queues)
            except Exception as error:  # noqa: BLE001  # the turn of a loop that must not end
                log.warning("doorbell_failed", error=type(error).__name__)
                time.sleep(BREAK)


def _push(queues: Iterable[str]) -> None:
    pipe = redis_client().pipeline(transaction=False)
    for queue in queues:
        pipe.lpush(_key(queue), 1)
        pipe.ltrim(_key(queue), 0, 0)
        pipe.expire(_key(queue), 60)
    pipe.execute()


_ringer = _Ringer()


def ring(queues: Iterable[str]) -> None:
    """Wake the dispatcher of `queues`. Never blocks and never raises; call it after the commit."""
    _ringer.ring(queues)


def forget() -> None:
    """Begin anew in a forked child: threads do not cross a fork."""
    global _ringer  # noqa: PLW0603  # one ringer per process
    _ringer = _Ringer()


def wait(queues: Sequence[str], seconds: float) -> str | None:
    """Return the first of `queues` that rings, or None after `seconds`, with or without Redis."""
    started = time.monotonic()
    rung = _pop(queues, seconds) if seconds >= RESOLUTION else None
    if rung is None:
        time.sleep(max(0.0, seconds - (time.monotonic() - started)))
    return rung


def _pop(queues: Sequence[str], seconds: float) -> str | None:
    with suppress(RedisError):
        rung = redis_client(timeout=2.0).blpop([_key(queue) for queue in queues], timeout=seconds)
        if rung is not None:
            return str(rung[0]).removeprefix(_key(""))
    return None
