"""The keeper's watch over running jobs, one turn at a time."""

import os
import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Event, current_thread

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from models import Attempt, Kind, Worker, lease
from models.session import transaction
from settings import get_settings
from tasks import LeaseLost, TimedOut
from tests.support.engine import enqueue, job_row
from tests.support.processes import eventually
from workers.attempt import keeper as keeper_module
from workers.attempt import record as record_module
from workers.attempt import stopping
from workers.attempt.chunk import Chunk

MINUTE = timedelta(minutes=1)


def keep(engine):
    """What both threads of the keeper do in a quarter of a second."""
    engine.keeper.judge()
    engine.keeper.write()
    engine.keeper.judge()


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
        keep(engine)
        leases.append(job_row(context.job_id).lease_expires_at)

    in_handler(act)
    assert leases[0] < leases[1]


def test_nothing_is_written_between_renewals(engine, in_handler):
    leases = []

    def act(context):
        engine.keeper._tried_at = time.monotonic()
        leases.append(job_row(context.job_id).lease_expires_at)
        keep(engine)
        leases.append(job_row(context.job_id).lease_expires_at)

    in_handler(act)
    assert leases[0] == leases[1]


def test_a_handler_past_its_timeout_is_told_at_its_next_check(engine, in_handler):
    def act(context):
        context.started -= 61
        keep(engine)
        context.check_cancelled()

    job = in_handler(act, timeout=MINUTE)
    assert job_row(job).error["code"] == "timed_out"
    assert attempts(job)[0].outcome == "timed_out"


def test_a_handler_that_ignores_its_timeout_is_ended_in_its_place(engine, in_handler):
    def act(context):
        context.started -= 61
        keep(engine)
        context.interrupted_at -= 11
        keep(engine)
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
        keep(engine)
        context.interrupted_at -= 11
        keep(engine)

    in_handler(act, timeout=MINUTE, grace=timedelta(seconds=10))
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_the_deadline_of_a_job_ends_its_attempt(app_id, engine, declare):
    def perform(params, context):
        context.started -= 61
        keep(engine)
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
    row = job_row(job)
    assert (row.state, row.attempt, row.lost) == ("ready", 0, 0)
    assert attempts(job)[0].outcome == "released"


def test_a_stopping_worker_hands_back_what_does_not_end_in_time(engine, in_handler, monkeypatch):
    monkeypatch.setattr(stopping, "overdue", lambda: True)

    def act(context):
        keep(engine)
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
        next(iter(engine.keeper._chunks)).since -= 2
        keep(engine)
        seen.update({job: job_row(job).state for job in jobs})

    seen = {}
    declare("test.slow", perform)
    with transaction() as session:
        session.add(Kind(kind="test.slow", seconds=0.0001))
    jobs = [enqueue(app_id, "test.slow", {"n": n}) for n in range(4)]
    engine.perform(engine.dispatch())
    assert list(seen.values())[1:] == ["running", "ready", "ready"]
    assert [job_row(job).attempt for job in jobs] == [1, 1, 0, 0]


@pytest.fixture
def in_chunk(app_id, engine, declare):
    """Perform three jobs of one chunk and call `act(chunk, context)` in the first; returns their ids."""

    def run(act):
        performed = []

        def perform(params, context):
            performed.append(context.job_id)
            if len(performed) == 1:
                act(next(iter(engine.keeper._chunks)), context)

        declare("test.three", perform)
        with transaction() as session:
            session.add(Kind(kind="test.three", seconds=0.0001))
        jobs = [enqueue(app_id, "test.three") for _ in range(3)]
        engine.perform(engine.dispatch())
        return jobs, performed

    return run


def test_what_waits_in_a_chunk_is_not_begun_once_others_took_it(engine, in_chunk):
    def act(chunk, context):
        engine.pass_time(MINUTE)
        engine.upkeep()
        engine.keeper._tried_at = 0
        keep(engine)

    jobs, performed = in_chunk(act)
    assert performed == jobs[:1]
    assert [job_row(job).state for job in jobs] == ["scheduled"] * 3


def test_nothing_is_begun_once_leases_may_run_out(engine, in_chunk):
    def act(chunk, context):
        engine.keeper._renewed_at -= get_settings().lease_seconds

    jobs, performed = in_chunk(act)
    assert performed == jobs[:1]
    assert [job_row(job).state for job in jobs] == ["succeeded", "ready", "ready"]


def test_a_lease_counts_from_before_the_claim(engine, in_chunk):
    seen = []
    in_chunk(lambda chunk, context: seen.append(engine.keeper._renewed_at - chunk.since))
    assert seen == [0]


def claimed_long_ago():
    return Chunk([], time.monotonic() - get_settings().lease_seconds)


def test_a_claim_that_took_long_is_not_taken_for_renewed_with_what_was_claimed_before(engine, in_chunk):
    def act(chunk, context):
        with engine.keeper.watching(claimed_long_ago()):
            seen.append(engine.keeper.lapsed)

    seen = []
    in_chunk(act)
    assert seen == [True]


