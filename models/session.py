"""The unit of work: the one place that opens connections and decides when they commit.

`transaction` commits at its end; what `statement` and `autocommit` give out commits every statement by itself.

The engine is made at first use and never crosses a fork: a child that inherits one forgets it without touching the
parent's sockets.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import orjson
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from settings import get_settings

_lock = Lock()
_engine: tuple[int, Engine] | None = None

POOL_SIZE = 10

DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)
"""What any statement may raise while Postgres is down, restarting or out of reach: worth another try."""


def engine() -> Engine:
    """This process's engine."""
    global _engine  # noqa: PLW0603  # one engine per process is the point
    if _engine is not None and _engine[0] == os.getpid():
        return _engine[1]
    with _lock:
        if _engine is None or _engine[0] != os.getpid():
            if _engine is not None:
                _engine[1].dispose(close=False)
            _engine = (os.getpid(), _create())
        return _engine[1]


def dispose() -> None:
    """Close this process's connections, if it has any; the next use opens new ones."""
    global _engine  # noqa: PLW0603  # see above
    if _engine is not None and _engine[0] == os.getpid():
        _engine[1].dispose()
    _engine = None


@contextmanager
def transaction() -> Iterator[Session]:
    """One transaction: commits when the block ends well, rolls back when it raises."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def statement() -> Iterator[Session]:
    """For exactly one statement, which commits by itself: one round trip instead of three."""
    with Session(autocommit(), expire_on_commit=False) as session:
        yield session


def autocommit() -> Engine:
    """This process's engine, for connections on which every statement commits by itself."""
    return engine().execution_options(isolation_level="AUTOCOMMIT")


def _create() -> Engine:
    return create_engine(
        get_settings().database_url.get_secret_value(),
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=5,
        pool_recycle=1800,
        pool_pre_ping=False,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": 3,
            "keepalives_idle": 30,
            "tcp_user_timeout": 15_000,
            "application_name": "mainstay",
            "options": "-c timezone=UTC -c statement_timeout=30s -c lock_timeout=5s "
            "-c idle_in_transaction_session_timeout=30s",
        },
    )
