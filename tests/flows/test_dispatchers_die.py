"""Promise: one dispatcher is active per queue, and another takes over when it is gone."""

import signal

from sqlalchemy import text

from models.session import transaction
from tests.support.engine import job_row
from tests.support.processes import eventually


def ended(job):
    return job_row(job).finished_at is not None


def holders() -> int:
    with transaction() as session:
        statement = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        return int(session.scalar(text(statement)) or 0)


def test_a_standby_takes_over_from_a_killed_dispatcher(processes, submit):
    first = processes.dispatcher()
    eventually(holders)
    processes.dispatcher()
    processes.worker()
    before = submit("flow.count")
    eventually(lambda: ended(before))
    assert holders() == 1
    first.signal(signal.SIGKILL)
    after = submit("flow.count")
    eventually(lambda: ended(after), 5)


def test_a_frozen_dispatcher_loses_its_queues(processes, submit):
    first = processes.dispatcher()
    eventually(holders)
    first.signal(signal.SIGSTOP)
    processes.dispatcher()
    processes.worker()
    job = submit("flow.count")
    eventually(lambda: ended(job))
    first.signal(signal.SIGCONT)
    jobs = [submit("flow.count") for _ in range(20)]
    eventually(lambda: all(ended(job) for job in jobs))
    assert all(job_row(job).attempt == 1 for job in jobs)


def test_a_dispatcher_that_is_asked_to_stop_stops(processes):
    dispatcher = processes.dispatcher()
    eventually(holders)
    dispatcher.signal(signal.SIGTERM)
    assert dispatcher.wait(10) == 0
    assert holders() == 0
