"""GET /problems/{code}: what each refusal means and what to do; the `type` of every problem document leads here."""

from typing import NamedTuple

from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.edge.arguments import reads
from api.edge.errors import Problem
from api.openapi import responses

blueprint = APIBlueprint("problems", __name__)


class Meaning(NamedTuple):
    """A code's status and its explanation."""

    status: int
    meaning: str


CODES = {
    "body_too_slow": Meaning(408, "The body did not arrive in time. Nothing was stored; send it again."),
    "bulk_refused": Meaning(422, "With `atomic=true` one bad job refuses all; `errors` names the bad ones."),
    "database_busy": Meaning(503, "The database could not do this in time. Nothing was stored; try again."),
    "database_unavailable": Meaning(503, "The database cannot be reached. Nothing was stored; try again."),
    "file_not_found": Meaning(404, "There is no such file, or it belongs to another app."),
    "file_quota_exceeded": Meaning(413, "The app's files would take more room than it has. Delete some."),
    "files_unavailable": Meaning(503, "The disk of the files is full, or gone. Nothing was stored; try again later."),
    "foreign_key": Meaning(401, "The key is for another environment, such as a test key against a live server."),
    "header_fields_too_large": Meaning(431, "A header field, or all of them together, are too large."),
    "idempotency_in_progress": Meaning(409, "The first request with this Idempotency-Key is not answered yet."),
    "idempotency_key_required": Meaning(400, "Jobs of this kind must be submitted with an Idempotency-Key."),
    "idempotency_key_reused": Meaning(422, "The Idempotency-Key came with another request before. Use a fresh one."),
    "incomplete_body": Meaning(400, "The body ended before its announced end, or its chunks are malformed."),
    "internal": Meaning(500, "Something failed on our side. Quote the `request_id` to your operator."),
    "invalid": Meaning(422, "The body does not match its schema; `errors` points at every fault."),
    "invalid_cursor": Meaning(400, "A cursor only fits the list and the filter it was given out for."),
    "invalid_query": Meaning(422, "The query does not match its schema; `errors` names the parameters."),
    "job_ended": Meaning(409, "The job has ended already: there is nothing to cancel."),
    "kind_not_allowed": Meaning(403, "The key may submit certain kinds only, and this is none of them."),
    "malformed_idempotency_key": Meaning(
        400, "Send one Idempotency-Key, of 1 to 255 printable ASCII characters other than the comma."
    ),
    "malformed_json": Meaning(
        400, "The body is not one strict JSON text: no NaN, no repeated names, 32 levels at most."
    ),
    "malformed_key": Meaning(401, "What was sent is no API key: its form or its checksum is wrong. Look for a typo."),
    "malformed_last_event_id": Meaning(400, "Last-Event-ID takes the id of an event of this very stream."),
    "malformed_multipart": Meaning(400, "A multipart body has one part with a file, and nothing else."),
    "malformed_request": Meaning(400, "The request is not well-formed HTTP."),
    "method_not_allowed": Meaning(405, "The address exists but does not offer this method; see `Allow`."),
    "migrations_pending": Meaning(503, "The tables are not those of this release; an operator has to migrate them."),
    "missing_key": Meaning(401, "Send an API key as `Authorization: Bearer mst_…`."),
    "missing_scope": Meaning(403, "The key does not have the scope that this call needs."),
    "network_not_allowed": Meaning(403, "The key may be used from certain networks only."),
    "not_acceptable": Meaning(406, "None of the media types in `Accept` can be had here."),
    "not_found": Meaning(404, "There is nothing at this address, or it belongs to another app."),
    "not_retryable": Meaning(409, "Only a job that failed, was cancelled, expired or is parked can be retried."),
    "range_not_satisfiable": Meaning(416, "The range lies outside of the file; `Content-Range` says how long it is."),
    "rate_limited": Meaning(429, "Too many requests with this key. Wait for `Retry-After` seconds."),
    "too_large": Meaning(413, "The body is larger than this address takes. Larger inputs are files."),
    "too_many_jobs": Meaning(413, "One bulk request takes at most 5,000 jobs."),
    "unique_key_taken": Meaning(409, "A living job has this `unique_key`."),
    "unknown_key": Meaning(401, "The key does not exist, has expired or was revoked."),
    "unsupported_media_type": Meaning(415, "This address does not take that Content-Type, or any Content-Encoding."),
    "uri_too_long": Meaning(414, "The request line is longer than 8 KiB."),
}


class ProblemType(BaseModel):
    """What one code means."""

    code: str
    status: int
    meaning: str


class ProblemTypeList(BaseModel):
    """Every code there is."""

    items: list[ProblemType]
    next_cursor: None = None


class ProblemPath(BaseModel):
    """Which code."""

    code: str = Field(max_length=100)


@blueprint.get("/problems", operation_id="listProblems", responses=responses({200: ProblemTypeList}, common=()))
def list_problems() -> dict[str, object]:
    """List the codes of all refusals."""
    return {"items": [{"code": code, **known._asdict()} for code, known in CODES.items()], "next_cursor": None}


@blueprint.get("/problems/<code>", operation_id="getProblem", responses=responses({200: ProblemType}, 404, common=()))
@reads
def show(path: ProblemPath) -> dict[str, object]:
    """Explain one code."""
    known = CODES.get(path.code)
    if known is None:
        raise Problem(404, "not_found", "there is no such code; GET /problems lists them")
    return {"code": path.code, **known._asdict()}
