"""From what a client sends to a `NewJob`: the envelope, the kind, the params; for one job or for thousands.

The job keeps the params as the client wrote them, once the handler's model accepts them. A dump of the model
would lose aliases, mask secrets and freeze today's defaults into jobs that run in a year.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from flask import request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.edge.auth import Caller, caller
from api.edge.errors import Problem, validated
from tasks import Handler
from tasks.discovery import UnknownKind, handler_of
from workers.options import PARAMS_LIMIT, Labels, MaxAttempts, Priority, Queue, in_range
from workers.queue import NewJob

TEN_YEARS_S = 10 * 366 * 86_400

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def _moment(value: object) -> datetime:
    """Read it ourselves: Pydantic is too kind to numbers, to dates alone and to times without a zone."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise PydanticCustomError("timestamp", "Input should be text like 2030-01-31T08:00:00Z, with a time zone")
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise PydanticCustomError("timestamp", "Input should be a date and time that exist") from None
    return in_range(moment)


Timestamp = Annotated[AwareDatetime, BeforeValidator(_moment, json_schema_input_type=AwareDatetime)]
"""A moment on the wire: RFC 3339 with an offset, 1970 to 8999; in UTC once read."""
Seconds = Annotated[float, Field(le=TEN_YEARS_S, allow_inf_nan=False)]


class SubmitJob(BaseModel):
    """A job to be performed as soon as possible, or at `run_at`, or after `delay_s`."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=200, examples=["text.count"])
    params: dict[str, Any] = Field(
        description="What the kind's schema asks for; at most 256 KiB.", examples=[{"text": "one two"}]
    )
    queue: Queue | None = Field(default=None, description="Another queue than the kind's own.")
    priority: Priority = Field(default=0, description="Higher goes first within a queue.")
    run_at: Timestamp | None = Field(default=None, description="Not before this moment; a past one means now.")
    delay_s: Annotated[Seconds, Field(ge=0)] | None = Field(default=None, description="Not before so many seconds.")
    expires_at: Timestamp | None = Field(default=None, description="Not started after this moment.")
    deadline_s: Annotated[Seconds, Field(gt=0)] | None = Field(
        default=None, description="Neither started nor continued so many seconds after it is due."
    )
    max_attempts: MaxAttempts | None = Field(default=None, description="Instead of the kind's own.")
    labels: Labels = Field(default_factory=dict)
    unique_key: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        default=None, description="At most one job with this key waits or runs at a time."
    )
    on_conflict: Literal["reject", "return_existing", "replace"] | None = Field(
        default=None,
        description="What to do when `unique_key` is taken; `reject` when left out. `replace` cancels the job that "
        "has it while that waits, and is refused while it runs.",
    )


class Origin(NamedTuple):
    """Where jobs come from: what one request says for all of them."""

    caller: Caller
    at: datetime
    traceparent: str | None


def origin() -> Origin:
    """The origin of what this request submits."""
    given = request.headers.get("traceparent")
    traceparent = given if given is not None and _TRACEPARENT.fullmatch(given) else None
    return Origin(caller(), datetime.now(UTC), traceparent)


def new_job(wanted: SubmitJob, source: Origin) -> tuple[NewJob, Handler]:
    """Check what the envelope's model cannot know, down to the params. Raises `Problem` with pointers."""
    _refuse_contradictions(wanted, source.at)
    handler = _handler(wanted.kind, source.caller)
    if len(orjson.dumps(wanted.params)) > PARAMS_LIMIT:
        raise fault("/params", "too_large", "params may take 256 KiB; put larger inputs into files")
    validated(handler.params, wanted.params, "/params")
    return _assembled(wanted, handler, source), handler


def fault(pointer: str, code: str, detail: str) -> Problem:
    """The refusal of a request for one reason at one place."""
    errors = [{"pointer": pointer, "code": code, "detail": detail}]
    return Problem(422, "invalid", "what was sent cannot be accepted; see errors", errors=errors)


def refuse_kind(kind: str, who: Caller) -> None:
    """Refuse a kind that the caller's key may not submit. Raises `Problem` 403."""
    if who.kinds is not None and kind not in who.kinds:
        raise Problem(403, "kind_not_allowed", "this key may not submit jobs of this kind")


def _refuse_contradictions(wanted: SubmitJob, now: datetime) -> None:
    if wanted.run_at is not None and wanted.delay_s is not None:
        raise fault("/delay_s", "contradiction", "give run_at or delay_s, not both")
    due = _due(wanted, now)
    if due is not None and wanted.expires_at is not None and wanted.expires_at <= due:
        raise fault("/expires_at", "contradiction", "a job that expires before it is due would never run")
    if wanted.on_conflict is not None and wanted.unique_key is None:
        raise fault("/on_conflict", "contradiction", "on_conflict means nothing without unique_key")


def _handler(kind: str, who: Caller) -> Handler:
    try:
        handler = handler_of(kind)
    except UnknownKind:
        raise fault("/kind", "unknown_kind", "there is no such kind; GET /v1/kinds lists them") from None
    refuse_kind(kind, who)
    return handler


def _due(wanted: SubmitJob, now: datetime) -> datetime | None:
    return wanted.run_at if wanted.delay_s is None else now + timedelta(seconds=wanted.delay_s)


def _assembled(wanted: SubmitJob, handler: Handler, source: Origin) -> NewJob:
    now = source.at
    due = _due(wanted, now)
    deadline = None if wanted.deadline_s is None else max(due or now, now) + timedelta(seconds=wanted.deadline_s)
    return NewJob(
        kind=wanted.kind,
        params=wanted.params,
        queue=wanted.queue or handler.queue,
        max_attempts=wanted.max_attempts or handler.max_attempts,
        priority=wanted.priority,
        run_at=due,
        expires_at=wanted.expires_at,
        deadline_at=deadline,
        labels=wanted.labels,
        unique_key=wanted.unique_key,
        on_conflict=wanted.on_conflict or "reject",
        traceparent=source.traceparent,
    )
