"""The verbs on API keys that the API and the CLI use, and how a key is written.

A key is `mst_<env>_<32 base62><6 base62 of CRC32>`. The checksum refuses a typo before any query, and lets secret
scanners tell a leaked key from a random word. Stored is only its HMAC under the server's pepper.
"""

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models import ApiKey, App
from settings import get_settings

SCOPES = {
    "jobs:read": "see the app's jobs, their events and results",
    "jobs:write": "submit, cancel and retry jobs",
    "files:read": "see and download the app's files",
    "files:write": "upload and delete files",
    "ops:read": "see the tracebacks of the app's attempts",
    "keys:admin": "create, list and revoke the keys of every app",
}
OPERATOR_SCOPES = ("ops:read", "keys:admin")
APP_SCOPES = tuple(scope for scope in SCOPES if scope not in OPERATOR_SCOPES)
APP_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(r"(mst_([a-z]{1,8})_[0-9A-Za-z]{32})([0-9A-Za-z]{6})", re.ASCII)


class UnknownScope(Exception):
    """There is no such scope."""


class KeyNotFound(Exception):
    """There is no such key."""


class NewKey(NamedTuple):
    """A key that was just made: its row, and the one chance to show it."""

    row: ApiKey
    app: str
    secret: str


def create(  # noqa: PLR0913  # a key is all of these
    session: Session,
    app: str,
    name: str,
    scopes: Iterable[str],
    *,
    kinds: Iterable[str] | None = None,
    cidrs: Iterable[str] | None = None,
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key of the app called `app`, which begins to exist with its first key. Raises `UnknownScope`.

    An app may hold any number of living keys: a rotation makes the new one, moves over, and revokes the old one.
    """
    settings = get_settings()
    secret = written(settings.env)
    row = ApiKey(
        app_id=_app_id(session, app),
        name=name,
        digest=digest(secret),
        prefix=f"mst_{settings.env}_",
        last4=secret[-4:],
        scopes=expanded(scopes),
        kinds=None if kinds is None else sorted(set(kinds)),
        cidrs=None if cidrs is None else list(cidrs),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return NewKey(row, app, secret)


def revoke(session: Session, key_id: UUID) -> None:
    """End a key for good; a revoked one stays as it is. Raises `KeyNotFound`."""
    revoked = update(ApiKey).where(ApiKey.id == key_id).returning(ApiKey.id)
    if session.scalar(revoked.values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))) is None:
        raise KeyNotFound(str(key_id))


def find(session: Session, key_id: UUID) -> tuple[ApiKey, str]:
    """A key's row and its app's name. Raises `KeyNotFound`."""
    found = session.execute(select(ApiKey, App.name).join(App).where(ApiKey.id == key_id)).one_or_none()
    if found is None:
        raise KeyNotFound(str(key_id))
    return found[0], found[1]


def page(session: Session, app: str | None, after: UUID | None, limit: int) -> list[tuple[ApiKey, str]]:
    """The next `limit` keys of `app`, or of every app, in the order of their making, each with its app's name."""
    query = select(ApiKey, App.name).join(App).order_by(ApiKey.id).limit(limit)
    if app is not None:
        query = query.where(App.name == app)
    if after is not None:
        query = query.where(ApiKey.id > after)
    return [(row, name) for row, name in session.execute(query)]


def apps(session: Session, after: UUID | None, limit: int) -> list[App]:
    """The next `limit` apps in the order of their making."""
    query = select(App).order_by(App.id).limit(limit)
    return list(session.scalars(query if after is None else query.where(App.id > after)))


def expanded(scopes: Iterable[str]) -> list[str]:
    """The scopes meant, where `files:*` stands for every scope of files. Raises `UnknownScope`."""
    meant: set[str] = set()
    for scope in scopes:
        subject, _, verb = scope.partition(":")
        found = {known for known in SCOPES if verb == "*" and known.startswith(f"{subject}:")} or {scope} & {*SCOPES}
        if not found:
            raise UnknownScope(scope)
        meant |= found
    return [scope for scope in SCOPES if scope in meant]


def written(env: str) -> str:
    """A fresh key: 190 random bits and the checksum."""
    body = f"mst_{env}_" + "".join(secrets.choice(_ALPHABET) for _ in range(32))
    return body + _checksum(body)


def env_of(key: str) -> str | None:
    """The environment a well-formed key belongs to; None when its form or its checksum is wrong."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(match[1]) != match[3]:
        return None
    return match[2]


def digest(key: str) -> bytes:
    """What is stored instead of the key."""
    return hmac.digest(get_settings().key_pepper.get_secret_value().encode(), key.encode(), "sha256")


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def _app_id(session: Session, name: str) -> UUID:
    session.execute(insert(App).values(name=name).on_conflict_do_nothing(index_elements=["name"]))
    return session.scalars(select(App.id).where(App.name == name)).one()
