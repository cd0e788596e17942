"""The keeper's watch over running jobs, one turn at a time."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from models import Attempt, Kind, Worker
from models.session import transaction
from settings import get_settings
from tests.support.engine import enqueue, job_row
from workers import keeper as keeper_module
from workers import stopping

MINUTE = timedelta(minutes=1)


def attempts(job_id):
    with transaction() as session:
        return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.id)).all()


@pytest.fixture
def in_handler(app_id, engine, declare):
    """Perform one job and call `act(context)` inside its handler; returns the job's id."""

    def run(act, **options):
        declare("test.watch", lambda params, context: act(context), **options)
        job = enqueue(app_id, "test.watch")
        engine.perform(engine.dispatch())
        return job

    return run


def test_a_lease_is_renewed_while_the_handler_runs(engine, in_handler):
    leases = []

    def act(context):
        leases.append(job_row(context.job_id).lease_expires_at)
        engine.keeper._tried_at = 0
        engine.keeper.turn()
        leases.append(job_row(context.job_id).lease_expires_at)

    in_handler(act)
    assert leases[0] < leases[1]


def test_nothing_is_written_between_renewals(engine, in_handler):
    leases = []

    def act(context):
        engine.keeper._tried_at = time.monotonic()
        leases.append(job_row(context.job_id).lease_expires_at)
        engine.keeper.turn()
        leases.append(job_row(context.job_id).lease_expires_at)

    in_handler(act)
    assert leases[0] == leases[1]


def test_a_handler_past_its_timeout_is_told_at_its_next_check(engine, in_handler):
    def act(context):
        context.started -= 61
        engine.keeper.turn()
        context.check_cancelled()

    job = in_handler(act, timeout=MINUTE)
    assert job_row(job).error["code"] == "timed_out"
    assert attempts(job)[0].outcome == "timed_out"


def test_a_handler_that_ignores_its_timeout_is_ended_in_its_place(engine, in_handler):
    def act(context):
        context.started -= 61
        engine.keeper.turn()
        context.interrupted_at -= 11
        engine.keeper.turn()
        assert job_row(context.job_id).state == "scheduled"
        return {"too": "late"}

    job = in_handler(act, timeout=MINUTE, grace=timedelta(seconds=10))
    assert job_row(job).result is None
    assert [attempt.outcome for attempt in attempts(job)] == ["timed_out"]


def test_a_pool_child_whose_handler_will_not_stop_is_killed(engine, in_handler, monkeypatch):
    killed = []
    monkeypatch.setattr(keeper_module.os, "kill", lambda pid, number: killed.append((pid, number)))
    engine.keeper._killable = True

    def act(context):
        context.started -= 61
        engine.keeper.turn()
        context.interrupted_at -= 11
        engine.keeper.turn()

    in_handler(act, timeout=MINUTE, grace=timedelta(seconds=10))
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_the_deadline_of_a_job_ends_its_attempt(app_id, engine, declare):
    def perform(params, context):
        context.started -= 61
        engine.keeper.turn()
        context.check_cancelled()

    declare("test.deadline", perform)
    job = enqueue(app_id, "test.deadline", deadline_at=datetime.now(UTC) + MINUTE)
    engine.perform(engine.dispatch())
    row = job_row(job)
    assert (row.state, row.error["code"]) == ("failed", "deadline_exceeded")


def test_without_renewal_for_most_of_a_lease_the_handler_is_stopped_by_its_own_clock(engine, in_handler):
    def act(context):
        engine.keeper._renewed_at -= 0.81 * get_settings().lease_seconds
        engine.keeper._judge(next(iter(engine.keeper._chunks)))
        context.check_cancelled()

    job = in_handler(act)
    assert job_row(job).state == "running"
    assert attempts(job) == []


def test_a_stopping_worker_hands_back_what_does_not_end_in_time(engine, in_handler, monkeypatch):
    monkeypatch.setattr(stopping, "overdue", lambda: True)

    def act(context):
        engine.keeper.turn()
        context.check_cancelled()

    job = in_handler(act)
    row = job_row(job)
    assert (row.state, row.attempt) == ("ready", 0)
    assert attempts(job)[0].outcome == "released"


def test_a_slow_job_does_not_make_the_rest_of_its_chunk_wait(app_id, engine, declare):
    def perform(params, context):
        if params.n == 0:
            return
        assert params.n == 1, "the others were handed back"
        context.started -= 2
        engine.keeper.turn()
        seen.update({job: job_row(job).state for job in jobs})

    seen = {}
    declare("test.slow", perform)
    with transaction() as session:
        session.add(Kind(kind="test.slow", seconds=0.0001))
    jobs = [enqueue(app_id, "test.slow", {"n": n}) for n in range(4)]
    engine.perform(engine.dispatch())
    assert list(seen.values())[1:] == ["running", "ready", "ready"]
    assert [job_row(job).attempt for job in jobs] == [1, 1, 0, 0]


def test_what_ended_is_recorded_while_the_next_job_still_runs(app_id, engine, declare):
    def perform(params, context):
        if params.n == 1:
            chunk = next(iter(engine.keeper._chunks))
            chunk._done_since -= 1
            engine.keeper.turn()
            seen.append(job_row(jobs[0]).state)

    seen = []
    declare("test.pair", perform)
    with transaction() as session:
        session.add(Kind(kind="test.pair", seconds=0.0001))
    jobs = [enqueue(app_id, "test.pair", {"n": n}) for n in range(2)]
    engine.perform(engine.dispatch())
    assert seen == ["succeeded"]


def test_the_workers_row_tells_what_it_can_do_and_goes_with_it(database, engine):
    engine.keeper.start()
    engine.keeper._tried_at = 0
    engine.keeper.turn()
    with transaction() as session:
        row = session.scalars(select(Worker)).one()
    assert (row.name, row.slots) == ("tests@here:1", 1)
    assert "text.count" in row.kinds
    engine.keeper.stop()
    with transaction() as session:
        assert session.scalars(select(Worker)).all() == []


def test_stopping_is_seen_across_a_fork(monkeypatch):
    monkeypatch.setenv("MAINSTAY_STOP_GRACE_SECONDS", "0")
    get_settings.cache_clear()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        deadline = time.monotonic() + 10
        while not stopping.overdue() and time.monotonic() < deadline:
            os.sched_yield()
        os.write(writer, b"y" if stopping.overdue() else b"n")
        os._exit(0)
    try:
        assert not stopping.overdue()
        stopping.begin()
        assert os.read(reader, 1) == b"y"
    finally:
        os.waitpid(child, 0)
        stopping._shared[:8] = bytes(8)
        get_settings.cache_clear()
