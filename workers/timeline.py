"""A job's timeline: what its row, its attempts and its stored events say, put in order.

Every event of a job has a number, counted without gaps from 1. Creation, the start and the end of attempts are derived;
`events` holds the rest.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Attempt, Event, Job
from models.event import EventType
from models.job import State


class TimelineEvent(NamedTuple):
    """Something that happened to a job."""

    seq: int
    type: EventType
    at: datetime
    data: dict[str, Any]


def timeline(session: Session, job_id: UUID, after_seq: int = 0, limit: int = 200) -> list[TimelineEvent]:
    """The events of the job after number `after_seq`, oldest first; none for a job that does not exist."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        return []
    events = [*_of_job(job), *_of_attempts(session, job_id, after_seq), *_stored(session, job_id, after_seq)]
    return sorted((event for event in events if event.seq > after_seq), key=lambda event: event.seq)[:limit]


def _of_job(job: Job) -> list[TimelineEvent]:
    created = TimelineEvent(1, EventType.CREATED, job.created_at, {})
    if job.state != State.RUNNING or job.claimed_seq is None or job.started_at is None:
        return [created]
    started = {"attempt": job.attempt, "worker": job.worker}
    return [created, TimelineEvent(job.claimed_seq, EventType.ATTEMPT_STARTED, job.started_at, started)]


def _of_attempts(session: Session, job_id: UUID, after_seq: int) -> list[TimelineEvent]:
    rows = session.scalars(select(Attempt).where(Attempt.job_id == job_id, Attempt.finished_seq > after_seq))
    return [event for attempt in rows for event in (_start(attempt), _end(attempt))]


def _start(attempt: Attempt) -> TimelineEvent:
    data = {"attempt": attempt.number, "worker": attempt.worker}
    return TimelineEvent(attempt.started_seq, EventType.ATTEMPT_STARTED, attempt.started_at, data)


def _end(attempt: Attempt) -> TimelineEvent:
    data: dict[str, Any] = {"attempt": attempt.number, "outcome": attempt.outcome}
    if attempt.error is not None:
        data["error"] = attempt.error
    if attempt.next_at is not None:
        data["next_at"] = attempt.next_at.isoformat().replace("+00:00", "Z")
    return TimelineEvent(attempt.finished_seq, EventType.ATTEMPT_FINISHED, attempt.finished_at, data)


def _stored(session: Session, job_id: UUID, after_seq: int) -> list[TimelineEvent]:
    rows = session.scalars(select(Event).where(Event.job_id == job_id, Event.seq > after_seq))
    return [TimelineEvent(row.seq, EventType(row.type), row.at, row.data or {}) for row in rows]
