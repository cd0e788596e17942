"""Promise: a worker that dies, at whatever moment, costs time and never a job."""

import os
import signal

import psutil
import pytest

from tests.support.engine import job_row
from tests.support.processes import eventually, workers


def ended(job):
    return job_row(job).finished_at is not None


def begun(notes):
    return [note for note in notes() if note[0] == "begin"]


def test_a_killed_pool_child_is_noticed_long_before_its_lease_runs_out(processes, submit, notes):
    processes.dispatcher(MAINSTAY_LEASE_SECONDS="300")
    processes.worker(MAINSTAY_LEASE_SECONDS="300", queue="default")
    job = submit("flow.work", 3)
    pid = int(eventually(lambda: begun(notes))[0][3])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ended(job))
    row = job_row(job)
    assert (row.state, row.lost, row.attempt) == ("succeeded", 1, 1)


def test_a_killed_worker_is_noticed_when_its_lease_runs_out(processes, submit, notes):
    processes.dispatcher()
    first = processes.worker(concurrency=1)
    job = submit("flow.work", 2)
    eventually(lambda: begun(notes))
    first.signal(signal.SIGKILL)
    processes.worker(concurrency=1)
    eventually(lambda: ended(job))
    assert (job_row(job).state, job_row(job).lost) == ("succeeded", 1)


def test_a_frozen_worker_that_wakes_up_cannot_end_what_it_lost(processes, submit, notes):
    processes.dispatcher()
    processes.worker(concurrency=1)
    job = submit("flow.work", 1)
    pid = int(eventually(lambda: begun(notes))[0][3])
    os.kill(pid, signal.SIGSTOP)
    processes.worker(concurrency=1)
    eventually(lambda: ended(job))
    result = job_row(job).result
    os.kill(pid, signal.SIGCONT)
    other = submit("flow.work")
    eventually(lambda: ended(other))
    assert result["pid"] != pid
    assert job_row(job).result == result
    assert job_row(job).lost == 1


def test_a_poison_job_fails_and_spares_its_neighbours(processes, submit, notes):
    processes.dispatcher()
    processes.worker()
    poison = submit("flow.poison")
    neighbours = [submit("flow.count") for _ in range(50)]
    eventually(lambda: ended(poison) and all(ended(job) for job in neighbours), 60)
    row = job_row(poison)
    assert (row.state, row.error["code"], row.lost) == ("failed", "worker_lost", 3)
    assert {job_row(job).state for job in neighbours} == {"succeeded"}
    assert len(begun(notes)) == 3


def test_a_poison_job_spares_those_who_run_beside_it_in_its_process(processes, submit, notes):
    def worker():
        return processes.worker("integrations", "--pool", "threads", concurrency=8)

    processes.dispatcher()
    dying = worker()
    beside = [submit("flow.work", 1.5, queue="integrations") for _ in range(3)]
    eventually(lambda: len(begun(notes)) == 3)
    poison = submit("flow.poison", queue="integrations")
    for _ in range(3):
        dying.wait(60)
        dying = worker()
    eventually(lambda: ended(poison) and all(ended(job) for job in beside))
    assert (job_row(poison).state, job_row(poison).lost) == ("failed", 3)
    assert {job_row(job).state for job in beside} == {"succeeded"}


def gone(pid):
    """Whether the process has ended, though its parent may not have looked yet."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_comes_back_from_its_parents_handler_says_nothing(processes, submit, notes):
    processes.dispatcher()
    processes.worker(concurrency=1)
    jobs = [submit("flow.fork") for _ in range(3)]
    eventually(lambda: all(ended(job) for job in jobs) and len(notes()) == 6)
    children = {int(note[3]) for note in notes() if note[0] == "child"}
    (worker,) = {int(note[3]) for note in notes() if note[0] == "end"}
    assert [job_row(job).result for job in jobs] == [{"pid": worker}] * 3
    eventually(lambda: all(gone(pid) for pid in children))
    assert "attempt_had_lost_its_job" not in processes.log()
    after = submit("flow.work")
    eventually(lambda: ended(after))
    assert job_row(after).result == {"pid": worker}


def test_a_handler_that_ignores_its_time_limit_is_killed_and_said_to_have_timed_out(processes, submit, notes):
    processes.dispatcher()
    processes.worker(concurrency=1)
    job = submit("flow.stubborn", 60, max_attempts=1)
    eventually(lambda: ended(job))
    row = job_row(job)
    assert (row.state, row.error["code"], row.lost) == ("failed", "timed_out", 0)
    quick = submit("flow.count")
    eventually(lambda: ended(quick))


def test_a_stopped_worker_finishes_what_it_has(processes, submit, notes):
    processes.dispatcher()
    worker = processes.worker()
    job = submit("flow.work", 2)
    eventually(lambda: begun(notes))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    row = job_row(job)
    assert (row.state, row.attempt, row.lost) == ("succeeded", 1, 0)
    assert workers() == []


def test_a_worker_that_stops_is_sent_nothing_more(processes, submit, notes):
    processes.dispatcher()
    stopping = processes.worker()
    long = submit("flow.work", 4)
    eventually(lambda: begun(notes))
    staying = set(workers())
    stopping.signal(signal.SIGTERM)
    eventually(lambda: not staying & set(workers()))
    assert job_row(long).state == "running"


def test_a_stopped_worker_hands_back_what_it_cannot_finish(processes, submit, notes):
    processes.dispatcher()
    worker = processes.worker(MAINSTAY_STOP_GRACE_SECONDS="1", queue="default")
    job = submit("flow.work", 8)
    eventually(lambda: begun(notes))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    eventually(lambda: job_row(job).state in ("ready", "dispatched"))
    row = job_row(job)
    assert (row.attempt, row.lost) == (0, 0)
    processes.worker()
    eventually(lambda: ended(job))
    assert job_row(job).attempt == 1


def test_a_second_wish_to_stop_changes_nothing(processes, submit, notes):
    processes.dispatcher()
    worker = processes.worker(concurrency=1)
    job = submit("flow.work", 3)
    eventually(lambda: begun(notes))
    worker.signal(signal.SIGTERM)
    eventually(lambda: "Warm shutdown" in processes.log())
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    row = job_row(job)
    assert (row.state, row.attempt, row.lost, len(begun(notes))) == ("succeeded", 1, 0, 1)


@pytest.mark.parametrize("how", ["the whole group is asked to stop", "the worker is told to stop at once"])
def test_a_handler_that_is_ended_with_its_worker_spends_no_attempt(processes, submit, notes, how):
    processes.dispatcher()
    worker = processes.worker()
    job = submit("flow.work", 60, max_attempts=1)
    eventually(lambda: begun(notes))
    if how == "the whole group is asked to stop":
        os.killpg(worker.pid, signal.SIGTERM)
    else:
        worker.signal(signal.SIGQUIT)
    worker.wait()
    eventually(lambda: job_row(job).state in ("ready", "dispatched"))
    row = job_row(job)
    assert (row.attempt, row.lost) == (0, 0)
