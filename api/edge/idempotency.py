"""`Idempotency-Key`: a repeated request gets the first answer again, and does nothing.

The key's row is written in the transaction that does the work, so what did not commit is not remembered. While that
transaction is open it holds an advisory lock on (app, route, key); whoever comes second does not wait but is told so.
"""

import hashlib
import re
from datetime import timedelta
from typing import Any

import orjson
from flask import Response, current_app, request
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.edge.auth import caller
from api.edge.body import BULK_LIMIT, raw_body
from api.edge.errors import Problem
from models import IdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
KEPT = timedelta(days=7)
_WELL_FORMED = re.compile(r"[\x20-\x2b\x2d-\x7e]{1,255}")
"""Printable ASCII but the comma: servers and proxies join header fields that came twice by one."""


def require_key() -> None:
    """Raises `Problem` 400 for a request without a key."""
    if _key() is None:
        raise Problem(400, "idempotency_key_required", f"this request needs the header {HEADER}")


def first_answer(session: Session) -> Response | None:
    """The answer to give again, or None when this request is the first. Without a key always None, and without a query.

    Ask before anything else is checked: an answer that was given stands, whatever would be said of the request today.
    Raises `Problem`: 400 for a malformed key, 422 when the key came with another request, 409 while the first request
    is still being answered.
    """
    key = _key()
    if key is None:
        return None
    route = _route()
    locked = session.scalar(select(func.pg_try_advisory_xact_lock(_lock(route, key))))
    # A second statement, because its snapshot must not be older than the lock.
    row = session.execute(_select(route, key)).one_or_none()
    if row is not None:
        return _again(row)
    if not locked:
        raise Problem(
            409, "idempotency_in_progress", "the first request with this Idempotency-Key is still being answered",
            headers={"Retry-After": "1"},
        )  # fmt: skip
    return None


def remember(
    session: Session, status: int, location: str | None, body: dict[str, Any], *, forever: bool = False
) -> None:
    """Keep this answer under the request's key, if it has one, for 7 days or `forever`."""
    key = _key()
    if key is None:
        return
    answer = {
        "fingerprint": _fingerprint(),
        "status": status,
        "location": location,
        "body": orjson.loads(current_app.json.dumps(body)),
        "created_at": func.now(),
        "expires_at": None if forever else func.now() + KEPT,
    }
    row = {"app_id": caller().app_id, "route": _route(), "key": key, **answer}
    # An expired row may still be there; a living one cannot be, as we hold the lock and looked.
    session.execute(
        insert(IdempotencyKey).values(row).on_conflict_do_update(index_elements=["app_id", "route", "key"], set_=answer)
    )


def _key() -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not _WELL_FORMED.fullmatch(key):
        raise Problem(
            400, "malformed_idempotency_key", f"send {HEADER} once, with 1 to 255 printable ASCII characters, no comma"
        )
    return key


def _route() -> str:
    return f"{request.method} {request.url_rule}"


def _lock(route: str, key: str) -> int:
    name = f"{caller().app_id}\n{route}\n{key}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


def _fingerprint() -> bytes:
    head = f"{request.method} {request.full_path}\n".encode()
    return hashlib.sha256(head + raw_body(BULK_LIMIT)).digest()


def _select(route: str, key: str) -> Any:
    row = IdempotencyKey
    return select(row.fingerprint, row.status, row.location, row.body).where(
        row.app_id == caller().app_id,
        row.route == route,
        row.key == key,
        text("(expires_at IS NULL OR expires_at > now())"),
    )


def _again(row: Any) -> Response:
    if row.fingerprint != _fingerprint():
        raise Problem(422, "idempotency_key_reused", "this Idempotency-Key came with another request before")
    response = Response(current_app.json.dumps(row.body), row.status, content_type="application/json")
    if row.location is not None:
        response.headers["Location"] = row.location
    response.headers.update(REPLAYED)
    return response
