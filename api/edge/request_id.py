"""The names under which a request can be found again: `X-Request-Id` and the caller's `traceparent`."""

import re
from typing import Any
from uuid import uuid4

from flask import g, has_request_context, request
from structlog.typing import EventDict

HEADER = "X-Request-Id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id() -> str:
    """The caller's own id where it is short and harmless in a log, else a new one; the same all through a request."""
    known: str | None = g.get("request_id")
    if known is None:
        offered = request.headers.get(HEADER, "")
        known = g.request_id = offered if _ACCEPTED.fullmatch(offered) else uuid4().hex
    return known


def traceparent() -> str | None:
    """The caller's W3C trace context, when it is well formed: the job keeps it as a link."""
    offered = request.headers.get("Traceparent", "")
    return offered if _TRACEPARENT.fullmatch(offered) else None


def fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Put the request's id and app into every log line written below it."""
    if has_request_context():
        event.setdefault("request_id", request_id())
        known = g.get("caller")
        if known is not None:
            event.setdefault("app_id", str(known.app_id))
    return event
