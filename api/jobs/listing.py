"""GET /v1/jobs: an app's jobs, the newest first, in keyset pages whose cursors fit one filter only."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from flask import request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy import Select, select, text

from api.edge.auth import caller, requires
from api.edge.errors import Problem
from api.jobs.new import Timestamp
from api.jobs.resource import COLUMNS, JobResource, rendered
from api.openapi import responses
from api.page_query import Limit
from models import Job
from models.job import State
from models.session import transaction
from settings import get_settings

blueprint = APIBlueprint("job_list", __name__)

LABEL = "label."
_MAC_BYTES = 16
_SLACK = timedelta(hours=1)


class JobFilter(BaseModel):
    """Which jobs to list. Any `label.KEY=VALUE` narrows the list to jobs with that label."""

    model_config = ConfigDict(extra="forbid")

    state: list[State] = Field(default_factory=list, max_length=len(State), description="Any of these states.")
    kind: str | None = None
    queue: str | None = None
    labels: SkipJsonSchema[dict[str, str]] = Field(default_factory=dict)
    created_from: Timestamp | None = Field(default=None, description="Created at this moment or later.")
    created_to: Timestamp | None = Field(default=None, description="Created before this moment.")
    error: str | None = Field(default=None, description="The `code` of the job's error.")
    parent_id: UUID | None = Field(default=None, description="Enqueued by the handler of this job.")

    @model_validator(mode="before")
    @classmethod
    def _gather_labels(cls, given: dict[str, Any]) -> dict[str, Any]:
        labels = {name.removeprefix(LABEL): given[name] for name in given if name.startswith(LABEL)}
        others = {name: value for name, value in given.items() if not name.startswith(LABEL)}
        return {**others, "labels": labels} if labels else others

    def fingerprint(self) -> bytes:
        """The same for the same filter, however it was written."""
        parts = self.model_dump(mode="json", include=set(JobFilter.model_fields))
        return orjson.dumps(parts | {"state": sorted(set(self.state))}, option=orjson.OPT_SORT_KEYS)


class JobListQuery(JobFilter):
    """A filter, and the page of it that is wanted."""

    cursor: str | None = Field(default=None, max_length=200, description="The `next_cursor` of the page before.")
    limit: Limit = 50


class JobPage(BaseModel):
    """Jobs, the newest first."""

    items: list[JobResource]
    next_cursor: str | None = Field(description="Pass it as `cursor`, with the same filter, for the next page.")


@blueprint.get("/v1/jobs", operation_id="listJobs", responses=responses({200: JobPage}))
@requires("jobs:read")
def list_jobs(query: JobListQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
    """List jobs, the newest first.

    `state` may be repeated. Any `label.KEY=VALUE` narrows the list to jobs with that label. There are no
    totals: follow `next_cursor`, or the `Link` header, to the last page.
    """
    page = _matching(caller().app_id, query).limit(query.limit + 1)
    if query.cursor is not None:
        page = page.where(Job.id < _opened(query.cursor, query))
    with transaction() as session:
        rows = session.execute(page).all()
    items = [rendered(row) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return {"items": items, "next_cursor": None}, 200, {}
    cursor = _sealed(items[-1]["id"], query)
    return {"items": items, "next_cursor": cursor}, 200, {"Link": f'<{_address(cursor)}>; rel="next"'}


def _matching(app_id: UUID, wanted: JobFilter) -> Select[Any]:
    found = select(*COLUMNS).where(Job.app_id == app_id).order_by(Job.id.desc())
    if wanted.state:
        found = found.where(Job.state.in_(wanted.state))
    if wanted.kind is not None:
        found = found.where(Job.kind == wanted.kind)
    if wanted.queue is not None:
        found = found.where(Job.queue == wanted.queue)
    if wanted.labels:
        # The index covers labelled rows only, and Postgres does not see that the first condition says so.
        found = found.where(Job.labels.contains(wanted.labels), text("labels <> '{}'"))
    if wanted.error is not None:
        found = found.where(Job.error["code"].astext == wanted.error)
    if wanted.parent_id is not None:
        found = found.where(Job.parent_id == wanted.parent_id)
    # Ids are in the order of creation: bounds on them spare a walk through all that is newer or older.
    if wanted.created_from is not None:
        found = found.where(Job.created_at >= wanted.created_from, Job.id >= _id_at(wanted.created_from - _SLACK))
    if wanted.created_to is not None:
        found = found.where(Job.created_at < wanted.created_to, Job.id < _id_at(wanted.created_to + _SLACK))
    return found


def _id_at(moment: datetime) -> UUID:
    """The least UUIDv7 of a millisecond."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def _sealed(last: UUID, wanted: JobFilter) -> str:
    return urlsafe_b64encode(last.bytes + _seal(last, wanted)).decode().rstrip("=")


def _opened(cursor: str, wanted: JobFilter) -> UUID:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        last = UUID(bytes=raw[:16])
    except ValueError:
        raise _invalid_cursor() from None
    if not hmac.compare_digest(raw[16:], _seal(last, wanted)):
        raise _invalid_cursor()
    return last


def _seal(last: UUID, wanted: JobFilter) -> bytes:
    pepper = get_settings().key_pepper.get_secret_value().encode()
    words = b"\0".join((b"cursor", caller().app_id.bytes, last.bytes, wanted.fingerprint()))
    return hmac.digest(pepper, words, sha256)[:_MAC_BYTES]


def _invalid_cursor() -> Problem:
    return Problem(400, "invalid_cursor", "this cursor was not made for this list and filter; begin without one")


def _address(cursor: str) -> str:
    parameters = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    return f"{request.path}?{urlencode([*parameters, ('cursor', cursor)])}"
