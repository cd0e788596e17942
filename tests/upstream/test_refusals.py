"""A Redis that answers with a refusal: no memory left, or read-only and loading in a failover."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from embedded.valkey import Valkey
from tests.support.processes import eventually
from tests.upstream.lab import Lab, hazard
from tests.upstream.profiles import PATIENCE, SHIPPED, Profile

HINTS = "docs/decisions/0002-hints-with-epochs-and-early-ack.md"
GIVING_UP = Profile(settings={"broker_channel_error_retry": False})
UNRECOVERABLE = "Unrecoverable error"


def test_a_message_that_is_taken_while_memory_is_full_is_nowhere_and_its_worker_goes_on(lab: Lab) -> None:
    """Taking frees memory, so Redis allows it; noting that it was taken needs memory, so Redis does not."""
    ours, giving_up = lab.workers(SHIPPED, GIVING_UP)
    for worker in (ours, giving_up):
        worker.signal(signal.SIGSTOP)
    lab.await_quiet()
    for worker in (ours, giving_up):
        lab.publish("hold", f"taken-{worker.queue}", worker.queue)
    lab.redis.config_set("maxmemory", 1)
    for worker in (ours, giving_up):
        worker.signal(signal.SIGCONT)
    with hazard("celeryconfig.py", "`broker_channel_error_retry` is needed no more"):
        assert giving_up.wait() == 1
        assert UNRECOVERABLE in giving_up.log()
    eventually(lambda: not lab.waiting(ours))
    ours.says("used memory > 'maxmemory'")
    with hazard(HINTS, "a Redis that was full no longer costs messages their dispatch lease"):
        assert lab.whereabouts(ours, f"taken-{ours.queue}") == "nowhere"
    lab.redis.config_set("maxmemory", 0)
    lab.performs(ours)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Valkey]:
    """Another Valkey, with enough in it for a copy to take a second or two."""
    folder = tmp_path / "primary"
    folder.mkdir()
    with Valkey(folder) as valkey:
        with Redis.from_url(valkey.url) as client:
            client.config_set("repl-diskless-sync-delay", 0)
            client.mset({f"key:{number}": "x" * 100 for number in range(500)})
        yield valkey


def become_replica(lab: Lab, primary: Valkey) -> None:
    """The lab's Valkey, read-only from now on, begins to copy the primary; that takes 4 ms a key."""
    lab.redis.config_set("key-load-delay", 4000)
    lab.redis.config_set("loading-process-events-interval-bytes", 1024)
    lab.redis.replicaof("127.0.0.1", primary.port)


def become_primary(lab: Lab) -> None:
    eventually(lambda: lab.redis.info("replication")["master_link_status"] == "up", PATIENCE)
    lab.redis.replicaof("NO", "ONE")


def test_workers_live_through_a_failover_and_one_that_starts_in_it_waits(lab: Lab, primary: Valkey) -> None:
    ours, giving_up = lab.workers(SHIPPED, GIVING_UP)
    eventually(lambda: lab.popping() == 2)
    become_replica(lab, primary)
    with hazard("celeryconfig.py", "`broker_channel_error_retry` is needed no more"):
        assert giving_up.wait() == 1
        assert UNRECOVERABLE in giving_up.log()
    starting = lab.begin(SHIPPED)
    ours.says("loading the dataset")
    ours.says("read only replica")
    starting.says("Cannot connect")
    become_primary(lab)
    starting.says(" ready.")
    lab.performs(ours)
    lab.performs(starting)
