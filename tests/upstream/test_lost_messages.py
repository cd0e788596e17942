"""Redis hands a message over before anyone has written down that it was taken: what dies in between takes it along."""

import signal
import time

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from tests.support.processes import eventually
from tests.upstream.lab import Lab, hazard
from tests.upstream.profiles import LATE, SHIPPED, Profile, Worker

HINTS = "docs/decisions/0002-hints-with-epochs-and-early-ack.md"
ROWS = "docs/decisions/0001-rows-are-the-truth.md"
TRIES = 5
CELERYS_CONSUMER = Profile(settings={"worker_consumer": "celery.worker.consumer:Consumer"})


def stop_in_a_pop(lab: Lab, worker: Worker) -> None:
    """The worker stands still while Redis holds its request for a message."""
    eventually(lambda: lab.popping() == 1)
    worker.signal(signal.SIGSTOP)
    eventually(lambda: worker.stopped)


def taken_by_the_stopped(lab: Lab, worker: Worker) -> str:
    """Publish to a worker that stands still, until Redis hands it one; its name. A request lasts a second only."""
    for name in map(str, range(TRIES)):
        lab.release(name)
        stop_in_a_pop(lab, worker)
        lab.publish("hold", name, worker.queue)
        if not lab.waiting(worker):
            return name
        worker.signal(signal.SIGCONT)
        lab.ended(name)
    raise AssertionError("no message was handed over")


def test_a_message_that_a_killed_worker_had_taken_is_nowhere_even_with_late_acknowledgement(lab: Lab) -> None:
    worker = lab.worker(LATE)
    with hazard(ROWS, "a message in Redis might be trusted a little longer than MAINSTAY_DISPATCH_LEASE_SECONDS"):
        name = taken_by_the_stopped(lab, worker)
        worker.signal(signal.SIGKILL)
        worker.wait()
        assert lab.whereabouts(worker, name) == "nowhere"


def publish_while_it_stops(lab: Lab, worker: Worker, seconds: float, *, nudged: bool) -> str:
    """Publish to a worker with a free child so long after SIGTERM; the message's name."""
    name = f"late-{worker.queue}"
    worker.signal(signal.SIGTERM)
    if nudged:
        lab.nudge()
    time.sleep(seconds)
    lab.publish("hold", name, worker.queue)
    return name


# A loop that was not nudged is still turning when the message comes, and takes it down as unacknowledged.
MOMENTS = [(0.05, False), (0.05, True), (0.2, True)]


def test_a_message_published_during_a_shutdown_is_lost_or_stranded_when_that_is_cut_short(lab: Lab) -> None:
    workers = lab.workers(*[SHIPPED] * len(MOMENTS), concurrency=2)
    lab.occupy(*workers)
    names = [
        publish_while_it_stops(lab, worker, seconds, nudged=nudged)
        for worker, (seconds, nudged) in zip(workers, MOMENTS, strict=True)
    ]
    lab.await_quiet()
    for worker in workers:
        worker.signal(signal.SIGKILL)
        worker.wait()
    places = {lab.whereabouts(worker, name) for worker, name in zip(workers, names, strict=True)}
    with hazard(HINTS, "a rolling deploy no longer costs a message its dispatch lease"):
        assert places & {"nowhere", "unacked"}


def test_a_shutdown_that_comes_to_its_end_loses_no_such_message(lab: Lab) -> None:
    workers = lab.workers(*[SHIPPED] * 2, concurrency=2)
    lab.occupy(*workers)
    names = [
        publish_while_it_stops(lab, worker, 0.05, nudged=nudged)
        for worker, nudged in zip(workers, (False, True), strict=True)
    ]
    for name in names:
        lab.release(name)
    lab.free(*workers)
    assert [worker.wait() for worker in workers] == [0, 0]
    places = {lab.whereabouts(worker, name) for worker, name in zip(workers, names, strict=True)}
    assert places <= {"list", "performed"}


def test_a_worker_that_is_stopping_soon_takes_nothing_more(lab: Lab) -> None:
    worker = lab.worker(concurrency=2)
    lab.occupy(worker)
    worker.signal(signal.SIGTERM)
    lab.nudge()
    lab.await_quiet()
    lab.publish("hold", "late", worker.queue)
    worker.signal(signal.SIGKILL)
    worker.wait()
    assert lab.whereabouts(worker, "late") == "list"


def test_workers_and_publishers_go_on_after_redis_was_wiped_or_restarted_empty(lab: Lab) -> None:
    worker = lab.worker()
    lab.performs(worker, "before")
    lab.redis.flushall()
    lab.performs(worker, "wiped")
    lab.valkey.stop()
    worker.says("Cannot connect")
    lab.valkey.start()
    assert lab.redis.dbsize() == 0
    lab.performs(worker, "restarted")


def test_a_message_of_an_unknown_name_is_discarded_by_celerys_own_consumer(lab: Lab) -> None:
    worker = lab.worker(CELERYS_CONSUMER)
    lab.publish("of a later version", "unknown", worker.queue)
    with hazard("workers/process/consumer.py", "`on_unknown_task` might leave a new kind's messages to Celery"):
        worker.says("Received unregistered task")
        eventually(lambda: lab.whereabouts(worker, "unknown") == "nowhere")
    lab.performs(worker)


def test_a_message_of_an_unknown_name_comes_to_our_consumer(lab: Lab) -> None:
    """It has no hints to hand back: what becomes of those is in tests/flows/test_strange_messages.py."""
    worker = lab.worker()
    lab.publish("of a later version", "unknown", worker.queue)
    worker.says("message_malformed")
    lab.performs(worker)
    lab.settle(worker)


def test_text_that_is_no_message_ends_a_worker_without_our_correction(lab: Lab) -> None:
    ours, stock = lab.workers(SHIPPED, Profile(uncorrected=("read",)))
    for worker in (ours, stock):
        lab.redis.lpush(worker.queue, "no message")
    with hazard("workers/process/broker.py", "`_read_or_drop` is needed no more"):
        assert stock.wait() == 1
    lab.performs(ours)


@pytest.mark.parametrize("prefix", ["", "mainstay:"])
def test_a_queue_that_is_there_is_found_but_under_a_global_prefix(lab: Lab, prefix: str) -> None:
    with Connection(lab.valkey.url, transport_options={"global_keyprefix": prefix}) as connection:
        connection.SimpleQueue("q").put("a message")
        channel = connection.default_channel
        if not prefix:
            assert channel.queue_declare("q", passive=True).message_count == 1
            return
        with hazard("tests/workers/process/test_broker.py", "`global_keyprefix` need not be among those LEFT_ALONE"):
            with pytest.raises(ChannelError, match="NOT_FOUND"):
                channel.queue_declare("q", passive=True)
