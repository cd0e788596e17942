"""Messages that nobody claims in time: whether they are lost or only wait in Redis."""

import pytest
from redis.exceptions import ConnectionError as RedisAway

from models.session import transaction
from settings import get_settings
from tasks.discovery import handlers
from tests.support.engine import enqueue, job_row
from workers.app import app
from workers.dispatcher import messages as messages_module
from workers.dispatcher.messages import Publisher
from workers.timeline import timeline
from workers.wakeup import connections

GARBAGE = (b"", b"{", b"\xff\xfe", b"7", b"null", b"[]", b"{}", b'{"body": 7}', b'{"body": "!"}', b'{"body": "e30="}')


@pytest.fixture
def redis(database):
    connections._clients.clear()
    client = connections.redis_client()
    client.flushall()
    return client


@pytest.fixture
def waiting(redis, app_id, engine, monkeypatch):
    """Two jobs whose messages have waited in Redis for longer than their dispatch lease."""
    jobs = [enqueue(app_id, "text.count", {"text": "a"}) for _ in range(2)]
    monkeypatch.setenv("CELERY_BROKER_URL", get_settings().redis_url.get_secret_value())
    publisher = Publisher(app, handlers())
    for queue, kind, hints in engine.dispatch():
        publisher.publish(queue, kind, hints)
    publisher.close()
    engine.pass_time(2 * get_settings().dispatch_lease)
    return jobs


def states(jobs):
    return [(row.state, row.epoch) for row in map(job_row, jobs)]


def test_a_message_that_still_waits_in_redis_is_not_lost(engine, waiting):
    engine.upkeep()
    assert states(waiting) == [("dispatched", 1)] * 2


def test_a_message_that_is_nowhere_is_lost(engine, waiting, redis):
    redis.rpop("default")
    engine.upkeep()
    assert states(waiting) == [("ready", 1), ("dispatched", 1)]
    with transaction() as session:
        assert [event.type for event in timeline(session, waiting[0])] == ["created", "message_lost"]


def test_a_message_of_an_earlier_dispatch_keeps_nothing(engine, waiting, redis):
    kept = redis.lrange("default", 0, -1)
    redis.delete("default")
    engine.upkeep()
    engine.dispatch()
    redis.rpush("default", *kept)
    engine.pass_time(2 * get_settings().dispatch_lease)
    engine.upkeep()
    assert states(waiting) == [("ready", 2)] * 2


def test_nothing_is_lost_while_redis_cannot_be_asked(engine, waiting, redis, monkeypatch):
    def away():
        raise RedisAway

    with monkeypatch.context() as outage:
        outage.setattr(messages_module, "redis_client", away)
        engine.upkeep()
    assert states(waiting) == [("dispatched", 1)] * 2
    redis.delete("default")
    engine.upkeep()
    assert states(waiting) == [("ready", 1)] * 2


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_redis_keeps_nothing_and_hides_nothing(engine, waiting, redis, garbage):
    redis.lpop("default")
    redis.lpush("default", garbage)
    redis.rpush("default", garbage)
    engine.upkeep()
    assert states(waiting) == [("dispatched", 1), ("ready", 1)]


def test_redis_is_not_asked_while_nothing_is_overdue(engine, waiting, monkeypatch):
    engine.upkeep()
    monkeypatch.setattr(messages_module, "redis_client", lambda: pytest.fail("it was asked"))
    engine.upkeep()