def test_a_renewal_says_nothing_of_what_was_claimed_meanwhile(engine, in_chunk, monkeypatch):
    renew, meanwhile = lease.renew, ExitStack()

    def slowly(*asked):
        meanwhile.enter_context(engine.keeper.watching(claimed_long_ago()))
        return renew(*asked)

    def act(chunk, context):
        with meanwhile:
            monkeypatch.setattr(lease, "renew", slowly)
            engine.keeper._tried_at = 0
            engine.keeper.write()
            seen.append(engine.keeper.lapsed)

    seen = []
    in_chunk(act)
    assert seen == [True]


def test_what_could_not_be_handed_back_is_still_ours(engine, in_chunk, monkeypatch):
    def act(chunk, context):
        with monkeypatch.context() as away:
            away.setattr(record_module, "_write", refuse)
            chunk.since -= 2
            with pytest.raises(OperationalError):
                keep(engine)
        assert len(chunk.held()) == 3

    jobs, performed = in_chunk(act)
    assert performed == jobs[:1]
    assert [job_row(job).state for job in jobs] == ["succeeded", "ready", "ready"]


def test_an_ending_that_the_keeper_failed_to_record_is_not_forgotten(engine, in_chunk, monkeypatch):
    def act(chunk, context):
        write = record_module._write

        def fail_late(done):
            """Fail in the keeper, only once the chunk's own thread has nothing left to do."""
            if current_thread().name == "keeper":
                keeper_writes.set()
                eventually(lambda: chunk.current is None and not chunk._waiting and not chunk._done, 10)
                refuse(done)
            return write(done)

        monkeypatch.setattr(record_module, "_write", fail_late)
        chunk.release()
        engine.keeper.start()
        assert keeper_writes.wait(10)

    keeper_writes = Event()
    jobs, _ = in_chunk(act)
    engine.keeper.stop()
    assert [job_row(job).state for job in jobs] == ["succeeded", "ready", "ready"]


def refuse(done):
    raise OperationalError("UPDATE", {}, Exception("gone"))


def test_a_handler_that_ignores_the_loss_of_its_lease_does_not_keep_the_job(engine, in_handler):
    def act(context):
        (chunk,) = engine.keeper._chunks
        context.interrupt(LeaseLost)
        context.interrupted_at -= 11
        keep(engine)
        assert chunk.held() == {}

    job = in_handler(act, grace=timedelta(seconds=10))
    assert attempts(job) == []


def test_a_pool_child_whose_handler_stopped_at_the_last_moment_lives(engine, in_handler, monkeypatch):
    killed = []
    monkeypatch.setattr(keeper_module.os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(keeper_module, "flush", lambda chunk: setattr(last, "over", True))
    engine.keeper._killable = True

    def act(context):
        nonlocal last
        last = context
        context.started -= 61
        keep(engine)
        context.interrupted_at -= 11
        keep(engine)

    last = None
    in_handler(act, timeout=MINUTE, grace=timedelta(seconds=10))
    assert killed == []


def test_limits_hold_while_postgres_lets_the_keeper_wait(engine, in_handler):
    def act(context):
        with transaction() as session:
            session.execute(select(Worker).with_for_update())
            engine.keeper.start()
            eventually(someone_waits_for_a_lock)
            context.started -= 61
            eventually(lambda: context.interruption is TimedOut, 3)
            assert someone_waits_for_a_lock()

    in_handler(act, timeout=MINUTE)
    engine.keeper.stop()


def someone_waits_for_a_lock():
    with transaction() as session:
        return session.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


def test_a_child_that_will_not_stop_is_killed_although_postgres_does_not_answer(engine, in_handler, monkeypatch):
    killed = []
    monkeypatch.setattr(keeper_module.os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(keeper_module, "LAST_WORDS", -1)
    engine.keeper._killable = True

    def act(context):
        context.started -= 61
        engine.keeper.judge()
        context.interrupted_at -= 11
        engine.keeper.judge()

    in_handler(act, timeout=MINUTE, grace=timedelta(seconds=10))
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_a_renewal_that_failed_is_tried_again_soon(engine, in_handler, monkeypatch):
    def act(context):
        engine.keeper._tried_at = 0
        with monkeypatch.context() as away:
            away.setattr(keeper_module.lease, "renew", lambda *_: refuse(()))
            with pytest.raises(OperationalError):
                keep(engine)
        before = job_row(context.job_id).lease_expires_at
        engine.keeper._tried_at -= 1.1
        keep(engine)
        assert job_row(context.job_id).lease_expires_at > before

    job = in_handler(act)
    assert job_row(job).state == "succeeded"


def test_what_ended_is_recorded_while_the_next_job_still_runs(app_id, engine, declare):
    def perform(params, context):
        if params.n == 1:
            chunk = next(iter(engine.keeper._chunks))
            chunk._done_since -= 1
            keep(engine)
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
    keep(engine)
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


def test_a_second_wish_to_stop_does_not_prolong_the_first(monkeypatch):
    monkeypatch.setattr(stopping, "_shared", bytearray(8))
    stopping.begin()
    first = bytes(stopping._shared)
    stopping.begin()
    assert bytes(stopping._shared) == first
