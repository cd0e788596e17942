"""POST /v1/jobs: accept one job, and, where the client prefers, wait for its end.

A 202 leaves only after the job's row is committed. The doorbell rings after that, and only latency depends
on it.
"""

from typing import Any
from uuid import UUID

from flask import request
from flask_openapi import APIBlueprint
from sqlalchemy.orm import Session

from api.edge.auth import caller, requires
from api.edge.errors import Problem
from api.edge.idempotency import HEADER, REPLAYED, first_answer, remember, require_key
from api.jobs.long_poll import look_until, preferred_wait
from api.jobs.new import SubmitJob, new_job, origin, refuse_kind
from api.jobs.resource import JobResource, has_ended, read, rendered_new
from api.openapi import BODY, responses
from models.job import State
from models.session import DATABASE_AWAY, statement, transaction
from workers.queue import Conflict, Enqueued, NewJob, enqueue
from workers.wakeup.doorbell import ring

blueprint = APIBlueprint("submit", __name__)


@blueprint.post(
    "/v1/jobs",
    operation_id="submitJob",
    responses=responses({202: JobResource, 200: JobResource}, 409, *BODY),
)
@requires("jobs:write")
def submit(body: SubmitJob) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Submit a job.

    202 means that the job is stored and will be performed. With `Prefer: wait=N`, 200 is the job at its end.
    """
    app_id = caller().app_id
    refuse_kind(body.kind, caller())
    # Most submits are one INSERT, which needs no BEGIN and COMMIT around it.
    alone = HEADER not in request.headers and body.unique_key is None
    with statement() if alone else transaction() as session:
        replay = first_answer(session)
        job = replay.get_json() if replay is not None else _accept(session, app_id, body)
    if replay is None and job["state"] == State.READY:
        ring((job["queue"],))
    headers = {"Location": _location(job), **(REPLAYED if replay is not None else {})}
    seconds = preferred_wait()
    ended = _wait(app_id, job["id"], seconds) if seconds else None
    if ended is not None:
        return ended, 200, {**headers, "Preference-Applied": f"wait={seconds}"}
    return job, 202, {**headers, "Retry-After": "1"}


def _accept(session: Session, app_id: UUID, body: SubmitJob) -> dict[str, Any]:
    new, handler = new_job(body, origin())
    if handler.idempotency_required:
        require_key()
    (outcome,) = enqueue(session, app_id, (new,))
    job = resource(session, app_id, new, outcome)
    remember(session, 202, _location(job), job, forever=handler.idempotency_required)
    return job


def _location(job: dict[str, Any]) -> str:
    return f"/v1/jobs/{job['id']}"


def resource(session: Session, app_id: UUID, new: NewJob, outcome: Enqueued | Conflict) -> dict[str, Any]:
    """The job that was written, or the live one that has its `unique_key` where the client asked for that.

    Raises `Problem` 409 where it did not.
    """
    if isinstance(outcome, Enqueued):
        return rendered_new(new, outcome)
    existing = read(session, app_id, outcome.id) if outcome.existing and outcome.id else None
    if existing is None:
        who = f"the job {outcome.id}" if outcome.id else "another job"
        raise Problem(409, "unique_key_taken", f"{who} has this unique_key and has not ended")
    return existing


def _wait(app_id: UUID, job_id: UUID | str, seconds: int) -> dict[str, Any] | None:
    """The job at its end; None when it goes on, or when it was pruned since the request was first answered."""
    job_id = UUID(str(job_id))

    def look() -> dict[str, Any] | None:
        with statement() as session:
            job = read(session, app_id, job_id)
        if job is None:
            return {}
        return job if has_ended(job["state"]) else None

    try:
        return look_until(job_id, seconds, look) or None
    except DATABASE_AWAY:
        # The job is accepted whatever happens to Postgres now: a 503 would have the client submit it twice.
        return None
