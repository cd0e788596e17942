"""A Redis that neither answers nor goes away: a paused machine, a lost network, a failover that hangs."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from celery import Celery

import celeryconfig
from models.lifecycle import Hint
from tasks.discovery import handlers
from tests.support.processes import eventually
from tests.upstream.lab import Lab, hazard, remains
from tests.upstream.profiles import PATIENCE, Profile, alive
from workers.dispatcher.messages import REDIS_ERRORS, Publisher

HINTS = "docs/decisions/0002-hints-with-epochs-and-early-ack.md"
LEASES = "docs/decisions/0007-leases-the-keeper-and-fencing-tokens.md"
WATCHFUL = {"health_check_interval": 2}
WATCHING = Profile(transport=WATCHFUL, options=("--heartbeat-interval", "60"))
"""The watchdog alone: a heartbeat that fails would make the worker reconnect as well."""
DROPPED = "Redis BRPOP got no reply"
LOST = "Connection to broker lost"
IMPATIENT = {"socket_timeout": 0.5}
OFTEN = ("--heartbeat-interval", "1")
REDIS_PYS_OWN_TIMEOUT = 5


@pytest.fixture
def publish(lab: Lab) -> Iterator[Callable[[], None]]:
    """Publish one hint with the dispatcher's own publisher."""
    app = Celery("dispatcher", set_as_current=False)
    app.config_from_object(celeryconfig)
    app.conf.broker_url = lab.valkey.url
    publisher = Publisher(app, handlers())
    yield lambda: publisher.publish("default", "text.count", [Hint(uuid4(), 1)])
    publisher.close()
    app.close()


def seconds_to_fail(publish: Callable[[], None]) -> float:
    started = time.monotonic()
    with pytest.raises(REDIS_ERRORS):
        publish()
    return time.monotonic() - started


def test_the_dispatchers_publish_fails_soon_and_works_again(lab: Lab, publish: Callable[[], None]) -> None:
    publish()
    with lab.frozen():
        assert seconds_to_fail(publish) < 4
    lab.valkey.stop()
    assert seconds_to_fail(publish) < 4
    lab.valkey.start()
    publish()
    assert lab.redis.llen("default") == 1


def test_celerys_own_publish_hangs(lab: Lab) -> None:
    app = Celery("stock", broker=lab.valkey.url, set_as_current=False)
    with ThreadPoolExecutor(1) as thread, lab.frozen():
        publishing = thread.submit(app.send_task, "hold", queue="q")
        with hazard("docs/decisions/0009-wake-ups-by-redis.md", "kombu no longer takes redis-py's time-out away"):
            remains(lambda: not publishing.done(), REDIS_PYS_OWN_TIMEOUT + 1)
    publishing.result(PATIENCE)
    app.close()


def test_an_idle_worker_drops_the_connection_and_is_there_when_redis_is_back(lab: Lab) -> None:
    worker = lab.worker(WATCHING)
    with lab.frozen():
        worker.says(DROPPED, 30)
    lab.performs(worker)


def test_a_worker_with_celerys_own_options_does_not_notice(lab: Lab) -> None:
    stock = Profile(shipped=False, options=(), transport=WATCHFUL)
    worker, ours = lab.workers(stock, WATCHING)
    with lab.frozen():
        ours.says(DROPPED, 30)
        with hazard(HINTS, "heartbeats no longer stop the event loop, and `_send_once` is needed no more"):
            remains(lambda: DROPPED not in worker.log(), 3)
    lab.performs(worker)


def test_a_worker_that_becomes_free_meanwhile_takes_up_work_again_and_repeats_none(lab: Lab) -> None:
    worker = lab.worker(Profile(transport=WATCHFUL | IMPATIENT, options=OFTEN))
    lab.occupy(worker)
    with lab.frozen():
        lab.free(worker)
        eventually(lambda: DROPPED in worker.log() or LOST in worker.log(), PATIENCE)
    lab.performs(worker)
    assert len(lab.noted("begin", f"busy-{worker.queue}")) == 1


def test_the_backstop_of_time_limits_works_with_our_heartbeats_and_not_with_celerys_own(lab: Lab) -> None:
    ours, stock = lab.workers(
        Profile(transport=IMPATIENT, options=OFTEN),
        Profile(transport=IMPATIENT, options=OFTEN, uncorrected=("heartbeat",)),
    )
    limited, unlimited = lab.occupy(ours, stock, time_limit=3)
    with lab.frozen():
        eventually(lambda: not alive(limited), 30)
        with hazard(LEASES, "heartbeats no longer stop the event loop, and `_send_once` is needed no more"):
            remains(lambda: alive(unlimited), 3)
    eventually(lambda: not alive(unlimited), PATIENCE)


def test_an_acknowledgement_that_fails_ends_a_worker_unless_it_gives_its_credit_back(lab: Lab) -> None:
    late = {"task_acks_late": True}
    ours, stock = lab.workers(
        Profile(settings=late, transport=IMPATIENT),
        Profile(settings=late, transport=IMPATIENT, uncorrected=("ack",)),
    )
    lab.occupy(ours, stock)
    with lab.frozen():
        lab.free(ours, stock)
        ours.says("Couldn't ack")
        stock.says("Couldn't ack")
    lab.publish("hold", "next", stock.queue)
    lab.performs(ours)
    with hazard(HINTS, "`CreditReturningQoS` in workers/process/broker.py is needed no more"):
        remains(lambda: lab.whereabouts(stock, "next") == "list", 3)
