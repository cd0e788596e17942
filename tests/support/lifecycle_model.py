"""What the lifecycle promises, in plain Python: foretells the answer of every transition and the row it leaves.

Seconds count from the model's beginning, and only `pass_time` moves them. What is due at this very second is due: real
time goes on a little as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from models.attempt import Outcome
from models.event import EventType
from models.job import ENDED, LIVE, WAITING, State
from models.lifecycle import Ending, Hint

S = State
EDGES = {
    (S.SCHEDULED, S.READY), (S.SCHEDULED, S.CANCELLED), (S.SCHEDULED, S.EXPIRED), (S.SCHEDULED, S.PARKED),
    (S.READY, S.DISPATCHED), (S.READY, S.CANCELLED), (S.READY, S.EXPIRED), (S.READY, S.PARKED),
    (S.DISPATCHED, S.RUNNING), (S.DISPATCHED, S.READY), (S.DISPATCHED, S.SCHEDULED), (S.DISPATCHED, S.SCHEDULED),
    (S.DISPATCHED, S.CANCELLED), (S.DISPATCHED, S.EXPIRED), (S.DISPATCHED, S.PARKED),
    (S.RUNNING, S.SUCCEEDED), (S.RUNNING, S.FAILED), (S.RUNNING, S.CANCELLED), (S.RUNNING, S.PARKED),
    (S.RUNNING, S.SCHEDULED), (S.RUNNING, S.READY),
    (S.FAILED, S.READY), (S.CANCELLED, S.READY), (S.EXPIRED, S.READY), (S.PARKED, S.READY),
}  # fmt: skip
"""The arrows of ARCHITECTURE.md; those to parked are for unsettled jobs."""
HOUR = 3600
LEASE = 2 * HOUR
MAX_LOST = 3


class Ended(NamedTuple):
    """A row of `attempts`."""

    token: UUID
    number: int
    worker: str
    outcome: Outcome
    started_seq: int
    finished_seq: int
    error: Mapping[str, Any] | None
    next_at: int | None


@dataclass
class ModelJob:
    """A row of `jobs`, with what its attempts and its events make of its timeline."""

    id: UUID
    queue: str
    max_attempts: int
    run_at: int
    expires_at: int | None = None
    deadline_at: int | None = None
    unique_key: str | None = None
    state: State = S.SCHEDULED
    attempt: int = 0
    lost: int = 0
    epoch: int = 0
    token: UUID | None = None
    worker: str | None = None
    leased_until: int | None = None
    cancelling: bool = False
    unsettled: bool = False
    checkpoint: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    claimed_seq: int | None = None
    history: list[EventType] = field(default_factory=lambda: [EventType.CREATED])
    attempts: list[Ended] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """The number of the latest event."""
        return len(self.history)

    def too_late(self, now: int) -> bool:
        """Whether it may not be started any more."""
        return any(limit is not None and limit <= now for limit in (self.expires_at, self.deadline_at))

    def ends_as(self, state: State) -> State:
        """Where it goes when it is ended without its handler's word."""
        return S.PARKED if self.unsettled else state

    @property
    def reason(self) -> Mapping[str, Any]:
        """Why it is parked, when it is cancelled before an effect of it was confirmed."""
        return self.error or {"code": "outcome_unknown", "retryable": False, "attempt": self.attempt}

    def leave_running(
        self, outcome: Outcome, error: Mapping[str, Any] | None, state: State, run_at: int, now: int
    ) -> None:
        """Write down how the attempt ended; `run_at` counts if there is to be another."""
        again = state in LIVE
        self.history.append(EventType.ATTEMPT_FINISHED)
        ended = (self.token, self.attempt, self.worker, outcome, self.claimed_seq, self.seq, error)
        self.attempts.append(Ended(*ended, next_at=max(run_at, now) if again else None))
        self.state, self.error, self.token, self.leased_until = state, error, None, None
        self.run_at = run_at if again or outcome is Outcome.LOST else self.run_at


