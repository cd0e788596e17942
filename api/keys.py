"""API keys and apps, for operators: `/v1/keys` and `/v1/apps`.

A key with `keys:admin` works on the keys of every app; naming a new app creates it. The key itself is in one answer
only: not even the repetition of an `Idempotency-Key` shows it again, since it is stored nowhere.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any
from uuid import UUID

import orjson
from flask.typing import ResponseReturnValue
from flask_openapi.blueprint import APIBlueprint
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.edge import auth
from api.edge.auth import requires
from api.edge.errors import Problem
from api.edge.idempotency import first_answer, remember
from api.jobs.new import Timestamp
from api.openapi import BODY, responses
from api.page_query import Limit
from models import ApiKey
from models.session import transaction
from workers import keys

blueprint = APIBlueprint("keys", __name__)


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise PydanticCustomError("network", "Input should be a network like 192.0.2.0/24") from None


def _scope(text: str) -> str:
    try:
        keys.expanded([text])
    except keys.UnknownScope:
        raise PydanticCustomError("unknown_scope", "Input should be one of " + ", ".join(keys.SCOPES)) from None
    return text


def _ahead(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("past", "Input should be in the future")
    return moment


AppName = Annotated[str, StringConstraints(pattern=f"^{keys.APP_NAME}$")]


class CreateKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    app: AppName = Field(description="The app's name; one that does not exist yet is created.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(description="For people.")
    scopes: list[Annotated[str, AfterValidator(_scope)]] = Field(
        min_length=1, max_length=50, description="What it may do; `files:*` stands for every scope of files."
    )
    kinds: list[Annotated[str, StringConstraints(max_length=200)]] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The only kinds it may submit; all when left out.",
    )
    cidrs: list[Annotated[str, AfterValidator(_network)]] | None = Field(
        default=None, min_length=1, max_length=50, description="The only networks it may be used from."
    )
    expires_at: Annotated[Timestamp, AfterValidator(_ahead)] | None = None


class KeyResource(BaseModel):
    """One key, without its secret."""

    id: UUID
    app: str
    name: str
    prefix: str
    last4: str
    scopes: list[str]
    kinds: list[str] | None
    cidrs: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class CreatedKey(KeyResource):
    """A key that was just made."""

    key: str | None = Field(description="The key itself, shown this once; null when an answer is repeated.")


class KeyList(BaseModel):
    """A page of keys, the oldest first."""

    items: list[KeyResource]
    next_cursor: str | None


class KeyQuery(BaseModel):
    """Which keys to list."""

    model_config = ConfigDict(extra="forbid")

    app: AppName | None = Field(default=None, description="Only this app's keys.")
    cursor: str | None = Field(default=None, max_length=300, description="The `next_cursor` of the page before.")
    limit: Limit = 50


class KeyPath(BaseModel):
    """Which key."""

    key_id: UUID


class AppResource(BaseModel):
    """One app."""

    id: UUID
    name: str
    created_at: datetime


class AppList(BaseModel):
    """A page of apps, the oldest first."""

    items: list[AppResource]
    next_cursor: str | None


class AppQuery(BaseModel):
    """Which apps to list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=300, description="The `next_cursor` of the page before.")
    limit: Limit = 50


@blueprint.post("/v1/keys", operation_id="createKey", responses=responses({201: CreatedKey}, 409, *BODY))
@requires("keys:admin")
def create(body: CreateKey) -> ResponseReturnValue:
    """Make a key. The answer is the only place that ever shows it."""
    with transaction() as session:
        replay = first_answer(session)
        if replay is not None:
            return replay
        made = keys.create(
            session, body.app, body.name, body.scopes,
            kinds=body.kinds, cidrs=body.cidrs, expires_at=body.expires_at,
        )  # fmt: skip
        location = f"/v1/keys/{made.row.id}"
        shown = rendered(made.row, made.app)
        remember(session, 201, location, {**shown, "key": None})
    return {**shown, "key": made.secret}, 201, {"Location": location}


@blueprint.get("/v1/keys", operation_id="listKeys", responses=responses({200: KeyList}))
@requires("keys:admin")
def list_keys(query: KeyQuery) -> ResponseReturnValue:
    """List keys, revoked ones included."""
    after = _after(query.cursor, query.app)
    with transaction() as session:
        found = keys.page(session, query.app, after, query.limit + 1)
    items = [rendered(row, app) for row, app in found[: query.limit]]
    return {"items": items, "next_cursor": _cursor(items, query.app) if len(found) > query.limit else None}


@blueprint.get("/v1/keys/<key_id>", operation_id="getKey", responses=responses({200: KeyResource}, 404))
@requires("keys:admin")
def show(path: KeyPath) -> ResponseReturnValue:
    """Show a key."""
    with transaction() as session:
        try:
            return rendered(*keys.find(session, path.key_id))
        except keys.KeyNotFound:
            raise _not_found() from None


@blueprint.delete("/v1/keys/<key_id>", operation_id="revokeKey", responses=responses({204: None}, 404))
@requires("keys:admin")
def revoke(path: KeyPath) -> ResponseReturnValue:
    """Revoke a key for good. It stops working at once here, and within 5 seconds in other processes."""
    with transaction() as session:
        try:
            keys.revoke(session, path.key_id)
        except keys.KeyNotFound:
            raise _not_found() from None
    auth.forget(path.key_id)
    return "", 204


@blueprint.get("/v1/apps", operation_id="listApps", responses=responses({200: AppList}))
@requires("keys:admin")
def list_apps(query: AppQuery) -> ResponseReturnValue:
    """List apps."""
    with transaction() as session:
        found = keys.apps(session, _after(query.cursor, None), query.limit + 1)
    items = [{"id": app.id, "name": app.name, "created_at": app.created_at} for app in found[: query.limit]]
    return {"items": items, "next_cursor": _cursor(items, None) if len(found) > query.limit else None}


def rendered(row: ApiKey, app: str) -> dict[str, Any]:
    """A key as the API shows it."""
    fields = KeyResource.model_fields.keys() - {"app"}
    return {"app": app, **{name: getattr(row, name) for name in KeyResource.model_fields if name in fields}}


def _cursor(items: list[dict[str, Any]], app: str | None) -> str:
    return urlsafe_b64encode(orjson.dumps([app, items[-1]["id"]])).decode().rstrip("=")


def _after(cursor: str | None, app: str | None) -> UUID | None:
    if cursor is None:
        return None
    try:
        bound_to, after = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if bound_to == app:
            return UUID(after)
    except (ValueError, TypeError, AttributeError):
        pass
    raise Problem(400, "invalid_cursor", "this cursor was not given out for this filter")


def _not_found() -> Problem:
    return Problem(404, "not_found", "there is no such key")
