"""The verbs on jobs that the API, the CLI and handlers use: enqueue, cancel, retry.

Each works inside the caller's transaction. Ring `workers.wakeup.doorbell` after it has committed, not before.
"""

from collections.abc import Sequence
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

    id: UUID
    """The live job."""
    existing: bool
    """Whether the submitter asked for the live job instead (`on_conflict = return_existing`)."""


def enqueue(session: Session, app_id: UUID, jobs: Sequence[NewJob]) -> list[Enqueued | Conflict]:
    """Write jobs, in one statement however many. Returns what became of each, in their order."""
    for job in jobs:
        if job.unique_key is not None and job.on_conflict == "replace":
            _clear_the_way(session, app_id, job.unique_key)
    accepted = {
        row.ordinal: Enqueued(row.id, row.state, row.run_at, row.created_at)
        for row in lifecycle.insert(session, app_id, jobs)
    }
    return [accepted.get(index) or _conflict(session, app_id, job) for index, job in enumerate(jobs)]


def cancel(session: Session, app_id: UUID, job_id: UUID) -> State:
    """Cancel a waiting job, or ask a running one to stop; asking again changes nothing. Returns its state now.

    Raises `JobNotFound`, or `JobEnded`.
    """
    state = lifecycle.cancel(session, app_id, job_id)
    if state is not None:
        return state
    state = _state(session, app_id, job_id)
    if state in LIVE:
        return state
    raise JobEnded(state)


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


def _live(session: Session, app_id: UUID, unique_key: str) -> UUID | None:
    return session.scalar(select(Job.id).where(Job.app_id == app_id, Job.unique_key == unique_key, Job.state.in_(LIVE)))


def _clear_the_way(session: Session, app_id: UUID, unique_key: str) -> None:
    live = _live(session, app_id, unique_key)
    if live is not None:
        lifecycle.cancel(session, app_id, live)


def _conflict(session: Session, app_id: UUID, job: NewJob) -> Enqueued | Conflict:
    """Name the live job that kept `job` out. Should it have ended in this very moment, there is room after all."""
    live = _live(session, app_id, job.unique_key or "")
    if live is not None:
        return Conflict(live, existing=job.on_conflict == "return_existing")
    (row,) = lifecycle.insert(session, app_id, [job])
    return Enqueued(row.id, row.state, row.run_at, row.created_at)