class Model:
    """All jobs of one app. Each method is named for the function it foretells, and answers as that does."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[UUID, ModelJob] = {}

    def pass_time(self, seconds: int) -> None:
        """Time goes by."""
        self.now += seconds

    def insert(self, jobs: Iterable[ModelJob]) -> list[tuple[UUID, State]]:
        """A live holder of the unique key keeps a job out."""
        accepted = []
        for job in jobs:
            if self._taken(job.unique_key):
                continue
            job.state = S.SCHEDULED if job.run_at > self.now else S.READY
            job.run_at = max(job.run_at, self.now)
            self.jobs[job.id] = job
            accepted.append((job.id, job.state))
        return accepted

    def _taken(self, unique_key: str | None) -> bool:
        return unique_key is not None and any(
            job.unique_key == unique_key and job.state in LIVE for job in self.jobs.values()
        )

    def _select(self, queues: Sequence[str], *states: State) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.queue in queues and job.state in states]

    def stage(self, queues: Sequence[str]) -> int:
        """What is due becomes ready."""
        due = [job for job in self._select(queues, S.SCHEDULED) if job.run_at <= self.now]
        for job in due:
            job.state = S.READY
        return len(due)

    def dispatch(self, ids: Iterable[UUID]) -> dict[UUID, Hint]:
        """What is ready gets a new epoch."""
        ready = [self.jobs[job_id] for job_id in dict.fromkeys(ids) if self.jobs[job_id].state is S.READY]
        for job in ready:
            job.state, job.epoch, job.leased_until = S.DISPATCHED, job.epoch + 1, self.now + LEASE
        return {job.id: Hint(job.id, job.epoch) for job in ready}

    def _hinted(self, hints: Sequence[Hint], state: State) -> list[ModelJob]:
        """In the order in which their ids come first."""
        jobs = [self.jobs[job_id] for job_id in dict.fromkeys(hint.id for hint in hints)]
        return [job for job in jobs if job.state is state and Hint(job.id, job.epoch) in hints]

    def withdraw(self, hints: Sequence[Hint], delay: int = 0) -> int:
        """What still waits under that epoch is ready again, or due later."""
        withdrawn = self._hinted(hints, S.DISPATCHED)
        for job in withdrawn:
            job.state, job.leased_until = S.SCHEDULED if delay else S.READY, None
            job.run_at = self.now + delay if delay else job.run_at
        return len(withdrawn)

    def claim(self, hints: Sequence[Hint], worker: str) -> list[ModelJob]:
        """What still waits under that epoch and is not too late. Its token is Postgres's to draw."""
        claimed = [job for job in self._hinted(hints, S.DISPATCHED) if not job.too_late(self.now)]
        for job in claimed:
            job.history.append(EventType.ATTEMPT_STARTED)
            job.state, job.worker, job.progress = S.RUNNING, worker, None
            job.attempt, job.claimed_seq, job.leased_until = job.attempt + 1, job.seq, self.now + LEASE
        return claimed

    def claimed(self, hints: Sequence[Hint], worker: str) -> list[ModelJob]:
        """What this worker runs under that epoch, with a fresh lease."""
        held = [job for job in self._hinted(hints, S.RUNNING) if job.worker == worker]
        for job in held:
            job.leased_until = self.now + LEASE
        return held

    def prolong(self, hints: Sequence[Hint]) -> int:
        """What still waits under that epoch and has half of its lease at most."""
        jobs = self._hinted(hints, S.DISPATCHED)
        old = [job for job in jobs if job.leased_until is not None and job.leased_until <= self.now + LEASE // 2]
        for job in old:
            job.leased_until = self.now + LEASE
        return len(old)

    def held(self, token: UUID) -> ModelJob | None:
        """The job that this attempt holds."""
        return next((job for job in self.jobs.values() if job.token == token), None)

    def record(self, endings: Iterable[Ending]) -> set[UUID]:
        """The endings of attempts that hold their jobs count, the others are void."""
        recorded = set()
        for ending in endings:
            job = self.held(ending.token)
            if job is not None and job.id == ending.id:
                self._end(job, ending)
                recorded.add(job.id)
        return recorded

    def _end(self, job: ModelJob, ending: Ending) -> None:
        state = ending.state
        if state in LIVE and job.cancelling:
            state = job.ends_as(S.CANCELLED)
        elif state in (S.FAILED, S.CANCELLED) and ending.presumed:
            state = job.ends_as(state)
        if ending.state in LIVE and ending.outcome is not Outcome.RELEASED:
            job.lost = 0
        error = ending.error if state is not S.PARKED else ending.error or job.reason
        run_at = job.run_at if ending.outcome is Outcome.RELEASED else self.now + int(ending.delay)
        job.leave_running(ending.outcome, ending.error, state, run_at, self.now)
        job.error = error
        job.result = ending.result
        job.attempt -= not ending.spent

    def renew(self, held: Mapping[UUID, UUID]) -> dict[UUID, bool]:
        """Answers, by token, whether to cancel; a lease that ran out and was not taken goes on."""
        jobs = [job for token in held if (job := self.held(token)) is not None]
        for job in jobs:
            job.leased_until = self.now + LEASE
        return {job.token: job.cancelling for job in jobs if job.token is not None}

    def save_progress(self, token: UUID, progress: Mapping[str, Any]) -> bool:
        """Only the holder may."""
        job = self.held(token)
        if job is not None:
            job.progress = progress
            job.history.append(EventType.PROGRESS)
        return job is not None

    def save_checkpoint(self, token: UUID, checkpoint: Mapping[str, Any], *, unsettled: bool) -> bool:
        """Only the holder may."""
        job = self.held(token)
        if job is not None:
            job.checkpoint, job.unsettled = checkpoint, unsettled
        return job is not None

    def abandon(self, ids: Iterable[UUID], worker: str) -> None:
        """What that worker holds has no lease left."""
        for job in map(self.jobs.__getitem__, ids):
            if job.state is S.RUNNING and job.worker == worker:
                job.leased_until = self.now

    def _lapsed(self, queues: Sequence[str], state: State, early: int = 0) -> list[ModelJob]:
        jobs = self._select(queues, state)
        return [job for job in jobs if job.leased_until is not None and job.leased_until <= self.now + early]

    def rescue(self, queues: Sequence[str]) -> set[UUID]:
        """Counted as lost, not as an attempt; the third loss is the last."""
        rescued = self._lapsed(queues, S.RUNNING)
        for job in rescued:
            pause = min(2**job.lost - 1, 60)
            job.lost += 1
            more = job.lost < MAX_LOST
            ended = S.CANCELLED if job.cancelling else S.FAILED
            state = S.SCHEDULED if more and not job.cancelling else job.ends_as(ended)
            error = {"code": "worker_lost", "retryable": more, "attempt": job.attempt}
            run_at = self.now + pause if pause else job.run_at
            job.leave_running(Outcome.LOST, error, state, run_at, self.now)
            job.attempt -= 1
        return {job.id for job in rescued}

    def lose_messages(self, queues: Sequence[str], early: int = 0) -> int:
        """What nobody claimed in time is ready again."""
        lost = self._lapsed(queues, S.DISPATCHED, early)
        for job in lost:
            job.state, job.leased_until = S.READY, None
            job.history.append(EventType.MESSAGE_LOST)
        return len(lost)

    def expire(self, queues: Sequence[str]) -> set[UUID]:
        """What is too late to start has ended."""
        late = [job for job in self._select(queues, *WAITING) if job.too_late(self.now)]
        for job in late:
            overdue = job.deadline_at is not None and job.deadline_at <= self.now
            code = "deadline_exceeded" if overdue else "expired"
            job.error = {"code": code, "retryable": False, "attempt": job.attempt}
            job.state, job.leased_until = job.ends_as(S.EXPIRED), None
            job.history.append(EventType.EXPIRED)
        return {job.id for job in late}

    def cancel(self, job_id: UUID) -> State | None:
        """What waits has ended; what runs is asked, once."""
        job = self.jobs[job_id]
        if job.state not in LIVE or job.cancelling:
            return None
        job.cancelling = True
        if job.state is not S.RUNNING:
            job.error = job.reason if job.unsettled else job.error
            job.state, job.leased_until = job.ends_as(S.CANCELLED), None
        job.history.append(EventType.CANCELLED if job.state is S.CANCELLED else EventType.CANCEL_REQUESTED)
        return job.state

    def give_way(self, unique_keys: Sequence[str]) -> set[UUID]:
        """What waits under these keys has ended."""
        found = {job.id for job in self.jobs.values() if job.unique_key in unique_keys and job.state in WAITING}
        for job_id in found:
            self.cancel(job_id)
        return found

    def retry(self, job_id: UUID) -> str | None:
        """What ended without success begins anew. Raises `ValueError` when a live job has its unique key."""
        job = self.jobs[job_id]
        if job.state not in ENDED or job.state is S.SUCCEEDED:
            return None
        if self._taken(job.unique_key):
            raise ValueError(job.unique_key)
        job.state, job.run_at, job.attempt, job.lost, job.result, job.error = S.READY, self.now, 0, 0, None, None
        job.cancelling = False
        job.expires_at, job.deadline_at = self._still_ahead(job.expires_at), self._still_ahead(job.deadline_at)
        job.history.append(EventType.RETRIED)
        return job.queue

    def _still_ahead(self, limit: int | None) -> int | None:
        return limit if limit is not None and limit > self.now else None

    def _ahead(self, limit: int | None) -> int | None:
        return None if limit is None or limit <= self.now else limit
