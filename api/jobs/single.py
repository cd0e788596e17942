"""GET /v1/jobs/{id} with entity tags and long polls, and the verbs cancel and retry."""

from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from flask import Response, request
from flask_openapi import APIBlueprint
from sqlalchemy.orm import Session

from api.edge.auth import caller, requires
from api.edge.errors import Problem
from api.jobs.long_poll import look_until, preferred_wait
from api.jobs.new import refuse_kind
from api.jobs.resource import JobPath, JobResource, has_ended, not_found, read
from api.openapi import responses
from models.session import transaction
from workers import queue
from workers.wakeup.announce import announce
from workers.wakeup.doorbell import ring

blueprint = APIBlueprint("jobs", __name__)


@blueprint.get("/v1/jobs/<job_id>", operation_id="getJob", responses=responses({200: JobResource, 304: None}, 404))
@requires("jobs:read")
def show(path: JobPath) -> Response:
    """Show a job.

    Always 200 while the job exists: a failure is inside it. With `Prefer: wait=N` the answer comes as soon as
    the job differs from the entity tag in `If-None-Match`; without one, as soon as it changes, or at once
    when it has ended.
    """
    app_id = caller().app_id
    found = _representation(app_id, path.job_id)
    seconds = preferred_wait()
    if seconds == 0:
        return _conditional(found)
    if not _answers_now(found):
        found = look_until(path.job_id, seconds, lambda: _unlike(found, app_id, path.job_id)) or found
    response = _conditional(found)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


@blueprint.post("/v1/jobs/<job_id>/cancel", operation_id="cancelJob", responses=responses({202: JobResource}, 404, 409))
@requires("jobs:write")
def cancel(path: JobPath) -> tuple[dict[str, Any], int]:
    """Cancel a job that waits, or ask a running one to stop.

    A running job shows `cancel_requested_at` until it has stopped. Asking again is fine; 409 when the job has
    ended.
    """
    app_id = caller().app_id
    with transaction() as session:
        try:
            queue.cancel(session, app_id, path.job_id)
        except queue.JobNotFound:
            raise not_found() from None
        except queue.JobEnded as refusal:
            raise Problem(409, "job_ended", f"the job has ended: it is {refusal.state}") from None
        job = _existing(session, app_id, path.job_id)
    announce((path.job_id,))
    return job, 202


@blueprint.post("/v1/jobs/<job_id>/retry", operation_id="retryJob", responses=responses({202: JobResource}, 404, 409))
@requires("jobs:write")
def retry(path: JobPath) -> tuple[dict[str, Any], int]:
    """Give a job that failed, was cancelled, expired or is parked all its attempts anew.

    409 in any other state, and while another job lives with its `unique_key`.
    """
    app_id = caller().app_id
    with transaction() as session:
        try:
            waits_in = queue.retry(session, app_id, path.job_id)
        except queue.JobNotFound:
            raise not_found() from None
        except queue.NotRetryable as refusal:
            raise Problem(409, "not_retryable", f"a job that is {refusal.state} cannot be retried") from None
        except queue.UniqueKeyTaken:
            raise Problem(409, "unique_key_taken", "another job has this job's unique_key now") from None
        job = _existing(session, app_id, path.job_id)
        refuse_kind(job["kind"], caller())
    ring((waits_in,))
    announce((path.job_id,))
    return job, 202


def _existing(session: Session, app_id: UUID, job_id: UUID) -> dict[str, Any]:
    job = read(session, app_id, job_id)
    if job is None:
        raise not_found()
    return job


class _Representation(NamedTuple):
    body: bytes
    tag: str
    ended: bool


def _representation(app_id: UUID, job_id: UUID) -> _Representation:
    with transaction() as session:
        job = _existing(session, app_id, job_id)
    body = orjson.dumps(job, option=orjson.OPT_UTC_Z)
    return _Representation(body, blake2b(body, digest_size=16).hexdigest(), has_ended(job["state"]))


def _unlike(known: _Representation, app_id: UUID, job_id: UUID) -> _Representation | None:
    found = _representation(app_id, job_id)
    return None if found.tag == known.tag else found


def _answers_now(found: _Representation) -> bool:
    known = request.if_none_match
    return not known.contains_weak(found.tag) if known else found.ended


def _conditional(found: _Representation) -> Response:
    headers = {"ETag": f'"{found.tag}"', "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(found.tag):
        return Response(status=304, headers=headers)
    return Response(found.body, 200, headers, mimetype="application/json")
