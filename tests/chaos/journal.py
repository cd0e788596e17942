"""What the clients of a run asked for and were told: the promises against which rows are counted afterwards."""

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

RECENT = 50
"""Few, so that whoever asks for one finds it waiting or running now and then."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that the API said it has stored, at `at` on the monotonic clock."""

    id: UUID
    kind: str
    request: str
    """What its row's label `request` says: another's name where an existing job was the answer."""
    key: str | None
    at: float


@dataclass(slots=True)
class Request:
    """One submit, however often it was sent. As long as it is not answered, all of its jobs may exist, or none."""

    name: str
    size: int
    bulk: bool
    key: str | None
    answered: bool = False
    refused: str | None = None
    """Status and code of a final refusal."""
    existing: bool = False
    """The answer was a job that another request had made (`on_conflict = return_existing`)."""
    ids: list[UUID] = field(default_factory=list)


class _Answer(NamedTuple):
    ended: float
    began: float


class Journal:
    """Written by all clients at once, read when they are done; ids and times may be asked for at any time."""

    def __init__(self) -> None:
        self.accepted: dict[UUID, Accepted] = {}
        self.requests: dict[str, Request] = {}
        self.cancelled: set[UUID] = set()
        """Jobs whose cancelling was answered 202; any number more may have been cancelled without an answer."""
        self.retried: set[UUID] = set()
        """Jobs whose retry was answered 202, likewise."""
        self.contradictions: list[str] = []
        """Answers that cannot both be true, one sentence each."""
        self.refused: Counter[str] = Counter()
        """Final refusals by status and code."""
        self.failures: Counter[str] = Counter()
        """What stood in for an answer: a status that passes, or the name of an error."""
        self._answers: list[_Answer] = []
        self._recent: deque[UUID] = deque(maxlen=RECENT)
        self._lock = threading.Lock()

    def ask(self, name: str, size: int, key: str | None, *, bulk: bool = False) -> None:
        """A request is about to be sent for the first time."""
        with self._lock:
            self.requests[name] = Request(name, size, bulk, key)

    def accept(self, name: str, jobs: Sequence[Mapping[str, Any]]) -> list[UUID]:
        """The API answered a request with these jobs. A second answer must be the first again."""
        ids = [UUID(job["id"]) for job in jobs]
        with self._lock:
            request = self.requests[name]
            if request.answered and request.ids != ids:
                self.contradictions.append(f"{name} was answered with {_named(request.ids)} and with {_named(ids)}")
            elif not request.answered:
                request.answered, request.ids = True, ids
                for job_id, job in zip(ids, jobs, strict=True):
                    self._remember(request, job_id, job)
        return ids

    def refuse(self, name: str, why: str) -> None:
        """The API will not have the request."""
        with self._lock:
            request = self.requests[name]
            request.refused = why
            self.refused[why] += 1
            if request.answered:
                self.contradictions.append(f"{name} was accepted and refused ({why})")

    def contradict(self, sentence: str) -> None:
        """An answer that is wrong by itself, such as 404 for a job that was accepted."""
        with self._lock:
            self.contradictions.append(sentence)

    def failed(self, what: str) -> None:
        """A request came to nothing, for now."""
        with self._lock:
            self.failures[what] += 1

    def answered(self, began: float) -> None:
        """A request that was sent at `began` was answered with a success just now."""
        with self._lock:
            self._answers.append(_Answer(time.monotonic(), began))

    def first_answer_after(self, moment: float) -> float | None:
        """When the first success came of a request that was sent at `moment` or later; None when there is none yet.

        What was sent before and answered after does not count: it may have been through before a fault struck.
        """
        with self._lock:
            first = bisect_left(self._answers, (moment, 0.0))
            for index in range(first, len(self._answers)):
                if self._answers[index].began >= moment:
                    return self._answers[index].ended
        return None

    def recent(self, chance: Random) -> UUID | None:
        """Any of the jobs that were accepted last."""
        with self._lock:
            return chance.choice(self._recent) if self._recent else None

    def _remember(self, request: Request, job_id: UUID, job: Mapping[str, Any]) -> None:
        owner = job["labels"].get("request", "")
        request.existing = request.existing or owner != request.name
        if job_id not in self.accepted:
            self.accepted[job_id] = Accepted(job_id, job["kind"], owner, request.key, time.monotonic())
            self._recent.append(job_id)


def _named(ids: Sequence[UUID]) -> str:
    shown = ", ".join(str(job_id) for job_id in ids[:3])
    return f"{shown} and {len(ids) - 3} more" if len(ids) > 3 else shown or "no job"
