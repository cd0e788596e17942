"""Whether a process lives, and whether it can accept work."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from models.session import transaction
from tests.api.outage import POSTGRES, REDIS, surroundings


@pytest.fixture
def anyone(client: FlaskClient) -> FlaskClient:
    """A client without a key."""
    del client.environ_base["HTTP_AUTHORIZATION"]
    return client


@pytest.fixture
def half_migrated(database: None) -> Iterator[None]:
    with transaction() as session:
        head = session.scalar(text("UPDATE alembic_version SET version_num = 'old' RETURNING version_num"))
        assert head == "old"
    yield
    from api.health import _heads  # noqa: PLC0415  # what the release expects is what was there

    (head,) = _heads()
    with transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})


def test_a_process_lives_whatever_is_away(anyone: FlaskClient) -> None:
    with surroundings(**POSTGRES, **REDIS):
        assert anyone.get("/livez").json == {"status": "alive"}


def test_ready_means_postgres_at_head_and_redis(anyone: FlaskClient) -> None:
    response = anyone.get("/readyz")
    assert response.status_code == 200
    assert response.json == {"status": "ready", "postgres": "up", "migrations": "at_head", "redis": "up"}
    assert response.headers["Cache-Control"] == "no-store"


def test_without_redis_it_is_degraded_and_still_ready(anyone: FlaskClient) -> None:
    with surroundings(**REDIS):
        response = anyone.get("/readyz")
    assert (response.status_code, response.json["status"], response.json["redis"]) == (200, "degraded", "down")


def test_without_postgres_it_is_not_ready(anyone: FlaskClient) -> None:
    with surroundings(**POSTGRES):
        response = anyone.get("/readyz")
    assert (response.status_code, response.json["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"


def test_with_the_tables_of_another_release_it_is_not_ready(anyone: FlaskClient, half_migrated: None) -> None:
    response = anyone.get("/readyz")
    assert (response.status_code, response.json["code"]) == (503, "migrations_pending")
