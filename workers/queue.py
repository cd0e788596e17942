"""The verbs on jobs that the API, the CLI and handlers use: enqueue, cancel, retry.

Each works inside the caller's transaction. Ring `workers.wakeup.doorbell` after it has committed, not before.
"""

from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Job, lifecycle
from models.job import LIVE, State
from models.lifecycle import NewJob

__all__ = [
    "Conflict", "Enqueued", "JobEnded", "JobNotFound", "NewJob", "NotRetryable", "UniqueKeyTaken", "cancel", "enqueue",
    "retry",
]  # fmt: skip

TRIES = 3
"""How often a unique key may change hands before it counts as taken."""


class JobNotFound(Exception):
    """The app has no such job."""


class JobEnded(Exception):
    """The job has ended: there is nothing left to cancel."""

    def __init__(self, state: State) -> None:
        super().__init__(f"the job is {state}")
        self.state = state


class NotRetryable(Exception):
    """Only a job that failed, was cancelled, expired or is parked can be retried."""

    def __init__(self, state: State) -> None:
        super().__init__(f"the job is {state}")
        self.state = state


class UniqueKeyTaken(Exception):
    """Another live job has this job's unique key now."""


class Enqueued(NamedTuple):
    """An accepted job."""

    id: UUID
    state: State
    run_at: datetime
    created_at: datetime


class Conflict(NamedTuple):
    """A job that was not accepted because a live one has its `unique_key`."""

    id: UUID | None
    """The live job; None when the key changed hands whenever we looked."""
    existing: bool
    """Whether the submitter asked for the live job instead (`on_conflict = return_existing`)."""


def enqueue(session: Session, app_id: UUID, jobs: Sequence[NewJob]) -> list[Enqueued | Conflict]:
    """Write jobs: in one statement, unless unique keys are in the way. Returns what became of each, in their order.

    Who would replace a live job cancels it if it waits; one that runs stays as it is, and is a conflict. Of several new
    jobs with one key the first is accepted.
    """
    replacing = [job.unique_key for job in jobs if job.unique_key is not None and job.on_conflict == "replace"]
    if replacing:
        lifecycle.give_way(session, app_id, replacing)
    accepted = dict(_inserted(session, app_id, jobs))
    outcomes: dict[int, Enqueued | Conflict] = {**accepted}
    ours = {enqueued.id for enqueued in accepted.values()}
    kept_out = [index for index in range(len(jobs)) if index not in accepted]
    for index in sorted(kept_out, key=lambda index: jobs[index].unique_key or ""):
        outcomes[index] = _second_try(session, app_id, jobs[index], ours)
    return [outcomes[index] for index in range(len(jobs))]


def cancel(session: Session, app_id: UUID, job_id: UUID) -> State:
    """Cancel a waiting job, or ask a running one to stop; asking again changes nothing. Returns its state now.

    Raises `JobNotFound`, or `JobEnded`.
    """
    state = lifecycle.cancel(session, app_id, job_id)
    if state is not None:
        return state
    # Locked, so that what it says is still so when we answer, or cancel once more: a retry may have come between.
    found = session.execute(
        select(Job.state, Job.cancel_requested_at).where(Job.id == job_id, Job.app_id == app_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise JobNotFound(str(job_id))
    if found.state not in LIVE:
        raise JobEnded(State(found.state))
    return State(found.state) if found.cancel_requested_at else cancel(session, app_id, job_id)


def retry(session: Session, app_id: UUID, job_id: UUID) -> str:
    """Give an ended job all its attempts anew. Returns its queue.

    Raises `JobNotFound`, `NotRetryable`, or `UniqueKeyTaken`.
    """
    try:
        with session.begin_nested():
            queue = lifecycle.retry(session, app_id, job_id)
    except IntegrityError:
        raise UniqueKeyTaken(str(job_id)) from None
    if queue is None:
        raise NotRetryable(_state(session, app_id, job_id))
    return queue


def _state(session: Session, app_id: UUID, job_id: UUID) -> State:
    state = session.scalar(select(Job.state).where(Job.id == job_id, Job.app_id == app_id))
    if state is None:
        raise JobNotFound(str(job_id))
    return State(state)


def _inserted(session: Session, app_id: UUID, jobs: Sequence[NewJob]) -> Iterator[tuple[int, Enqueued]]:
    for row in lifecycle.insert(session, app_id, jobs):
        yield row.ordinal, Enqueued(row.id, row.state, row.run_at, row.created_at)


def _second_try(session: Session, app_id: UUID, job: NewJob, ours: Container[UUID]) -> Enqueued | Conflict:
    """Name the live job that kept `job` out. Should it have ended or given way meanwhile, there may be room after all.

    What was accepted beside `job`, `ours`, does not give way to it.
    """
    key = job.unique_key or ""
    for _ in range(TRIES):
        live = _live(session, app_id, key)
        replaceable = live is not None and job.on_conflict == "replace" and live not in ours
        if live is not None and not (replaceable and lifecycle.give_way(session, app_id, [key])):
            return Conflict(live, existing=job.on_conflict == "return_existing")
        for _, enqueued in _inserted(session, app_id, [job]):
            return enqueued
    return Conflict(None, existing=False)


def _live(session: Session, app_id: UUID, unique_key: str) -> UUID | None:
    return session.scalar(select(Job.id).where(Job.app_id == app_id, Job.unique_key == unique_key, Job.state.in_(LIVE)))
