"""Our own connections to Redis: short time-outs, no retries behind our back, one client per process.

Nothing that goes through here may decide anything; Redis only wakes people up.
"""

import os
from threading import Lock

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import get_settings

TIMEOUT = 0.5

_lock = Lock()
_clients: dict[tuple[int, float | None], Redis] = {}


def redis_client(timeout: float | None = TIMEOUT) -> Redis:
    """This process's client whose answers may take `timeout` seconds; None waits for ever, for subscriptions."""
    key = (os.getpid(), timeout)
    with _lock:
        if key not in _clients:
            _clients[key] = Redis.from_url(
                get_settings().redis_url.get_secret_value(),
                socket_connect_timeout=TIMEOUT,
                socket_timeout=timeout,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                encoding_errors="replace",
            )
        return _clients[key]
