"""The job as the API shows it: the models that document it, and the functions that render it.

Rendering goes around the models, from row to resource in one step: what Postgres holds needs no second
validation.
"""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Row, Table, bindparam, select
from sqlalchemy.orm import Session

from api.edge.errors import Problem
from models import Job
from models.job import ENDED, State
from workers.queue import Enqueued, NewJob


class JobError(BaseModel):
    """Why the last attempt was no success, or why the job was never performed."""

    code: str = Field(description="Stable and machine-readable.")
    message: str
    details: dict[str, Any] | None = None
    retryable: bool = Field(description="Whether trying again may help.")
    attempt: int


class JobPath(BaseModel):
    """The address of everything that belongs to one job."""

    job_id: UUID


class JobProgress(BaseModel):
    """What the handler last said of how far it is."""

    fraction: float
    note: str


class JobResource(BaseModel):
    """One request to run one handler with one set of params, and what became of it."""

    id: UUID
    kind: str
    queue: str
    state: State
    priority: int
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: JobError | None
    attempt: int = Field(description="Attempts spent, the running one included.")
    max_attempts: int
    progress: JobProgress | None
    labels: dict[str, str]
    unique_key: str | None
    parent_id: UUID | None = Field(description="The job whose handler enqueued this one.")
    created_at: AwareDatetime
    run_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    deadline_at: AwareDatetime | None = Field(description="What `deadline_s` came to.")
    cancel_requested_at: AwareDatetime | None


_JOBS: Table = Job.__table__  # type: ignore[assignment]  # declared as FromClause, made as Table
_SHOWN = (
    "id", "kind", "queue", "state", "priority", "params", "result", "error", "attempt", "max_attempts",
    "progress", "labels", "unique_key", "parent_id", "created_at", "run_at", "started_at", "finished_at", "expires_at",
    "deadline_at", "cancel_requested_at",
)  # fmt: skip
COLUMNS = tuple(_JOBS.c[name] for name in _SHOWN)
"""What a query selects for `rendered`, in the order in which it shows them."""

_ONE = select(*COLUMNS).where(_JOBS.c.id == bindparam("id"), _JOBS.c.app_id == bindparam("app_id"))
_END = frozenset(ENDED)


def read(session: Session, app_id: UUID, job_id: UUID) -> dict[str, Any] | None:
    """The job's resource, or None where the app has no such job."""
    row = session.execute(_ONE, {"id": job_id, "app_id": app_id}).one_or_none()
    return None if row is None else rendered(row)


def rendered(row: Row[Any]) -> dict[str, Any]:
    """The resource of a row of `COLUMNS`; ids and times are left to the JSON encoder."""
    (
        job_id, kind, queue, state, priority, params, result, error, attempt, max_attempts, progress, labels,
        unique_key, parent_id, created_at, run_at, started_at, finished_at, expires_at, deadline_at,
        cancel_requested_at,
    ) = tuple(row)  # fmt: skip
    return {
        "id": job_id, "kind": kind, "queue": queue, "state": state, "priority": priority,
        "params": params, "result": result, "error": error, "attempt": attempt, "max_attempts": max_attempts,
        "progress": progress, "labels": labels, "unique_key": unique_key, "parent_id": parent_id,
        "created_at": created_at, "run_at": run_at, "started_at": started_at, "finished_at": finished_at,
        "expires_at": expires_at, "deadline_at": deadline_at, "cancel_requested_at": cancel_requested_at,
    }  # fmt: skip


def rendered_new(new: NewJob, enqueued: Enqueued) -> dict[str, Any]:
    """The resource of a job that was written a moment ago, without reading it back."""
    return {
        "id": enqueued.id, "kind": new.kind, "queue": new.queue, "state": enqueued.state,
        "priority": new.priority, "params": new.params, "result": None, "error": None, "attempt": 0,
        "max_attempts": new.max_attempts, "progress": None, "labels": new.labels,
        "unique_key": new.unique_key, "parent_id": new.parent_id,
        "created_at": enqueued.created_at, "run_at": enqueued.run_at, "started_at": None, "finished_at": None,
        "expires_at": new.expires_at, "deadline_at": new.deadline_at, "cancel_requested_at": None,
    }  # fmt: skip


def has_ended(state: str) -> bool:
    """Whether a job in this state does nothing more by itself."""
    return state in _END


def not_found() -> Problem:
    """The answer for another app's job as well as for none."""
    return Problem(404, "not_found", "there is no such job")
