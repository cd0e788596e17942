"""Promise: a thread that never comes back costs its slot and not more; too many of them cost their process."""

import signal

import pytest
from sqlalchemy import select

from models import Worker
from models.session import transaction
from tests.support.engine import job_row
from tests.support.processes import eventually, workers


def ended(job):
    return job_row(job).finished_at is not None


def slots():
    with transaction() as session:
        return session.scalars(select(Worker.slots)).all()


@pytest.fixture
def lane(processes):
    """Start a worker of the integrations lane with four threads."""
    processes.dispatcher()
    return lambda **environment: processes.worker(
        "integrations", "--pool", "threads", concurrency=4, **{"MAINSTAY_STOP_GRACE_SECONDS": "3", **environment}
    )


def test_a_thread_that_never_comes_back_is_no_slot_any_more(lane, submit):
    worker = lane()
    assert slots() == [4]
    stuck = submit("flow.stubborn", 600, queue="integrations", max_attempts=1)
    eventually(lambda: ended(stuck))
    assert job_row(stuck).error["code"] == "timed_out"
    eventually(lambda: slots() == [3])
    jobs = [submit("flow.work", 0.1, queue="integrations") for _ in range(6)]
    eventually(lambda: all(ended(job) for job in jobs))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1
    assert workers() == []


def test_a_worker_half_of_whose_threads_are_stuck_ends_when_the_others_have(lane, submit, notes):
    worker = lane(MAINSTAY_STOP_GRACE_SECONDS="20")
    beside = submit("flow.work", 6, queue="integrations")
    stuck = [submit("flow.stubborn", 600, queue="integrations", max_attempts=1) for _ in range(2)]
    eventually(lambda: all(ended(job) for job in stuck))
    assert worker.wait() == 1
    assert (job_row(beside).state, job_row(beside).attempt, job_row(beside).lost) == ("succeeded", 1, 0)
    assert workers() == []
    after = submit("flow.work", queue="integrations")
    lane()
    eventually(lambda: ended(after))
    assert (job_row(after).state, job_row(after).epoch) == ("succeeded", 1)


def test_a_stopping_worker_does_not_wait_for_a_handler_that_never_looks_up(lane, submit, notes):
    worker = lane()
    job = submit("flow.deaf", 600, queue="integrations")
    eventually(notes)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1
    row = job_row(job)
    assert row.state in ("ready", "dispatched")
    assert (row.attempt, row.lost) == (0, 0)
