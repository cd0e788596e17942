"""Promise: Postgres may restart; what was accepted is there afterwards, and work goes on without anyone's help."""

import signal
import time

from models.session import transaction
from tests.support.engine import job_row
from tests.support.processes import eventually
from workers.timeline import timeline


def ended(job):
    return job_row(job).finished_at is not None


def begun(notes):
    return [note for note in notes() if note[0] == "begin"]


def back(job):
    """Look at the job as soon as Postgres answers again."""
    try:
        return ended(job)
    except Exception:  # noqa: BLE001  # it is away
        return False


def test_work_goes_on_after_a_restart(processes, submit, postgres, notes):
    processes.dispatcher()
    processes.worker()
    running = submit("flow.work", 3)
    eventually(lambda: begun(notes))
    postgres.stop("immediate")
    postgres.start()
    eventually(lambda: back(running))
    row = job_row(running)
    assert (row.state, row.attempt, row.lost) == ("succeeded", 1, 0)
    after = submit("flow.count")
    eventually(lambda: ended(after), 15)


def test_a_result_that_was_reached_while_postgres_was_away_is_recorded(processes, submit, postgres, notes):
    processes.dispatcher()
    processes.worker(concurrency=1)
    job = submit("flow.work", 1)
    eventually(lambda: begun(notes))
    postgres.stop("fast")
    eventually(lambda: [note for note in notes() if note[0] == "end"])
    deadline = time.monotonic() + 1
    eventually(lambda: time.monotonic() > deadline)
    postgres.start()
    eventually(lambda: back(job))
    assert (job_row(job).state, len(begun(notes))) == ("succeeded", 1)


def test_what_arrives_while_postgres_is_away_begins_as_soon_as_it_is_back(processes, submit, postgres):
    long = {"MAINSTAY_DISPATCH_LEASE_SECONDS": "300"}
    processes.dispatcher(**long)
    worker = processes.worker(concurrency=1, queue="default", **long)
    worker.signal(signal.SIGSTOP)
    job = submit("flow.work")
    eventually(lambda: job_row(job).state == "dispatched")
    postgres.stop("fast")
    worker.signal(signal.SIGCONT)
    eventually(lambda: "claim_delayed" in processes.log())
    postgres.start()
    eventually(lambda: back(job), 5)
    row = job_row(job)
    assert (row.state, row.attempt, row.epoch) == ("succeeded", 1, 1)
    with transaction() as session:
        assert [event.type for event in timeline(session, job)] == ["created", "attempt_started", "attempt_finished"]
