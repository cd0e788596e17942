"""What becomes of the pool and its messages when a task, a child, the main process or the whole group dies."""

import os
import signal

from tests.support.processes import eventually
from tests.upstream.lab import Lab, hazard, remains
from tests.upstream.profiles import LATE, SHIPPED, Profile, alive

HINTS = "docs/decisions/0002-hints-with-epochs-and-early-ack.md"


def test_a_task_that_kills_its_child_is_redelivered_without_end_if_lost_messages_are_rejected(lab: Lab) -> None:
    worker = lab.worker(Profile(settings={"task_acks_late": True, "task_reject_on_worker_lost": True}))
    lab.publish("die", "poison", worker.queue)
    with hazard(HINTS, "`task_reject_on_worker_lost` now has an end, and could count lost workers for us"):
        lab.begun("poison", times=3)


def test_a_task_that_kills_its_child_runs_once_and_spares_the_worker(lab: Lab) -> None:
    worker = lab.worker()
    lab.publish("die", "poison", worker.queue)
    worker.says("WorkerLostError")
    lab.performs(worker)
    lab.settle(worker)
    assert len(lab.noted("begin", "poison")) == 1


def test_a_memory_error_that_leaves_a_task_ends_the_worker_and_passes_its_message_on(lab: Lab) -> None:
    worker = lab.worker(LATE)
    children = worker.children()
    lab.publish("exhaust", "greedy", worker.queue)
    with hazard("workers/attempt/execute.py", "a handler's MemoryError may be left to Celery"):
        assert worker.wait() == 1
        assert lab.whereabouts(worker, "greedy") == "performed"
        assert lab.waiting(worker) == ["greedy"]
    eventually(lambda: not any(map(alive, children)))


def test_a_killed_worker_takes_its_children_with_it(lab: Lab) -> None:
    worker = lab.worker(concurrency=2)
    busy, = lab.occupy(worker)  # fmt: skip
    children = worker.children()
    assert busy in children
    assert len(children) == 2
    worker.signal(signal.SIGKILL)
    worker.wait()
    eventually(lambda: not any(map(alive, children)), 5)


def test_sigterm_lets_a_child_end_its_work(lab: Lab) -> None:
    worker = lab.worker()
    lab.occupy(worker)
    worker.signal(signal.SIGTERM)
    worker.says("Warm shutdown")
    lab.free(worker)
    assert worker.wait() == 0


def test_sigterm_to_the_whole_group_kills_a_child_in_the_middle(lab: Lab) -> None:
    worker = lab.worker()
    busy, = lab.occupy(worker)  # fmt: skip
    lab.settle(worker)
    with hazard("docker-compose.yml", "an init may signal the whole process group"):
        os.killpg(worker.pid, signal.SIGTERM)
        eventually(lambda: not alive(busy))
        worker.wait()
        assert "WorkerLostError" in worker.log()
    assert lab.noted("end", f"busy-{worker.queue}") == []


def test_a_busy_worker_leaves_messages_to_others_unlike_celerys_own(lab: Lab) -> None:
    ours, stock = lab.workers(SHIPPED, Profile(settings={"worker_disable_prefetch": False}))
    lab.occupy(ours, stock)
    for worker in (ours, stock):
        for number in range(2):
            lab.publish("hold", f"{number}-{worker.queue}", worker.queue)
    with hazard(HINTS, "`worker_disable_prefetch` is needed no more"):
        eventually(lambda: len(lab.waiting(stock)) == 1)
    remains(lambda: len(lab.waiting(ours)) == 2, 1)
