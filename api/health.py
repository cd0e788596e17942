"""`/livez` and `/readyz`: whether this process lives, and whether it can accept work.

Ready means that Postgres answers and its tables are those this release knows. Redis may be away: submissions do not
need it, so the answer is then `degraded`, and still 200.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import structlog
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.edge.errors import Problem
from api.openapi import responses
from models.session import engine
from workers.wakeup.connections import redis_client

blueprint = APIBlueprint("health", __name__)
log = structlog.get_logger()

REDIS_SECONDS = 0.1
MIGRATIONS = Path(__file__).parent.parent / "migrations"


class Life(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """The process can accept work."""

    status: Literal["ready", "degraded"]
    postgres: Literal["up"]
    migrations: Literal["at_head"]
    redis: Literal["up", "down"]


@blueprint.get("/livez", operation_id="live", responses=responses({200: Life}, common=()))
def live() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "alive"}


@blueprint.get("/readyz", operation_id="ready", responses=responses({200: Readiness}, 503, common=()))
def ready() -> dict[str, str]:
    """Say whether the process can accept work.

    503 while Postgres is away or its migrations are not at this release's head; `degraded` while Redis is away.
    """
    if _migrated_to() != _heads():
        raise _not_ready("migrations_pending", "the tables are not those of this release: run mainstay db upgrade")
    redis = "up" if _redis_answers() else "down"
    status = "ready" if redis == "up" else "degraded"
    return {"status": status, "postgres": "up", "migrations": "at_head", "redis": redis}


@cache
def _heads() -> frozenset[str]:
    return frozenset(ScriptDirectory(str(MIGRATIONS)).get_heads())


def _migrated_to() -> frozenset[str]:
    try:
        with engine().connect() as connection:
            return frozenset(MigrationContext.configure(connection).get_current_heads())
    except (DBAPIError, PoolTimeout) as error:
        log.warning("not_ready", error=type(error).__name__)
        raise _not_ready("database_unavailable", "the database cannot be reached") from None


def _redis_answers() -> bool:
    try:
        return bool(redis_client(timeout=REDIS_SECONDS).ping())
    except RedisError:
        return False


def _not_ready(code: str, detail: str) -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": "1"})
