"""Claim, perform, record: one attempt from end to end, in one process."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from models import Attempt, Job, Kind, lifecycle
from models.lifecycle import Hint, NewJob
from models.session import transaction
from tasks import Cancelled, Fail, LeaseLost, Park, Retry, Snooze
from tests.support.engine import enqueue, job_row
from workers.attempt import chunk as chunk_module
from workers.attempt import record as record_module
from workers.attempt import stopping
from workers.queue import cancel


def attempts(job_id):
    with transaction() as session:
        return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.id)).all()


def test_a_void_message_is_dropped_silently(app_id, engine):
    job = enqueue(app_id, "text.count", {"text": "a"})
    engine.perform([("default", "text.count", [Hint(job, 7)])])
    assert job_row(job).state == "ready"


def test_a_message_delivered_twice_runs_once(app_id, engine, declare):
    runs = []
    declare("test.once", lambda params, context: runs.append(context.attempt))
    enqueue(app_id, "test.once")
    messages = engine.dispatch()
    engine.perform(messages)
    engine.perform(messages)
    assert runs == [1]


def test_a_handler_that_fails_is_tried_again_until_its_attempts_are_spent(app_id, drain, pass_time, declare):
    def perform(params, context):
        raise OSError("not today")

    declare("test.fail", perform, max_attempts=3)
    job = enqueue(app_id, "test.fail")
    for number in (1, 2, 3):
        drain()
        row = job_row(job)
        assert row.attempt == number
        pass_time(timedelta(hours=2))
    assert (row.state, row.error["code"]) == ("failed", "unexpected_error")
    assert [(a.number, a.outcome) for a in attempts(job)] == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert "not today" in attempts(job)[0].traceback


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (Fail("x"), "failed"),
        (Park("x"), "parked"),
        (Retry("x"), "scheduled"),
        (Snooze(timedelta(minutes=1)), "scheduled"),
        (Snooze(datetime(2020, 1, 1, tzinfo=UTC)), "ready"),
        (Cancelled(), "cancelled"),
        (SystemExit(3), "scheduled"),
        (KeyboardInterrupt(), "scheduled"),
        (MemoryError(), "scheduled"),
    ],
)
def test_each_ending_takes_the_job_where_it_says(app_id, engine, declare, ending, state):
    def perform(params, context):
        raise ending

    declare("test.end", perform)
    job = enqueue(app_id, "test.end")
    engine.perform(engine.dispatch())
    assert job_row(job).state == state


def test_neighbours_in_a_chunk_end_each_in_its_own_way(app_id, engine, declare):
    def perform(params, context):
        if params.n == 2:
            raise Fail("two")
        return {"n": params.n}

    declare("test.mixed", perform)
    with transaction() as session:
        session.add(Kind(kind="test.mixed", seconds=0.0001))
    jobs = [enqueue(app_id, "test.mixed", {"n": n}) for n in range(5)]
    messages = engine.dispatch()
    assert len(messages) == 1
    engine.perform(messages)
    assert [job_row(job).state for job in jobs] == ["succeeded", "succeeded", "failed", "succeeded", "succeeded"]


@pytest.mark.parametrize("ending", [Snooze(datetime(2030, 1, 1)), Fail("x", 7), Snooze(timedelta.max)])  # noqa: DTZ001
def test_an_ending_that_makes_no_sense_fails_its_attempt_and_spares_its_neighbours(app_id, engine, declare, ending):
    def perform(params, context):
        if params.n == 1:
            raise ending

    declare("test.nonsense", perform, max_attempts=1)
    with transaction() as session:
        session.add(Kind(kind="test.nonsense", seconds=0.0001))
    jobs = [enqueue(app_id, "test.nonsense", {"n": n}) for n in range(3)]
    engine.perform(engine.dispatch())
    assert [job_row(job).state for job in jobs] == ["succeeded", "failed", "succeeded"]


def test_params_that_no_longer_validate_fail_the_job(app_id, drain):
    job = enqueue(app_id, "text.count", {"text": 7})
    drain()
    assert job_row(job).error["code"] == "params_invalid"


def test_children_are_written_with_their_parents_success(app_id, engine, declare):
    def perform(params, context):
        child = context.enqueue("text.count", {"text": "a b"}, priority=5)
        return {"child": str(child)}

    declare("test.parent", perform)
    parent = enqueue(app_id, "test.parent")
    assert engine.drain() == 2
    child = job_row(job_row(parent).result["child"])
    assert (child.parent_id, child.state, child.priority, child.result["words"]) == (parent, "succeeded", 5, 2)


def test_a_child_may_have_all_that_an_app_can_say_of_a_job_but_a_unique_key(app_id, engine, declare):
    due = datetime.now(UTC) + timedelta(hours=1)
    options = {
        "queue": "data", "max_attempts": 7, "priority": -100, "run_at": due, "expires_at": due + timedelta(hours=1),
        "deadline_at": due + timedelta(hours=2), "labels": {"order": "42"},
    }  # fmt: skip

    def perform(params, context):
        return {"child": str(context.enqueue("text.count", {"text": "a b"}, **options))}

    declare("test.parent", perform)
    parent = enqueue(app_id, "test.parent")
    engine.drain()
    child = job_row(job_row(parent).result["child"])
    assert {name: getattr(child, name) for name in options} == options
    assert (child.state, child.parent_id) == ("scheduled", parent)


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "nope"},
        {"priority": 101},
        {"priority": "1"},
        {"max_attempts": 0},
        {"run_at": "tomorrow"},
        {"run_at": datetime(2040, 1, 1)},  # noqa: DTZ001  # without a zone on purpose
        {"run_at": datetime(9999, 1, 1, tzinfo=UTC)},
        {"run_at": datetime(2040, 1, 2, tzinfo=UTC), "expires_at": datetime(2040, 1, 1, tzinfo=UTC)},
        {"run_at": datetime(2040, 1, 2, tzinfo=UTC), "deadline_at": datetime(2040, 1, 1, tzinfo=UTC)},
        {"labels": {"order": 42}},
        {"labels": {"two words": "a"}},
        {"labels": {"order": "\0"}},
        {"unique_key": "k"},
        {"prioritty": 1},
    ],
    ids=str,
)
def test_what_a_child_cannot_have_is_refused_at_the_call(app_id, engine, declare, options):
    def perform(params, context):
        with pytest.raises(ValueError, match=f"{list(options)[-1]}|NUL"):
            context.enqueue("text.count", {"text": "a"}, **options)

    declare("test.parent", perform)
    job = enqueue(app_id, "test.parent")
    assert engine.drain() == 1
    assert job_row(job).state == "succeeded"


@pytest.mark.parametrize("params", [{"text": 7}, {}, {"text": "a" * 300_000}], ids=["type", "missing", "size"])
def test_params_that_a_child_cannot_have_are_refused_at_the_call(app_id, engine, declare, params):
    def perform(_, context):
        with pytest.raises(ValueError, match=r"text|bytes"):
            context.enqueue("text.count", params)

    declare("test.parent", perform)
    job = enqueue(app_id, "test.parent")
    assert engine.drain() == 1
    assert job_row(job).state == "succeeded"


def children(parent):
    with transaction() as session:
        return session.scalars(select(Job.state).where(Job.parent_id == parent)).all()


def test_children_of_an_attempt_that_lost_its_job_are_never_written(app_id, engine, declare, pass_time):
    def perform(params, context):
        context.enqueue("text.count", {"text": "a"})
        if job_row(parent).lost == 0:
            pass_time(timedelta(minutes=1))
            engine.upkeep()

    declare("test.parent", perform)
    parent = enqueue(app_id, "test.parent")
    engine.drain()
    assert (job_row(parent).state, job_row(parent).lost) == ("succeeded", 1)
    assert children(parent) == ["succeeded"]


@pytest.mark.parametrize("verb", ["record", "insert"])
def test_an_ending_and_its_children_are_written_together_or_not_yet(app_id, engine, declare, monkeypatch, verb):
    write, failures = getattr(lifecycle, verb), [OperationalError("", {}, Exception("gone"))]

    def flaky(*arguments):
        if failures:
            seen.append((job_row(parent).state, children(parent)))
            raise failures.pop()
        return write(*arguments)

    declare("test.parent", lambda params, context: {"child": str(context.enqueue("text.count", {"text": "a"}))})
    parent, seen = enqueue(app_id, "test.parent"), []
    monkeypatch.setattr(record_module, "RETRY_PAUSE", 0)
    monkeypatch.setattr(lifecycle, verb, flaky)
    engine.drain()
    assert seen == [("running", [])]
    assert (job_row(parent).state, children(parent)) == ("succeeded", ["succeeded"])


def test_children_of_a_failed_attempt_are_never_written(app_id, engine, declare):
    def perform(params, context):
        context.enqueue("text.count", {"text": "a"})
        raise Fail("no")

    declare("test.parent", perform)
    enqueue(app_id, "test.parent")
    assert engine.drain() == 1


def test_a_checkpoint_is_found_by_the_next_attempt(app_id, engine, pass_time, declare):
    seen = []

    def perform(params, context):
        seen.append(context.checkpoint)
        context.save_checkpoint({"page": len(seen)})
        raise Retry("more")

    declare("test.pages", perform)
    enqueue(app_id, "test.pages")
    for _ in range(3):
        engine.drain()
        pass_time(timedelta(hours=2))
    assert seen == [None, {"page": 1}, {"page": 2}]


def test_progress_is_shown_at_most_once_a_second(app_id, engine, declare):
    def perform(params, context):
        context.progress(0.1, "too early to be worth a write")
        context._progress_at -= 2
        context.progress(0.5, "half")
        context.progress(0.6, "too soon after")

    declare("test.progress", perform)
    job = enqueue(app_id, "test.progress")
    engine.drain()
    assert job_row(job).progress == {"fraction": 0.5, "note": "half"}


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_progress_is_a_fraction(app_id, engine, declare, fraction):
    declare("test.progress", lambda params, context: context.progress(fraction), max_attempts=1)
    job = enqueue(app_id, "test.progress")
    engine.drain()
    assert job_row(job).error["message"] == "ValueError"


def test_the_remaining_time_is_bounded_by_timeout_and_deadline(app_id, engine, declare):
    seen = []
    declare("test.time", lambda params, context: seen.append(context.remaining()), timeout=timedelta(minutes=5))
    enqueue(app_id, "test.time")
    enqueue(app_id, "test.time", deadline_at=datetime.now(UTC) + timedelta(minutes=1))
    engine.drain()
    assert timedelta(minutes=4) < seen[0] <= timedelta(minutes=5)
    assert timedelta(seconds=50) < seen[1] <= timedelta(minutes=1)


def test_what_a_zombie_returns_is_not_recorded(app_id, engine, declare, pass_time):
    def perform(params, context):
        if not runs:
            runs.append("first")
            pass_time(timedelta(minutes=5))
            engine.upkeep()
            pass_time(timedelta(minutes=5))
            engine.drain()
            return {"by": "zombie"}
        runs.append("second")
        return {"by": "second"}

    runs = []
    declare("test.zombie", perform)
    job = enqueue(app_id, "test.zombie")
    engine.perform(engine.dispatch())
    assert runs == ["first", "second"]
    assert job_row(job).result == {"by": "second"}
    assert [attempt.outcome for attempt in attempts(job)] == ["lost", "succeeded"]


def test_a_handler_that_learns_that_its_lease_is_lost_stops_without_a_word(app_id, engine, declare):
    def perform(params, context):
        with transaction() as session:
            session.execute(text("UPDATE jobs SET lease_token = uuidv7() WHERE id = :id"), {"id": context.job_id})
        context.save_checkpoint({"page": 1})

    declare("test.late", perform)
    job = enqueue(app_id, "test.late")
    engine.perform(engine.dispatch())
    row = job_row(job)
    assert (row.state, row.checkpoint) == ("running", None)
    assert attempts(job) == []


def test_a_lease_that_was_lost_by_our_own_clock_alone_hands_the_job_back(app_id, engine, declare):
    def perform(params, context):
        context.interrupt(LeaseLost)
        context.check_cancelled()

    declare("test.lost", perform)
    job = enqueue(app_id, "test.lost")
    engine.perform(engine.dispatch())
    row = job_row(job)
    assert (row.state, row.attempt, row.lost) == ("ready", 0, 0)


def test_a_result_waits_for_postgres_to_come_back(app_id, engine, monkeypatch):
    write, failures = record_module._write, [1, 2]

    def flaky(done):
        if failures:
            failures.pop()
            raise OperationalError("UPDATE", {}, Exception("gone"))
        return write(done)

    monkeypatch.setattr(record_module, "_write", flaky)
    monkeypatch.setattr(record_module, "RETRY_PAUSE", 0)
    job = enqueue(app_id, "text.count", {"text": "a"})
    engine.drain()
    assert job_row(job).state == "succeeded"


def test_what_ended_stays_in_hand_while_a_chunk_goes_on_without_postgres(app_id, engine, monkeypatch, declare):
    write, failures = record_module._write, [1]

    def flaky(done):
        if failures:
            failures.pop()
            raise OperationalError("UPDATE", {}, Exception("gone"))
        return write(done)

    monkeypatch.setattr(record_module, "_write", flaky)
    monkeypatch.setattr(chunk_module, "FLUSH_AFTER", 0)
    declare("test.chunk", lambda params, context: {"n": params.n})
    with transaction() as session:
        session.add(Kind(kind="test.chunk", seconds=0.0001))
    jobs = [enqueue(app_id, "test.chunk", {"n": n}) for n in range(3)]
    engine.perform(engine.dispatch())
    assert [job_row(job).result for job in jobs] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_cancelling_a_running_job_cancels_it_at_its_next_check(app_id, engine, declare):
    def perform(params, context):
        with transaction() as session:
            cancel(session, app_id, context.job_id)
        engine.keeper._tried_at = 0
        engine.keeper.write()
        context.check_cancelled()

    declare("test.cancel", perform)
    job = enqueue(app_id, "test.cancel")
    engine.perform(engine.dispatch())
    row = job_row(job)
    assert (row.state, row.error) == ("cancelled", None)
    assert attempts(job)[0].outcome == "cancelled"


def test_an_ending_that_postgres_refuses_fails_its_job_and_no_other(app_id, engine, declare):
    def perform(params, context):
        if params.n == 1:
            context.children.append(NewJob("text.count", {"text": "a"}, "default", 1, priority=10**6))
        return {"n": params.n}

    declare("test.refused", perform)
    with transaction() as session:
        session.add(Kind(kind="test.refused", seconds=0.0001))
    jobs = [enqueue(app_id, "test.refused", {"n": n}) for n in range(3)]
    engine.perform(engine.dispatch())
    assert [job_row(job).state for job in jobs] == ["succeeded", "failed", "succeeded"]
    assert job_row(jobs[1]).error["code"] == "not_recordable"


def test_a_process_that_is_told_to_end_hands_back_what_it_performs_and_what_waits(app_id, engine, declare, monkeypatch):
    def perform(params, context):
        if params.n == 1:
            monkeypatch.setattr(stopping, "at_once", lambda: True)
            raise SystemExit(1)

    declare("test.told", perform, max_attempts=1)
    with transaction() as session:
        session.add(Kind(kind="test.told", seconds=0.0001))
    jobs = [enqueue(app_id, "test.told", {"n": n}) for n in range(3)]
    engine.perform(engine.dispatch())
    assert [(job_row(job).state, job_row(job).attempt) for job in jobs] == [
        ("succeeded", 1),
        ("ready", 0),
        ("ready", 0),
    ]
    assert [attempt.outcome for job in jobs[1:] for attempt in attempts(job)] == ["released", "released"]
