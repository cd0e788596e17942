"""GET /v1/kinds: the catalogue of what can be submitted, with JSON Schemas, defaults and limits."""

from functools import cache
from typing import Any

from flask.typing import ResponseReturnValue
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.edge.auth import requires
from api.edge.errors import Problem
from api.openapi import responses
from tasks import Handler
from tasks.discovery import UnknownKind, handler_of, handlers

blueprint = APIBlueprint("kinds", __name__)


class KindPath(BaseModel):
    """Which kind."""

    kind: str


class BackoffResource(BaseModel):
    """How the waits between attempts grow: `base_s * factor ** (attempt - 1)`, at most `cap_s`, spread by `jitter`."""

    base_s: float
    factor: float
    cap_s: float
    jitter: float | None = Field(
        description="A share of the wait; null is full jitter, from nothing to the whole wait."
    )


class KindResource(BaseModel):
    """One kind of job."""

    kind: str
    description: str
    queue: str
    max_attempts: int
    timeout_s: float = Field(description="An attempt is interrupted after this.")
    backoff: BackoffResource
    idempotency_required: bool = Field(description="Whether a submission must carry an `Idempotency-Key`.")
    params: dict[str, Any] = Field(description="The JSON Schema of the kind's params.")


class KindList(BaseModel):
    """The whole catalogue."""

    items: list[KindResource]
    next_cursor: None = None


@blueprint.get("/v1/kinds", operation_id="listKinds", responses=responses({200: KindList}))
@requires("jobs:read")
def list_kinds() -> ResponseReturnValue:
    """List the kinds that can be submitted."""
    known = handlers()
    return {"items": [rendered(known[kind]) for kind in sorted(known)], "next_cursor": None}


@blueprint.get("/v1/kinds/<kind>", operation_id="getKind", responses=responses({200: KindResource}, 404))
@requires("jobs:read")
def show(path: KindPath) -> ResponseReturnValue:
    """Show one kind."""
    try:
        return rendered(handler_of(path.kind))
    except UnknownKind:
        raise Problem(404, "not_found", "there is no such kind; GET /v1/kinds lists them") from None


@cache
def rendered(handler: Handler) -> dict[str, Any]:
    """A kind as the API shows it; drawing a schema costs more than the rest of a request."""
    backoff = handler.backoff
    return {
        "kind": handler.kind,
        "description": handler.description,
        "queue": handler.queue,
        "max_attempts": handler.max_attempts,
        "timeout_s": handler.timeout.total_seconds(),
        "backoff": {
            "base_s": backoff.base.total_seconds(),
            "factor": backoff.factor,
            "cap_s": backoff.cap.total_seconds(),
            "jitter": backoff.jitter,
        },
        "idempotency_required": handler.idempotency_required,
        "params": handler.params.model_json_schema(),
    }
