"""How often a key may call: one rate for reading and one for writing, kept over all processes.

The count is a GCRA in Redis, but most requests do not ask it: a process takes tokens for about a tenth of a second of
the rate at once and spends them from memory. It never takes more than there are, so the rate holds however many
processes there are; what a process took and did not spend within a second is lost to the key, which costs at most a
fiftieth of the burst. A refusal, too, is remembered until its time has come.

Redis cannot make the API fail. It has 50 ms to answer; after a failure it is left alone for five seconds, while each
process counts the full rate by itself. The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple
from uuid import UUID

import structlog
from flask import Response, g, request
from redis.exceptions import RedisError

from api.edge.errors import Problem
from settings import get_settings
from workers.wakeup.connections import redis_client

log = structlog.get_logger()

BURST_SECONDS = 5
BATCH_SECONDS = 0.1
KEPT_SECONDS = 1.0
REDIS_SECONDS = 0.05
BREAK_SECONDS = 5.0
MAX_PURSES = 10_000

# The same arithmetic as `_gcra`, on Redis's own clock, in microseconds.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local every, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
local room = math.floor((now - due) / every + burst + 0.000001)
if room < 1 then return {0, 0, math.ceil(due + every - every * burst - now)} end
local granted = math.min(room, wanted)
due = due + granted * every
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1)
return {granted, room - granted, 0}
"""


class Grant(NamedTuple):
    """What a count answers: tokens granted, tokens left behind, and seconds to wait when there are none."""

    tokens: int
    left: int
    wait: float


def spend(key_id: UUID) -> None:
    """Take one call from the key's rate. Raises `Problem` 429."""
    purse = _purse(key_id, "read" if request.method in ("GET", "HEAD") else "write")
    g.rate = purse
    wait = purse.take()
    if wait > 0:
        seconds = str(math.ceil(wait))
        raise Problem(429, "rate_limited", "too many requests with this key", headers={"Retry-After": seconds})


def describe(response: Response) -> None:
    """Say in the answer how much of the rate is left."""
    purse: _Purse | None = g.get("rate")
    if purse is not None:
        response.headers["RateLimit-Policy"] = purse.policy
        response.headers["RateLimit"] = purse.standing()


@dataclass(slots=True)
class _Purse:
    """One key's tokens of one class in this process."""

    name: str
    policy_name: str
    rate: float
    burst: int
    policy: str = ""
    tokens: int = 0
    spendable_until: float = 0.0
    refused_until: float = 0.0
    left: int = 0
    due: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.left = self.burst
        self.policy = f'"{self.policy_name}";q={self.burst};w={max(1, round(self.burst / self.rate))}'

    def take(self) -> float:
        """Spend one token, fetching more where none is at hand. Returns 0, or the seconds to wait for one."""
        if self._spend():
            return 0.0
        with self.lock:
            now = time.monotonic()
            if now < self.refused_until:
                return self.refused_until - now
            if self._spend():  # Another request fetched some while this one waited for the lock.
                return 0.0
            grant = self._fetch(now)
            self.tokens, self.left, self.refused_until = grant.tokens, grant.left, now + grant.wait
            self.spendable_until = now + KEPT_SECONDS
            return 0.0 if self._spend() else grant.wait

    def standing(self) -> str:
        """The value of the field `RateLimit`."""
        remaining = self.tokens + self.left
        return f'"{self.policy_name}";r={remaining};t={math.ceil((self.burst - remaining) / self.rate)}'

    def _spend(self) -> bool:
        if self.tokens > 0 and time.monotonic() < self.spendable_until:
            self.tokens -= 1
            return True
        return False

    def _fetch(self, now: float) -> Grant:
        wanted = max(1, min(int(self.rate * BATCH_SECONDS), self.burst // 10))
        grant = _breaker.ask(self.name, self.rate, self.burst, wanted)
        if grant is not None:
            return grant
        self.due, grant = _gcra(max(self.due, now), now, self.rate, self.burst, wanted)
        return grant


def _gcra(due: float, now: float, rate: float, burst: int, wanted: int) -> tuple[float, Grant]:
    room = math.floor((now - due) * rate + burst + 1e-6)
    if room < 1:
        return due, Grant(0, 0, due + (1 - burst) / rate - now)
    granted = min(room, wanted)
    return due + granted / rate, Grant(granted, room - granted, 0.0)


class _Breaker:
    """Asks Redis, unless it failed a moment ago."""

    def __init__(self) -> None:
        self._open_until = 0.0

    def ask(self, name: str, rate: float, burst: int, wanted: int) -> Grant | None:
        """What Redis grants; None when it cannot be asked."""
        if time.monotonic() < self._open_until:
            return None
        try:
            client = redis_client(timeout=REDIS_SECONDS)
            answer = client.register_script(_SCRIPT)(keys=[name], args=[1_000_000 / rate, burst, wanted])
        except RedisError as error:
            self._open_until = time.monotonic() + BREAK_SECONDS
            log.warning("rate_limit_counts_alone", error=type(error).__name__)
            return None
        tokens, left, wait = answer
        return Grant(tokens, left, wait / 1_000_000)


_breaker = _Breaker()
_purses: dict[tuple[UUID, str], _Purse] = {}


def _purse(key_id: UUID, policy_name: str) -> _Purse:
    purse = _purses.get((key_id, policy_name))
    if purse is None:
        if len(_purses) >= MAX_PURSES:
            _purses.clear()
        rate = get_settings().rate_limit_per_second
        burst = max(1, round(rate * BURST_SECONDS))
        name = f"mainstay:rate:{policy_name}:{key_id}"
        purse = _purses.setdefault((key_id, policy_name), _Purse(name, policy_name, rate, burst))
    return purse


def forget() -> None:
    """Begin anew, as a fresh process does."""
    global _breaker  # noqa: PLW0603  # one breaker per process
    _breaker = _Breaker()
    _purses.clear()
