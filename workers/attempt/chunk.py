"""One message's jobs in the hands of a worker: what waits, what runs, what has ended and is not yet recorded.

Two threads share it: the one that performs, and the keeper that renews, hands back and records beside it.
"""

import time
from collections import deque
from collections.abc import Collection, Sequence
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from models.lifecycle import Claim, Ending, NewJob
from workers.attempt.context import JobContext
from workers.attempt.outcome import released

FLUSH_AFTER = 0.05
"""Seconds of work after which endings are written down."""


class Done(NamedTuple):
    """An ended attempt and the child jobs that go with it, should it be recorded as a success."""

    ending: Ending
    app_id: UUID
    children: Sequence[NewJob]


class Chunk:
    """The claims of one message. They are performed in order; what is performed is recorded in batches.

    `since` is a moment before they were claimed, so that no lease of them runs out earlier than counted from there.
    """

    def __init__(self, claims: Sequence[Claim], since: float) -> None:
        self.since = since
        self._lock = Lock()
        self._waiting = deque(claims)
        self._done: list[Done] = []
        self._recording: dict[UUID, Done] = {}
        self._done_since = 0.0
        self.current: JobContext | None = None

    @property
    def age(self) -> float:
        """Seconds since before the claim."""
        return time.monotonic() - self.since

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
            self._recording.update({item.ending.token: item for item in done})
            return done

    def put_back(self, done: Sequence[Done]) -> None:
        """Recording failed: keep them for the next time."""
        with self._lock:
            self._forget_recording(done)
            self._done = [*done, *self._done]

    def recorded(self, done: Sequence[Done]) -> None:
        """These are written down."""
        with self._lock:
            self._forget_recording(done)

    def release(self) -> None:
        """Nothing else is begun: what waits has ended as handed back, and all that has ended is due to be recorded."""
        with self._lock:
            self._done.extend(Done(released(claim.id, claim.token), claim.app_id, ()) for claim in self._waiting)
            self._done_since = 0.0
            self._waiting.clear()

    def forget(self, tokens: Collection[UUID]) -> None:
        """These attempts lost their jobs: those that wait are not begun any more."""
        with self._lock:
            self._waiting = deque(claim for claim in self._waiting if claim.token not in tokens)

    def held(self) -> dict[UUID, UUID]:
        """The job ids by lease token of all that is in our hands and not yet recorded."""
        with self._lock:
            held = {claim.token: claim.id for claim in self._waiting}
            held.update({done.ending.token: done.ending.id for done in (*self._done, *self._recording.values())})
            if self.current is not None:
                held[self.current.token] = self.current.job_id
            return held

    @property
    def settled(self) -> bool:
        """Whether nothing of it is left to do or to record, by whichever thread."""
        with self._lock:
            return not (self._waiting or self._done or self._recording or self.current)

    def _forget_recording(self, done: Sequence[Done]) -> None:
        for item in done:
            self._recording.pop(item.ending.token, None)
