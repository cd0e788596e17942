"""Compare what is in Postgres with what `Model` foretold of it: rows, attempts, and the timeline they make."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Attempt, Job
from tests.support.lifecycle_model import Model, ModelJob
from workers.timeline import timeline

SLACK = 1800
"""Seconds by which a moment may differ: real time goes on a little, and the model moves in hours."""
PLAIN = (
    "queue", "state", "max_attempts", "attempt", "lost", "epoch", "seq", "claimed_seq", "worker", "unsettled",
    "checkpoint", "progress", "result", "unique_key",
)  # fmt: skip
MOMENTS = {
    "run_at": "run_at",
    "leased_until": "lease_expires_at",
    "expires_at": "expires_at",
    "deadline_at": "deadline_at",
}


def check(session: Session, model: Model) -> None:
    """Every row is as foretold."""
    rows = session.execute(select(Job, func.now()).execution_options(populate_existing=True)).all()
    assert {job.id for job, _ in rows} == set(model.jobs)
    attempts = session.scalars(select(Attempt).order_by(Attempt.finished_seq)).all()
    for job, now in rows:
        _check_job(model.jobs[job.id], model.now, job, now)
        _check_attempts(model.jobs[job.id], [attempt for attempt in attempts if attempt.job_id == job.id])


def _check_job(expected: ModelJob, expected_now: int, job: Job, now: datetime) -> None:
    for name in PLAIN:
        assert getattr(job, name) == getattr(expected, name), name
    assert (job.lease_token, _unworded(job.error)) == (expected.token, expected.error)
    assert (job.cancel_requested_at is not None) == expected.cancelling
    for name, column in MOMENTS.items():
        moment = getattr(job, column)
        seconds = None if moment is None else (moment - now).total_seconds()
        foretold = getattr(expected, name)
        assert near(seconds, None if foretold is None else foretold - expected_now), column


def near(seconds: float | None, foretold: float | None) -> bool:
    """Whether both are nothing, or almost the same."""
    if seconds is None or foretold is None:
        return seconds is foretold
    return abs(seconds - foretold) < SLACK


def _unworded(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return error and {key: value for key, value in error.items() if key != "message"}


def _check_attempts(expected: ModelJob, attempts: Iterable[Attempt]) -> None:
    found = [
        (row.id, row.number, row.worker, row.outcome, row.started_seq, row.finished_seq, _unworded(row.error),
         row.next_at is not None)
        for row in attempts
    ]  # fmt: skip
    assert found == [(*ended[:7], ended.next_at is not None) for ended in expected.attempts]


def check_timeline(session: Session, job: ModelJob) -> None:
    """Its events are those foretold, numbered from 1 without a gap."""
    events = timeline(session, job.id, limit=1000)
    assert [(event.seq, event.type) for event in events] == list(enumerate(job.history, 1))


def check_timelines(session: Session, model: Model, ids: Iterable[UUID] | None = None) -> None:
    """The timelines of all jobs, or of those named."""
    for job_id in model.jobs if ids is None else ids:
        check_timeline(session, model.jobs[job_id])
