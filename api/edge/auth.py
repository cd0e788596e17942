"""Who is calling: API keys, their scopes, and what `@requires` makes sure of before a view runs.

A key that was seen is remembered for a few seconds, so most requests ask no database who is calling. Revoking a key
forgets it in this process at once; other processes follow when their memory of it ends.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from uuid import UUID

from flask import g, request
from sqlalchemy import func, select, text, update

from api.edge import rate_limit
from api.edge.arguments import View, reads
from api.edge.errors import Problem
from models import ApiKey
from models.session import transaction
from settings import get_settings
from workers.keys import SCOPES, digest, env_of

REMEMBERED_SECONDS = 5.0
"""How long another process may go on accepting a key after it was revoked."""
MAX_REMEMBERED = 10_000


class Caller(NamedTuple):
    """The app behind a request, and what its key allows."""

    app_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    kinds: frozenset[str] | None
    """The only kinds this key may submit; all when None."""


class _Known(NamedTuple):
    caller: Caller
    networks: tuple[IPv4Network | IPv6Network, ...] | None
    expires_at: datetime | None
    until: float


_known: dict[bytes, _Known] = {}


def caller() -> Caller:
    """Who is calling; only below a view that `requires` a scope."""
    known: Caller = g.caller
    return known


def requires(scope: str) -> Callable[[View], View]:
    """Let a view run only for a key with `scope`, within its rate; then hand it its arguments.

    The order is the promise: nothing of a request is read before its key was accepted.
    """
    if scope not in SCOPES:
        raise ValueError(f"{scope} is not a scope")

    def decorate(view: View) -> View:
        reading = reads(view)

        @wraps(reading)
        def guarded(**variables: Any) -> Any:
            g.caller = authenticated()
            rate_limit.spend(g.caller.key_id)
            if scope not in g.caller.scopes:
                raise Problem(403, "missing_scope", f"this key does not have the scope {scope}")
            return reading(**variables)

        guarded.scope = scope  # type: ignore[attr-defined]  # the document and the tests read it
        return guarded  # type: ignore[return-value]  # wraps() keeps the signature

    return decorate


def authenticated() -> Caller:
    """The caller behind the request's `Authorization` header. Raises `Problem` 401, or 403 for a foreign network."""
    key = _presented_key()
    env = env_of(key)
    if env is None:
        raise _unauthenticated("malformed_key", "this is no API key: its form or its checksum is wrong")
    if env != get_settings().env:
        raise _unauthenticated("foreign_key", f"this key is for another environment than {get_settings().env}")
    known = _recall(digest(key))
    if known is None or (known.expires_at is not None and known.expires_at <= datetime.now(UTC)):
        raise _unauthenticated("unknown_key", "this key does not exist, has expired or was revoked")
    if known.networks is not None and not _within(known.networks):
        raise Problem(403, "network_not_allowed", "this key may not be used from your network address")
    return known.caller


def forget(key_id: UUID) -> None:
    """Stop accepting a revoked key in this process at once."""
    for stored, known in list(_known.items()):
        if known.caller.key_id == key_id:
            _known.pop(stored, None)


def _presented_key() -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _unauthenticated("missing_key", "send your API key as Authorization: Bearer mst_…")
    return key.strip()


def _recall(stored: bytes) -> _Known | None:
    known = _known.get(stored)
    if known is None or known.until <= time.monotonic():
        known = _load(stored)
        if known is None:
            _known.pop(stored, None)
            return None
        if len(_known) >= MAX_REMEMBERED:
            _known.clear()
        _known[stored] = known
    return known


def _load(stored: bytes) -> _Known | None:
    with transaction() as session:
        row = session.scalar(select(ApiKey).where(ApiKey.digest == stored, ApiKey.revoked_at.is_(None)))
        if row is None:
            return None
        stale = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < func.now() - text("interval '1 minute'"))
        if row.last_used_at is None or (datetime.now(UTC) - row.last_used_at).total_seconds() > 60:
            # Worth no wait for the disk: it is told to people, and decides nothing.
            session.execute(text("SET LOCAL synchronous_commit = off"))
            session.execute(update(ApiKey).where(ApiKey.id == row.id, stale).values(last_used_at=func.now()))
    return _Known(
        Caller(row.app_id, row.id, frozenset(row.scopes), None if row.kinds is None else frozenset(row.kinds)),
        None if row.cidrs is None else tuple(ip_network(cidr) for cidr in row.cidrs),
        row.expires_at,
        time.monotonic() + REMEMBERED_SECONDS,
    )


def _within(networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    if request.remote_addr is None:
        return False
    address = ip_address(request.remote_addr)
    return any(address in network for network in networks)


def _unauthenticated(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})
