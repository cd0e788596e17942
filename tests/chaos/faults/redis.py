"""Redis: wiped, restarted empty, cut off, full, frozen."""

import os
import signal
import time
from contextlib import suppress
from functools import partial

from redis.exceptions import RedisError, ResponseError

from tests.chaos.faults import Course, DidNotHappen, fault
from tests.chaos.faults.workers import stopped
from tests.chaos.field import Field

AWAY = 2.0
FULL = 2.0


@fault("redis")
def flush_redis(field: Field) -> Course:
    """FLUSHALL: whatever waited there is gone."""
    field.redis.flushall()
    yield 0


@fault("redis", alone=True)
def restart_redis_empty(field: Field) -> Course:
    """The server goes away for a moment and comes back with nothing; what waited in it is due again."""
    field.burst()
    yield from field.until(partial(field.rows, _SENT), 20, "no message was sent")
    field.fleet.held.add("valkey")
    try:
        field.fleet.valkey.stop()
        yield field.rng.uniform(AWAY, 2 * field.scale.freeze)
        gone = field.rows(_SENT)
        field.fleet.valkey.start()
    finally:
        field.fleet.held.discard("valkey")
    if not gone:
        raise DidNotHappen("nothing waited in Redis")
    back = time.monotonic()
    yield from _recovers(field, "Redis is back, a job begins")
    ids, epochs = [row.id for row in gone], [row.epoch for row in gone]
    noticed = partial(field.scalar, _NOTICED, ids=ids, epochs=epochs)
    yield from field.recovery("Redis is empty, what waited in it is due again", 5, noticed, back)


_SENT = "SELECT id, epoch FROM jobs WHERE state = 'dispatched'"
_NOTICED = """
    SELECT count(*) = 0 FROM jobs JOIN unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[])) AS gone (id, epoch)
        USING (id, epoch) WHERE state = 'dispatched'
"""


@fault("redis")
def kill_redis_connections(field: Field) -> Course:
    """Every client is cut off at once, subscribers too."""
    redis = field.redis
    cut = 0
    for kind in ("normal", "pubsub"):
        cut += int(redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"))
    if not cut:
        raise DidNotHappen("nobody was connected")
    yield 0


@fault("redis")
def redis_out_of_memory(field: Field) -> Course:
    """Every write is refused for a while."""
    redis = field.redis
    redis.config_set("maxmemory", 1)
    try:
        with suppress(ResponseError):
            redis.set("chaos", "x")
            raise AssertionError("a full Redis took a write")
        yield FULL
    finally:
        with suppress(RedisError):  # Whoever restarted it meanwhile has given it its memory back.
            field.redis.config_set("maxmemory", 0)


def _freeze(seconds: str, field: Field) -> Course:
    pid = field.fleet.valkey.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield from field.until(lambda: stopped(pid), 5, "Redis was not stopped")
        yield getattr(field.scale, seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    yield from _recovers(field, "Redis is awake, a job begins")


def _recovers(field: Field, name: str) -> Course:
    since = yield from field.until(field.now, 10, "Postgres does not tell the time")
    yield from field.recovery(name, 5, partial(field.moved_to, "running", since))


fault("redis", name="freeze_redis", alone=True)(partial(_freeze, "freeze"))
fault("redis", name="freeze_redis_for_long")(partial(_freeze, "long_freeze"))
