"""POST /v1/jobs/bulk: up to 5,000 jobs in one request and one transaction, each with its own answer.

Of what was sent, items that are refused do not hold up the others, unless the client asks for all or nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.edge.auth import caller, requires
from api.edge.body import BULK_LIMIT, parse_json, raw_body
from api.edge.errors import MAX_FAULTS, Problem, ProblemDocument, validated
from api.edge.idempotency import first_answer, remember
from api.edge.request_id import request_id
from api.jobs.new import Origin, SubmitJob, fault, new_job, origin
from api.jobs.resource import JobResource
from api.jobs.submit import resource
from api.openapi import BODY, responses
from models.job import State
from models.session import transaction
from workers.queue import Conflict, Enqueued, NewJob, enqueue
from workers.wakeup.doorbell import ring

blueprint = APIBlueprint("bulk", __name__)

MAX_JOBS = 5_000
LINES = "application/x-ndjson"


class BulkQuery(BaseModel):
    """How the items of one request depend on each other."""

    model_config = ConfigDict(extra="forbid")

    atomic: bool = Field(default=False, description="Accept all jobs or none.")


class BulkItem(BaseModel):
    """What became of one item: `job` where it was accepted, else `problem`."""

    index: int
    status: int
    job: JobResource | None = None
    problem: ProblemDocument | None = None


class BulkAnswer(BaseModel):
    """One answer per item, in the order of the request."""

    items: list[BulkItem]


@blueprint.post("/v1/jobs/bulk", operation_id="submitJobs", responses=responses({200: BulkAnswer}, 409, *BODY))
@requires("jobs:write")
def submit_many(query: BulkQuery) -> Response | dict[str, Any]:
    """Submit up to 5,000 jobs.

    200 with an answer per item, each with the status that it would have had alone. With `atomic=true` one
    refused item refuses the request, and nothing is stored. Kinds that need an `Idempotency-Key` are
    submitted one by one.
    """
    items = _items()
    with transaction() as session:
        replay = first_answer(session)
        if replay is not None:
            return replay
        checked = _checked(items, origin())
        if query.atomic:
            _refuse_any(checked)
        outcomes = _accept(session, caller().app_id, checked)
        if query.atomic:
            _refuse_any(outcomes)
        body = {"items": [_rendered(index, outcome) for index, outcome in enumerate(outcomes)]}
        remember(session, 200, None, body)
    ring({outcome["queue"] for outcome in outcomes if isinstance(outcome, dict) and outcome["state"] == State.READY})
    return body


def _items() -> list[Any]:
    """The items as parsed JSON; a line that is no JSON is a `Problem` in its place."""
    if request.mimetype == LINES:
        items = [_line(line) for line in raw_body(BULK_LIMIT).split(b"\n") if line.strip()]
    elif request.mimetype == "application/json":
        items = parse_json(raw_body(BULK_LIMIT))
    else:
        raise Problem(415, "unsupported_media_type", f"send the jobs as application/json or as {LINES}")
    if not isinstance(items, list):
        raise fault("", "list_type", "send a JSON array of jobs")
    if len(items) > MAX_JOBS:
        raise Problem(413, "too_many_jobs", f"one request takes at most {MAX_JOBS:,} jobs")
    return items


def _line(line: bytes) -> Any:
    try:
        return parse_json(line)
    except Problem as problem:
        return problem


def _checked(items: Iterable[Any], source: Origin) -> list[NewJob | Problem]:
    return [_check(item, source) for item in items]


def _check(item: Any, source: Origin) -> NewJob | Problem:
    if isinstance(item, Problem):
        return item
    try:
        new, handler = new_job(validated(SubmitJob, item), source)
        if handler.idempotency_required:
            raise fault("/kind", "not_in_bulk", "each job of this kind needs its own request with an Idempotency-Key")
    except Problem as problem:
        return problem
    return new


def _accept(session: Session, app_id: UUID, checked: Sequence[NewJob | Problem]) -> list[dict[str, Any] | Problem]:
    """Write the jobs that passed; in the place of each, its resource or why it was kept out after all."""
    outcomes = iter(enqueue(session, app_id, [new for new in checked if isinstance(new, NewJob)]))
    return [one if isinstance(one, Problem) else _resource(session, app_id, one, next(outcomes)) for one in checked]


def _resource(session: Session, app_id: UUID, new: NewJob, outcome: Enqueued | Conflict) -> dict[str, Any] | Problem:
    try:
        return resource(session, app_id, new, outcome)
    except Problem as problem:
        return problem


def _refuse_any(outcomes: Sequence[object]) -> None:
    errors = [
        {**error, "pointer": f"/{index}{error['pointer']}"}
        for index, problem in enumerate(outcomes)
        if isinstance(problem, Problem)
        for error in problem.errors or [{"pointer": "", "code": problem.code, "detail": problem.detail}]
    ]
    if errors:
        detail = "nothing was stored, because some of the jobs cannot be accepted; see errors"
        raise Problem(422, "bulk_refused", detail, errors=errors[:MAX_FAULTS])


def _rendered(index: int, outcome: dict[str, Any] | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        document = outcome.document(request.path, request_id())
        return {"index": index, "status": outcome.status, "problem": document}
    return {"index": index, "status": 202, "job": outcome}
