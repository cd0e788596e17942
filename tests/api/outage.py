"""Servers that cannot be reached: their addresses lead to a port where nobody listens."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from sqlalchemy import QueuePool

from api.edge import rate_limit
from models import session
from settings import get_settings
from workers.wakeup import connections

POSTGRES = {"DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}


@contextmanager
def surroundings(**changed: str) -> Iterator[None]:
    """Within the block this process lives in another environment, and has forgotten its connections."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    _forget()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _forget()


def _forget() -> None:
    _let_go()
    get_settings.cache_clear()
    session.dispose()
    for client in connections._clients.values():
        client.close()
    connections._clients.clear()
    rate_limit.forget()


def _let_go() -> None:
    """Wait until no thread of a test is in the middle of a statement."""
    if session._engine is None:
        return
    pool = cast("QueuePool", session._engine[1].pool)
    deadline = time.monotonic() + 5
    while pool.checkedout() and time.monotonic() < deadline:
        time.sleep(0.001)
