"""What all tests share: real servers, started once per test process, an app with a key, the engine in one process."""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.config import Config
from flask.testing import FlaskClient
from pydantic import BaseModel
from pytest_socket import socket_allow_hosts
from sqlalchemy import text

from api import create_app
from embedded.postgres import Postgres
from embedded.valkey import Valkey
from models import App
from models.session import dispose, transaction
from settings import get_settings
from tasks import handler
from tasks.discovery import handlers
from tests.support.engine import Engine
from tests.support.environment import ENVIRONMENT
from workers import keys

# Before anything asks for the settings; the addresses of real servers follow when they run.
os.environ.update(ENVIRONMENT)

ROOT = Path(__file__).parents[1]
TABLES = ("jobs", "attempts", "events", "files", "idempotency_keys", "kinds", "workers", "api_keys", "apps")


@pytest.fixture(autouse=True)
def _only_loopback() -> None:
    """No test reaches further than this machine."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A private Postgres. It does not wait for the disk: tests kill processes, they do not cut the power."""
    options = {"fsync": "off", "full_page_writes": "off"}
    with Postgres(tmp_path_factory.mktemp("postgres"), options=options) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A private Valkey."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def services(postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both servers in the environment, and the database migrated."""
    files = tmp_path_factory.mktemp("files")
    os.environ.update(DATABASE_URL=postgres.url, REDIS_URL=valkey.url, MAINSTAY_FILES_DIR=str(files))
    get_settings.cache_clear()
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    command.upgrade(config, "head")
    yield
    dispose()
    logging.disable()  # What still listens to Valkey would tell of its end.


@pytest.fixture
def database(services: None) -> None:
    """An empty, migrated database."""
    with transaction() as session:
        for table in TABLES:
            session.execute(text(f"DELETE FROM {table}"))  # Much quicker than TRUNCATE for a handful of rows.


@pytest.fixture
def app_id(database: None) -> UUID:
    """An app."""
    with transaction() as session:
        app = App(name="alice")
        session.add(app)
        session.flush()
        return app.id


@pytest.fixture
def client(app_id: UUID) -> FlaskClient:
    """A client of the API with a key of the app `alice` that may do all an app may."""
    with transaction() as session:
        key = keys.create(session, "alice", "tests", keys.APP_SCOPES)
    client = create_app().test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key.secret}"
    return client


@pytest.fixture
def engine(database: None) -> Engine:
    """The real engine, all in this process."""
    return Engine()


@pytest.fixture
def drain(engine: Engine) -> Callable[[], int]:
    """Perform everything that is due, and what follows from it at once; returns how many messages that took."""
    return engine.drain


@pytest.fixture
def pass_time(engine: Engine) -> Callable[[timedelta], None]:
    """Let time pass, as far as rows know: everything in them moves into the past."""
    return engine.pass_time


class AnyParams(BaseModel, extra="allow"):
    """Params that accept everything."""


@pytest.fixture
def declare() -> Iterator[Callable[..., None]]:
    """Declare a kind for one test: `declare("test.kind", perform, **options of tasks.handler)`."""
    declared: list[str] = []

    def declare(kind: str, perform: Callable[..., Any], params: type[BaseModel] = AnyParams, **options: Any) -> None:
        handlers()
        handler(kind, params, **options)(perform)
        declared.append(kind)

    yield declare
    for kind in declared:
        del handlers()[kind]
