"""GET /v1/jobs/{id}/attempts: every execution of a job, the one that runs now included."""

from typing import Any
from uuid import UUID

from flask_openapi import APIBlueprint
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.edge.auth import caller, requires
from api.jobs.resource import JobError, JobPath, not_found
from api.openapi import responses
from api.page_query import PageQuery
from models import Attempt, Job
from models.attempt import Outcome
from models.job import State
from models.session import transaction

blueprint = APIBlueprint("attempts", __name__)

_SHOWN = (
    Attempt.number, Attempt.outcome, Attempt.worker, Attempt.started_at, Attempt.finished_at, Attempt.error,
    Attempt.next_at,
)  # fmt: skip


class AttemptResource(BaseModel):
    """One execution of a job. While it runs, `outcome` and `finished_at` are null."""

    number: int = Field(description="One that spent nothing (snoozed, released, lost) shares it with the next.")
    outcome: Outcome | None
    worker: str
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    error: JobError | None
    next_at: AwareDatetime | None = Field(description="When the next attempt is due, if there is to be one.")
    traceback: str | None = Field(default=None, description="Only for keys with the scope `ops:read`.")


class AttemptPage(BaseModel):
    """A job's attempts, the first one first."""

    items: list[AttemptResource]
    next_cursor: str | None = Field(description="Pass it as `after` for the next page.")


@blueprint.get("/v1/jobs/<job_id>/attempts", operation_id="listAttempts", responses=responses({200: AttemptPage}, 404))
@requires("jobs:read")
def attempts(path: JobPath, query: PageQuery) -> dict[str, Any]:
    """List a job's attempts, the first one first."""
    with transaction() as session:
        # The running one first: should it end between the two, its row says more and takes its place.
        found = _running(session, path.job_id, query.after) | _ended(session, path.job_id, query)
    order = sorted(found)
    page = order[: query.limit]
    next_cursor = str(page[-1]) if len(order) > query.limit else None
    return {"items": [found[seq] for seq in page], "next_cursor": next_cursor}


def _running(session: Session, job_id: UUID, after: int) -> dict[int, dict[str, Any]]:
    """The attempt that the job's row tells of, under the number of its start. Raises `Problem` 404."""
    job = session.execute(
        select(Job.state, Job.attempt, Job.worker, Job.started_at, Job.claimed_seq).where(
            Job.id == job_id, Job.app_id == caller().app_id
        )
    ).one_or_none()
    if job is None:
        raise not_found()
    if job.state != State.RUNNING or job.claimed_seq <= after:
        return {}
    shown = {"number": job.attempt, "outcome": None, "worker": job.worker, "started_at": job.started_at}
    return {job.claimed_seq: shown | {"finished_at": None, "error": None, "next_at": None}}


def _ended(session: Session, job_id: UUID, query: PageQuery) -> dict[int, dict[str, Any]]:
    columns = [Attempt.traceback] if "ops:read" in caller().scopes else []
    rows = session.execute(
        select(Attempt.started_seq, *_SHOWN, *columns)
        .where(Attempt.job_id == job_id, Attempt.started_seq > query.after)
        .order_by(Attempt.started_seq)
        .limit(query.limit + 1)
    )
    shown = [dict(row) for row in rows.mappings()]
    return {attempt.pop("started_seq"): attempt for attempt in shown}
