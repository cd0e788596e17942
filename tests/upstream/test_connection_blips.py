"""Connections to Redis that break for a moment while a worker is busy."""

from psutil import Process

from tests.support.processes import eventually
from tests.upstream.lab import Lab, hazard, remains
from tests.upstream.profiles import LATE, Profile, Worker, alive

HINTS = "docs/decisions/0002-hints-with-epochs-and-early-ack.md"
CANCELLING = Profile(settings={"task_acks_late": True, "worker_cancel_long_running_tasks_on_connection_loss": True})
DEAF = {"task_acks_late": True, "worker_enable_remote_control": False, "worker_send_task_events": False}
"""What is often advised for the sake of load: nothing of the worker listens to Redis but the request for messages."""
SILENT = ("--without-heartbeat",)


def test_a_blip_runs_what_is_acknowledged_late_a_second_time_beside_the_first(lab: Lab) -> None:
    worker = lab.worker(LATE, concurrency=2)
    first, = lab.occupy(worker)  # fmt: skip
    lab.cut()
    with hazard(HINTS, "late acknowledgement no longer pays with a second copy at every blip"):
        lab.begun(f"busy-{worker.queue}", times=2)
        assert alive(first)
    lab.release(f"busy-{worker.queue}")
    lab.ended(f"busy-{worker.queue}", times=2)


def test_cancelling_at_a_blip_kills_the_first_in_the_middle_and_runs_it_again(lab: Lab) -> None:
    worker = lab.worker(CANCELLING)
    first, = lab.occupy(worker)  # fmt: skip
    lab.cut()
    with hazard(HINTS, "`worker_cancel_long_running_tasks_on_connection_loss` no longer interrupts a payment"):
        eventually(lambda: not alive(first))
        lab.begun(f"busy-{worker.queue}", times=2)
    lab.free(worker)
    assert len(lab.noted("end", f"busy-{worker.queue}")) == 1


def test_a_blip_repeats_nothing_of_ours(lab: Lab) -> None:
    """The worker has a free child, which would begin a second copy at once."""
    worker = lab.worker(concurrency=2)
    lab.occupy(worker)
    lab.settle(worker)
    lab.cut()
    worker.says("Connection to broker lost")
    lab.performs(worker, "beside")
    lab.free(worker)
    lab.performs(worker, "after")
    lab.settle(worker)
    assert len(lab.noted("begin", f"busy-{worker.queue}")) == 1


def end_while_redis_is_away(lab: Lab, *workers: Worker) -> list[Process]:
    """Redis goes away while the workers are busy, and is back, empty, when they are done."""
    children = lab.occupy(*workers)
    lab.valkey.stop()
    lab.free(*workers)
    for worker in workers:
        eventually(lambda worker=worker: "Couldn't ack" in worker.log() or "Cannot connect" in worker.log())
    lab.valkey.start()
    return children


def test_a_restart_of_redis_while_it_is_busy_does_not_stop_a_worker_of_ours(lab: Lab) -> None:
    worker = lab.worker()
    children = end_while_redis_is_away(lab, worker)
    lab.performs(worker)
    assert worker.children() == children


def test_a_worker_that_listens_survives_a_restart_of_redis_even_with_late_acknowledgement(lab: Lab) -> None:
    worker = lab.worker(Profile(settings=LATE.settings, uncorrected=("ack",), options=SILENT))
    end_while_redis_is_away(lab, worker)
    lab.performs(worker)


def test_a_restart_of_redis_ends_a_deaf_worker_unless_a_failed_acknowledgement_gives_its_credit_back(lab: Lab) -> None:
    ours, stock = lab.workers(
        Profile(settings=DEAF, options=SILENT),
        Profile(settings=DEAF, options=SILENT, uncorrected=("ack",)),
    )
    end_while_redis_is_away(lab, ours, stock)
    lab.publish("hold", "next", stock.queue)
    lab.performs(ours)
    with hazard(HINTS, "`CreditReturningQoS` in workers/process/broker.py is needed no more"):
        remains(lambda: lab.whereabouts(stock, "next") == "list", 3)
