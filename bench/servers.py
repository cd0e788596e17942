"""What every benchmark stands on: one durable Postgres and one Valkey for both sides, and the processes of each.

The data lie beside the product's own, not in /tmp, which can be memory: a commit there would cost nothing.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

import psycopg
from alembic import command
from alembic.config import Config
from redis import Redis
from sqlalchemy import make_url

from bench import PLAIN_BROKER, PLAIN_RESULTS
from embedded.home import ROOT
from embedded.postgres import Postgres
from embedded.processes import await_start, end, spawn
from embedded.valkey import Valkey

START_DEADLINE = 60.0
STOP_DEADLINE = 40.0
NO_RATE_LIMIT = "1000000"


class Servers:
    """The two servers and the folder they live in; made by `started`."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.postgres = postgres
        self.pids: dict[str, int] = {}
        """Of the programs that run, by their names."""

    def url(self, database: str) -> str:
        """A database's address, in SQLAlchemy's form."""
        return make_url(self.postgres.url).set(database=database).render_as_string(hide_password=False)

    def make_database(self, name: str, template: str = "template1") -> str:
        """Make a database, empty or as a copy; returns its address."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement that wants no transaction around it."""
        with self.connect(database) as connection:
            connection.execute(statement.encode())

    def connect(self, database: str) -> psycopg.Connection[tuple[int]]:
        """A connection of its own, for watching from outside; every statement commits."""
        return psycopg.connect(self.url(database).replace("+psycopg", ""), autocommit=True)

    def empty(self) -> None:
        """Begin a round: no job, no message left of the one before, and nothing for Postgres to write meanwhile."""
        self.execute("TRUNCATE jobs, attempts, events", "mainstay")
        with self.connect("plain") as connection:
            # The peer makes its table at its first result.
            if connection.execute("SELECT to_regclass('celery_taskmeta') IS NOT NULL").fetchone() == (True,):
                connection.execute("TRUNCATE celery_taskmeta")
        with Redis.from_url(os.environ[PLAIN_BROKER]) as redis:
            redis.delete("celery")
        self.execute("CHECKPOINT")

    @contextmanager
    def running(
        self, name: str, program: Sequence[str], ready: Callable[[], bool], variables: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """Run a program while the block runs; its log is in the folder."""
        log = self.folder / f"{name}.log"
        process = spawn(program, log=log, cwd=ROOT, env={**os.environ, **(variables or {})})
        try:
            await_start(process, ready, START_DEADLINE, log, written_from=0)
            self.pids[name] = process.pid
            yield
        finally:
            end(process, SIGTERM, STOP_DEADLINE)


class OutOfTime(Exception):
    """What had to happen has not happened: there is nothing to measure."""


def wait_for(done: Callable[[], bool], seconds: float = 300.0, look_every: float = 0.02) -> None:
    """Return once it is done. Raises `OutOfTime`."""
    last = time.monotonic() + seconds
    while not done():
        if time.monotonic() > last:
            raise OutOfTime(f"not done within {seconds:.0f} s")
        time.sleep(look_every)


@contextmanager
def started() -> Iterator[Servers]:
    """Both servers, the product's database migrated and the peer's empty, and the environment that leads to them."""
    folder = ROOT / ".mainstay" / f"bench-{os.getpid()}"
    folder.mkdir(parents=True, mode=0o700)
    try:
        with Postgres(folder / "postgres") as postgres, Valkey(folder / "valkey") as valkey:
            servers = Servers(folder, postgres)
            os.environ.update(_environment(folder, postgres, valkey))
            os.environ[PLAIN_RESULTS] = servers.make_database("plain")
            migrate()
            yield servers
    finally:
        shutil.rmtree(folder)


def _environment(folder: Path, postgres: Postgres, valkey: Valkey) -> dict[str, str]:
    return {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": valkey.url,
        "MAINSTAY_KEY_PEPPER": secrets.token_urlsafe(),
        "MAINSTAY_FILES_DIR": str(folder / "files"),
        "MAINSTAY_RATE_LIMIT_PER_SECOND": NO_RATE_LIMIT,
        "MAINSTAY_LOG_LEVEL": "WARNING",
        PLAIN_BROKER: valkey.url.removesuffix("/0") + "/1",
    }


def migrate() -> None:
    """Bring the product's database to this release's tables."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    command.upgrade(config, "head")
