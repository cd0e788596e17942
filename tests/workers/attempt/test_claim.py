"""Claiming the jobs of a message while Postgres comes and goes."""

from itertools import count
from threading import Event, Thread, current_thread
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError

from models import Attempt, Kind, lifecycle
from models.session import transaction
from tests.support.engine import enqueue, job_row
from tests.support.processes import eventually
from workers.attempt import claim as claim_module
from workers.attempt import stopping

AWAY = OperationalError("UPDATE", {}, Exception("gone"))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(claim_module, "RETRY_PAUSE", 0)


@pytest.fixture
def once(monkeypatch):
    """Let the next claim fail: `once(error, reaching=True)` loses only the answer."""
    claim = lifecycle.claim

    def once(*errors, reaching=False):
        left = list(errors)

        def flaky(*arguments):
            claims = claim(*arguments) if reaching or not left else []
            if left:
                raise left.pop()
            return claims

        monkeypatch.setattr(lifecycle, "claim", flaky)

    return once


def attempts(job_id):
    with transaction() as session:
        return session.scalars(select(Attempt).where(Attempt.job_id == job_id)).all()


def test_a_claim_whose_answer_was_lost_is_still_ours(app_id, engine, declare, once):
    performed = []
    declare("test.three", lambda params, context: performed.append(params.n))
    with transaction() as session:
        session.add(Kind(kind="test.three", seconds=0.0001))
    jobs = [enqueue(app_id, "test.three", {"n": n}) for n in range(3)]
    messages = engine.dispatch()
    once(AWAY, reaching=True)
    engine.perform(messages)
    assert performed == [0, 1, 2]
    assert [(job_row(job).state, job_row(job).attempt, len(attempts(job))) for job in jobs] == [("succeeded", 1, 1)] * 3


def test_a_message_that_arrives_while_postgres_is_away_waits_for_it(app_id, engine, once):
    job = enqueue(app_id, "text.count", {"text": "a"})
    messages = engine.dispatch()
    once(AWAY, AWAY)
    engine.perform(messages)
    assert (job_row(job).state, job_row(job).attempt) == ("succeeded", 1)


def test_a_message_is_dropped_when_postgres_is_away_for_longer_than_its_dispatch_lease(
    app_id, engine, monkeypatch, once
):
    job = enqueue(app_id, "text.count", {"text": "a"})
    messages = engine.dispatch()
    clock = count(step=11)
    monkeypatch.setattr(claim_module, "monotonic", lambda: next(clock))
    once(*[AWAY] * 9)
    engine.perform(messages)
    assert job_row(job).state == "dispatched"


def test_a_worker_that_has_to_stop_waits_for_no_claim(app_id, engine, monkeypatch, once):
    job = enqueue(app_id, "text.count", {"text": "a"})
    messages = engine.dispatch()
    monkeypatch.setattr(stopping, "overdue", lambda: True)
    once(AWAY)
    engine.perform(messages)
    assert job_row(job).state == "dispatched"


def test_a_claim_that_postgres_refuses_is_not_repeated(app_id, engine, once):
    job = enqueue(app_id, "text.count", {"text": "a"})
    messages = engine.dispatch()
    once(DataError("UPDATE", {}, Exception("out of range")))
    engine.perform(messages)
    assert job_row(job).state == "dispatched"


def test_of_two_copies_of_a_message_in_one_process_the_later_does_not_ask_for_what_the_first_holds(
    app_id, engine, declare, once
):
    performed = []

    def perform(params, context):
        performed.append(context.job_id)
        once(AWAY)
        engine.perform(copies)

    declare("test.twice", perform)
    job = enqueue(app_id, "test.twice")
    messages = engine.dispatch()
    copies = [(queue, kind, list(hints)) for queue, kind, hints in messages]
    engine.perform(messages)
    assert performed == [job]
    assert job_row(job).state == "succeeded"


def test_of_two_copies_of_a_message_in_one_process_the_later_leaves_to_the_first_what_that_still_asks_for(
    app_id, engine, declare, once, monkeypatch
):
    performed, over = [], Event()

    def perform(params, context):
        performed.append(context.job_id)
        if current_thread() is copy:
            over.wait(10)

    def take_the_copy(_):
        if copy.ident is None:
            copy.start()
            eventually(lambda: performed or not copy.is_alive())

    declare("test.twice", perform)
    job = enqueue(app_id, "test.twice")
    messages = engine.dispatch()
    copies = [(queue, kind, list(hints)) for queue, kind, hints in messages]
    copy = Thread(target=engine.perform, args=(copies,))
    monkeypatch.setattr(claim_module, "time", SimpleNamespace(sleep=take_the_copy))
    once(AWAY)
    engine.perform(messages)
    over.set()
    copy.join()
    assert performed == [job]
    assert job_row(job).state == "succeeded"


def test_a_job_that_was_taken_back_meanwhile_is_not_ours(app_id, engine, once, pass_time):
    job = enqueue(app_id, "text.count", {"text": "a"})
    (message,) = engine.dispatch()
    with transaction() as session:
        lifecycle.claim(session, message[2], engine.presence.name, claim_module.get_settings().lease)
    pass_time(claim_module.get_settings().lease * 2)
    engine.upkeep()
    once(AWAY)
    engine.perform([message])
    assert (job_row(job).state, job_row(job).lost) == ("scheduled", 1)
