"""The doorbell, announcements and their indifference to a Redis that is gone."""

import time
from uuid import uuid4

import pytest
from redis.exceptions import RedisError

from workers.wakeup import announce, connections, doorbell


@pytest.fixture
def redis(services):
    connections._clients.clear()
    announce.forget()
    doorbell.forget()
    client = connections.redis_client()
    client.flushall()
    return client


@pytest.fixture
def no_redis(services, monkeypatch):
    class Gone:
        def __getattr__(self, name):
            raise RedisError("gone")

    for module in (announce, doorbell):
        monkeypatch.setattr(module, "redis_client", lambda timeout=None: Gone())
    announce.forget()
    doorbell.forget()


def test_a_ring_wakes_the_one_who_waits_for_that_queue(redis):
    doorbell.ring(["data"])
    assert doorbell.wait(["default", "data"], 5) == "data"


def test_a_ring_while_nobody_waits_is_kept_for_the_next_look(redis):
    doorbell._push(["default"])
    doorbell._push(["default"])
    assert doorbell.wait(["default"], 5) == "default"
    assert doorbell.wait(["default"], 0.01) is None


def test_without_a_ring_the_wait_ends_in_time(redis):
    started = time.monotonic()
    assert doorbell.wait(["default"], 0.2) is None
    assert 0.15 < time.monotonic() - started < 5


def test_without_redis_the_wait_still_waits(no_redis):
    started = time.monotonic()
    assert doorbell.wait(["default"], 0.2) is None
    assert time.monotonic() - started >= 0.2


def test_ringing_without_redis_neither_blocks_nor_raises(no_redis):
    doorbell.ring(["default"])
    announce.announce([uuid4()])


def test_an_announcement_wakes_the_waiter_of_that_job(redis):
    job, other = uuid4(), uuid4()
    with announce.watch(job) as change:
        deadline = time.monotonic() + 10
        announce.announce([other, job])
        while not change.wait(0.1):
            # Others may listen too, so only an answer shows that this subscription has begun.
            assert time.monotonic() < deadline
            announce.announce([other, job])
        while change.wait(0.1):
            pass
        announce.announce([other])
        assert not change.wait(0.1)


def test_nobody_is_kept_in_memory_after_the_watch(redis):
    with announce.watch(uuid4()):
        assert announce._listener._waiters
    assert not announce._listener._waiters


def test_after_a_failure_redis_is_left_alone_for_a_moment(no_redis):
    announce.announce([uuid4()])
    closed_at = announce._breaker._closed_at
    assert closed_at > time.monotonic()
    announce.announce([uuid4()])
    assert announce._breaker._closed_at == closed_at


def test_announcing_nothing_asks_nobody(no_redis):
    announce.announce([])
    assert announce._breaker._closed_at == 0.0
