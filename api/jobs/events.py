"""GET /v1/jobs/{id}/events: a job's timeline as JSON pages, or live as server-sent events.

A stream holds no connection between two looks into Postgres, resumes after `Last-Event-ID`, and ends once the
job has ended and everything was told.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from api.edge.auth import caller, requires
from api.edge.errors import Problem
from api.jobs.long_poll import LOOK_EVERY_S
from api.jobs.resource import JobPath, has_ended, not_found
from api.openapi import responses
from api.page_query import MAX_LIMIT, PageQuery
from models import Job
from models.event import EventType
from models.session import DATABASE_AWAY, transaction
from workers.timeline import TimelineEvent, timeline
from workers.wakeup.announce import watch

blueprint = APIBlueprint("events", __name__)

STREAM = "text/event-stream"
HEARTBEAT_S = 15.0
LONGEST_STREAM_S = 600.0
"""A stream ends after this; the client resumes it with its key checked anew."""


class EventResource(BaseModel):
    """One thing that happened to a job."""

    seq: int = Field(description="Counts a job's events from 1, without gaps.")
    type: EventType
    at: AwareDatetime
    data: dict[str, Any]


class EventPage(BaseModel):
    """A job's events, the first one first."""

    items: list[EventResource]
    next_cursor: str | None = Field(description="Pass it as `after` for the next page.")


_ANSWER = {
    "description": "A page of events, or the stream of them.",
    "content": {
        "application/json": {"schema": EventPage},
        STREAM: {"schema": {"type": "string"}},
    },
}


@blueprint.get(
    "/v1/jobs/<job_id>/events",
    operation_id="listEvents",
    responses=responses({200: _ANSWER, 204: None}, 404, 406),
)
@requires("jobs:read")
def events(path: JobPath, query: PageQuery) -> Response | dict[str, Any]:
    """List a job's events, or follow them.

    With `Accept: text/event-stream` a stream: `id` is the event's `seq`, `Last-Event-ID` resumes behind it, a
    comment every 15 seconds keeps it open. 204 when the job has ended and nothing is left to tell.
    """
    accepted = request.accept_mimetypes
    wanted = accepted.best_match(("application/json", STREAM)) if accepted else "application/json"
    if wanted is None:
        raise Problem(406, "not_acceptable", f"events come as application/json or as {STREAM}")
    return _stream(path.job_id, query.after) if wanted == STREAM else _page(path.job_id, query)


def _page(job_id: UUID, query: PageQuery) -> dict[str, Any]:
    with _snapshot() as session:
        if _position(session, caller().app_id, job_id) is None:
            raise not_found()
        found = timeline(session, job_id, query.after, query.limit + 1)
    page = found[: query.limit]
    next_cursor = str(page[-1].seq) if len(found) > query.limit else None
    return {"items": [event._asdict() for event in page], "next_cursor": next_cursor}


def _stream(job_id: UUID, after: int) -> Response:
    app_id = caller().app_id
    after = _last_event_id(after)
    with transaction() as session:
        job = _position(session, app_id, job_id)
    if job is None:
        raise not_found()
    if has_ended(job.state) and job.seq <= after:
        # An EventSource reconnects after every end of its stream; 204 is how it is told to stop.
        return Response(status=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(_frames(app_id, job_id, after), 200, headers, mimetype=STREAM)


def _last_event_id(after: int) -> int:
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return after
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Problem(400, "malformed_last_event_id", "Last-Event-ID takes the id of an event of this stream")
    return int(given)


def _frames(app_id: UUID, job_id: UUID, after: int) -> Iterator[str]:
    end = monotonic() + LONGEST_STREAM_S
    told_at = monotonic()
    with watch(job_id) as change:
        yield "retry: 1000\n\n"
        while monotonic() < end:
            try:
                found, complete = _news(app_id, job_id, after)
            except DATABASE_AWAY:
                return  # The client reconnects, and is told 503 as long as Postgres is away.
            for event in found:
                yield _frame(event)
                after = event.seq
            if complete:
                return
            if found:
                told_at = monotonic()
            elif monotonic() - told_at >= HEARTBEAT_S:
                yield ": nothing new\n\n"
                told_at = monotonic()
            if len(found) < MAX_LIMIT:
                change.wait(LOOK_EVERY_S)


def _news(app_id: UUID, job_id: UUID, after: int) -> tuple[list[TimelineEvent], bool]:
    """The next events, and whether they are the last ones: the job has ended, or was pruned."""
    with _snapshot() as session:
        job = _position(session, app_id, job_id)
        if job is None:
            return [], True
        found = timeline(session, job_id, after, MAX_LIMIT) if job.seq > after else []
    return found, has_ended(job.state) and len(found) < MAX_LIMIT


@contextmanager
def _snapshot() -> Iterator[Session]:
    """A transaction in which all reads see one moment: a timeline put together from two would lack events."""
    with transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


def _position(session: Session, app_id: UUID, job_id: UUID) -> Row[str, int] | None:
    return session.execute(select(Job.state, Job.seq).where(Job.id == job_id, Job.app_id == app_id)).one_or_none()


def _frame(event: TimelineEvent) -> str:
    data = orjson.dumps(event._asdict(), option=orjson.OPT_UTC_Z).decode()
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n"
