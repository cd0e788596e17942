"""One message's jobs in the hands of a worker: what waits, what runs, what has ended and is not yet recorded.

Two threads share it: the one that performs, and the keeper that renews, hands back and records beside it.
"""

import time
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from models.lifecycle import Claim, Ending, NewJob
from workers.context import JobContext

FLUSH_AFTER = 0.05
"""Seconds of work after which endings are written down."""


class Done(NamedTuple):
    """An ended attempt and the child jobs that go with it, should it be recorded as a success."""

    ending: Ending
    app_id: UUID
    children: Sequence[NewJob]


class Chunk:
    """The claims of one message. They are performed in order; what is performed is recorded in batches."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._lock = Lock()
        self._waiting = deque(claims)
        self._done: list[Done] = []
        self._recording: list[Done] = []
        self._done_since = 0.0
        self.current: JobContext | None = None

    def begin(self) -> Claim | None:
        """Take the next job to perform; None when none is left."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def perform(self, context: JobContext) -> None:
        """From now on the job of `context` is the one that runs."""
        self.current = context

    def end(self, done: Done) -> None:
        """Keep an ending until it is recorded. Of two endings of one attempt only the first counts."""
        with self._lock:
            if self.current is not None and self.current.token == done.ending.token:
                self.current = None
                if not self._done:
                    self._done_since = time.monotonic()
                self._done.append(done)

    def drop(self, context: JobContext) -> None:
        """The attempt lost its job: there is nothing to record."""
        with self._lock:
            if self.current is context:
                self.current = None

    def flush_due(self) -> bool:
        """Whether endings have waited long enough to be worth a write."""
        return bool(self._done) and time.monotonic() - self._done_since >= FLUSH_AFTER

    def take_done(self) -> list[Done]:
        """Take what is to be recorded now; `put_back` it when that fails."""
        with self._lock:
            done, self._done = self._done, []
            self._recording.extend(done)
            return done

    def put_back(self, done: Sequence[Done]) -> None:
        """Recording failed: keep them for the next time."""
        with self._lock:
            self._recording = [item for item in self._recording if item not in done]
            self._done = [*done, *self._done]

    def recorded(self, done: Sequence[Done]) -> None:
        """These are written down."""
        with self._lock:
            self._recording = [item for item in self._recording if item not in done]

    def take_waiting(self) -> list[Claim]:
        """Take everything that was not begun, to hand it back."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            return waiting

    def held(self) -> dict[UUID, UUID]:
        """The job ids by lease token of all that is in our hands and not yet recorded."""
        with self._lock:
            held = {claim.token: claim.id for claim in self._waiting}
            held.update({done.ending.token: done.ending.id for done in (*self._done, *self._recording)})
            if self.current is not None:
                held[self.current.token] = self.current.job_id
            return held

    @property
    def settled(self) -> bool:
        """Whether nothing of it is left to do or to record."""
        with self._lock:
            return not (self._waiting or self._done or self._recording or self.current)
