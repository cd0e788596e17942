"""Promise: Redis may be wiped, restarted or frozen; that costs time, never a job."""

import os
import signal
import time

import pytest
from redis import Redis

from models.session import transaction
from settings import get_settings
from tests.support.engine import job_row
from tests.support.processes import eventually
from workers.timeline import timeline
from workers.wakeup import doorbell


def ended(job):
    return job_row(job).finished_at is not None


@pytest.fixture
def redis(services):
    return Redis.from_url(get_settings().redis_url.get_secret_value())


def test_what_waited_in_redis_when_it_was_wiped_runs_all_the_same(processes, submit, redis, notes):
    processes.dispatcher(MAINSTAY_DISPATCH_LEASE_SECONDS="300")
    worker = processes.worker(concurrency=1)
    first = submit("flow.work", 1)
    eventually(notes)
    jobs = [submit("flow.count") for _ in range(20)]
    eventually(lambda: redis.llen("default") > 0)
    worker.signal(signal.SIGSTOP)
    redis.flushall()
    worker.signal(signal.SIGCONT)
    eventually(lambda: ended(first) and all(ended(job) for job in jobs))
    assert sorted(note[1] for note in notes() if note[0] == "end") == sorted(map(str, [first, *jobs]))


def test_work_goes_on_after_redis_restarts_empty(processes, submit, valkey):
    processes.dispatcher()
    processes.worker()
    before = submit("flow.count")
    eventually(lambda: ended(before))
    valkey.stop()
    during = submit("flow.count")
    valkey.start()
    after = submit("flow.count")
    eventually(lambda: ended(during) and ended(after))


def test_however_long_redis_was_away_work_begins_soon_after_it_is_back(processes, submit, valkey):
    processes.dispatcher()
    processes.worker()
    before = submit("flow.count")
    eventually(lambda: ended(before))
    valkey.stop()
    during = submit("flow.count")
    # Celery would have looked for it after 2, 6 and 12 seconds, and next after 20.
    back_at = time.monotonic() + 13
    eventually(lambda: time.monotonic() > back_at)
    valkey.start()
    eventually(lambda: ended(during), 5)


def test_enqueueing_costs_nothing_while_redis_is_frozen(processes, submit, valkey):
    processes.dispatcher()
    processes.worker()
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        jobs = [submit("flow.count") for _ in range(20)]
        seconds = time.monotonic() - started
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert seconds < 2
    eventually(lambda: all(ended(job) for job in jobs))


def test_a_time_limit_holds_while_redis_is_frozen(processes, submit, valkey, notes):
    processes.dispatcher()
    processes.worker(concurrency=1)
    job = submit("flow.stubborn", 60, max_attempts=1)
    eventually(notes)
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        eventually(lambda: ended(job), 15)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert job_row(job).error["code"] == "timed_out"


def test_a_message_that_is_in_redis_twice_runs_once(processes, submit, redis, notes):
    processes.dispatcher()
    worker = processes.worker(concurrency=1)
    worker.signal(signal.SIGSTOP)
    jobs = [submit("flow.count") for _ in range(2)]
    doorbell.ring(["default"])
    eventually(lambda: redis.llen("default") > 0)
    for message in redis.lrange("default", 0, -1):
        redis.lpush("default", message, message)
    worker.signal(signal.SIGCONT)
    eventually(lambda: all(ended(job) for job in jobs))
    eventually(lambda: redis.llen("default") == 0)
    assert sorted(note[1] for note in notes()) == sorted(map(str, jobs))


def test_a_message_that_waits_behind_long_jobs_is_not_taken_for_lost(processes, submit):
    processes.dispatcher(MAINSTAY_DISPATCH_LEASE_SECONDS="2")
    processes.worker(concurrency=1)
    jobs = [submit("flow.work", seconds) for seconds in (6, 0, 0)]
    eventually(lambda: all(ended(job) for job in jobs))
    assert [job_row(job).epoch for job in jobs] == [1, 1, 1]
    with transaction() as session:
        events = {event.type for job in jobs for event in timeline(session, job)}
    assert events == {"created", "attempt_started", "attempt_finished"}
