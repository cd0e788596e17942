"""Promise: a committed job is dispatched, performed and recorded by real processes."""

from datetime import UTC, datetime, timedelta

from models.session import transaction
from tests.support.engine import job_row
from tests.support.processes import eventually
from workers import queue


def ended(job):
    return job_row(job).finished_at is not None


def test_many_jobs_run_once_each(processes, submit, notes):
    processes.dispatcher()
    processes.worker()
    jobs = [submit("flow.count") for _ in range(300)]
    eventually(lambda: all(ended(job) for job in jobs))
    assert sorted(note[1] for note in notes()) == sorted(map(str, jobs))
    assert {job_row(job).state for job in jobs} == {"succeeded"}


def test_higher_priority_goes_first(processes, submit, notes):
    low = [submit("flow.work", 0.05) for _ in range(6)]
    high = [submit("flow.work", 0.05, priority=10) for _ in range(3)]
    processes.worker(concurrency=1)
    processes.dispatcher()
    eventually(lambda: all(ended(job) for job in (*low, *high)))
    first = [note[1] for note in notes() if note[0] == "begin"][:3]
    assert first == [str(job) for job in high]


def test_a_delayed_job_waits_for_its_time(processes, submit):
    processes.dispatcher()
    processes.worker()
    due = datetime.now(UTC) + timedelta(seconds=2)
    job = submit("flow.count", run_at=due)
    eventually(lambda: ended(job))
    assert due <= job_row(job).started_at <= due + timedelta(seconds=5)


def test_a_running_job_can_be_cancelled(processes, submit, app_id, notes):
    processes.dispatcher()
    processes.worker()
    job = submit("flow.work", 60)
    eventually(notes)
    with transaction() as session:
        assert queue.cancel(session, app_id, job) == "running"
    eventually(lambda: ended(job))
    assert job_row(job).state == "cancelled"


def test_the_threads_pool_of_the_integrations_lane_runs_many_at_once(processes, submit, notes):
    processes.dispatcher()
    processes.worker("integrations", "--pool", "threads", concurrency=16)
    jobs = [submit("flow.work", 1.5, queue="integrations") for _ in range(16)]
    eventually(lambda: len([note for note in notes() if note[0] == "begin"]) == 16)
    eventually(lambda: all(ended(job) for job in jobs))
    assert len({note[3] for note in notes()}) == 1


def test_no_transaction_is_open_while_a_handler_runs(processes, submit):
    processes.dispatcher()
    processes.worker(concurrency=1)
    jobs = [submit("flow.look", 0.5) for _ in range(3)]
    eventually(lambda: all(ended(job) for job in jobs))
    assert [job_row(job).result for job in jobs] == [{"open": 0}] * 3
