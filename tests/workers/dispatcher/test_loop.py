"""The dispatcher's loop around its turns: which queues it looks at, and what it does without Redis."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import text
from structlog.testing import capture_logs

from embedded.valkey import Valkey
from models import lifecycle
from models.lifecycle import Hint
from models.session import autocommit, transaction
from settings import get_settings
from tasks.discovery import handlers
from tests.support.engine import QUEUES, enqueue, job_row
from tests.support.processes import workers
from workers.app import app
from workers.dispatcher import turn as turn_module
from workers.dispatcher.election import FROZEN
from workers.dispatcher.loop import RESCUE_DELAY, _Service
from workers.dispatcher.messages import REDIS_ERRORS, Publisher, Waiting
from workers.dispatcher.turn import _NEXT_DUE, _READY
from workers.process.presence import Presence
from workers.wakeup import connections


@pytest.fixture
def service(database):
    """A dispatcher's service that holds all queues and collects its messages in `sent`."""
    connections._clients.clear()
    connections.redis_client().flushall()
    with transaction() as session:
        Presence("tests@here:1", QUEUES, 1, tuple(handlers())).refresh(session)
    with autocommit().connect() as connection:
        connection.detach()
        service = _Service(connection, QUEUES)
        service.sent = []
        service._turn._publish = lambda queue, kind, hints: service.sent.append(queue)
        service.look_after()
        assert set(service.held) == set(QUEUES)
        yield service


def test_a_bell_that_never_stops_does_not_starve_the_other_queues(service, app_id):
    enqueue(app_id, "text.count", {"text": "a"}, queue="data")
    service._looked_at = time.monotonic()
    deadline = time.monotonic() + 5
    while not service.sent and time.monotonic() < deadline:
        service.rung = "payments"
        service.look_after()
    assert service.sent == ["data"]


def test_between_two_looks_at_all_only_the_queue_that_rang_is_looked_at(service):
    service.rung = "payments"
    service._looked_at = time.monotonic()
    assert service._worth_a_look() == ["payments"]


def test_a_publisher_without_redis_does_not_end_the_service(service, app_id):
    def publish(queue, kind, hints):
        raise OperationalError("gone")

    job = enqueue(app_id, "text.count", {"text": "a"})
    service._turn._publish = publish
    service.look_after()
    assert job_row(job).state == "ready"


def test_after_a_failed_publish_no_job_waits_for_a_message_that_was_never_sent(app_id, engine):
    def publish(queue, kind, hints):
        raise OperationalError("gone")

    jobs = [enqueue(app_id, "text.count", {"text": "a"}) for _ in range(2)]
    with engine.turn() as turn:
        turn._publish = publish
        with pytest.raises(OperationalError):
            turn.dispatch("default", Waiting(0, wiped=False))
    assert [(job_row(job).state, job_row(job).epoch) for job in jobs] == [("ready", 1), ("ready", 1)]


def test_of_the_jobs_that_another_lost_worker_would_fail_one_at_a_time_is_out(app_id, engine):
    suspects = [enqueue(app_id, "text.count", {"text": "a"}) for _ in range(3)]
    with transaction() as session:
        session.execute(text("UPDATE jobs SET lost = :lost"), {"lost": get_settings().max_lost - 1})
    healthy = [enqueue(app_id, "text.count", {"text": "a"}) for _ in range(2)]
    with engine.turn() as turn:
        for _ in range(2):
            turn.dispatch("default", Waiting(-8, wiped=False))
        first, engine.messages = engine.messages, []
        assert [hint.id for _, _, hints in first for hint in hints] == [suspects[0], *healthy]
        engine.perform(first)
        turn.dispatch("default", Waiting(-8, wiped=False))
    assert [hint.id for _, _, hints in engine.messages for hint in hints] == suspects[1:2]


def test_after_a_wipe_no_job_waits_for_its_lease_however_many_were_out(app_id, engine, monkeypatch):
    monkeypatch.setattr(turn_module, "PAGE", 2)
    jobs = [enqueue(app_id, "text.count", {"text": "a"}) for _ in range(5)]
    with transaction() as session:
        assert len(lifecycle.dispatch(session, jobs, get_settings().dispatch_lease)) == 5
    with engine.turn() as turn, capture_logs() as lines:
        turn.dispatch("default", Waiting(1000, wiped=True))
    assert {job_row(job).state for job in jobs} == {"ready"}
    assert [line for line in lines if line["event"] == "redis_wiped"] == [
        {"event": "redis_wiped", "log_level": "warning", "queue": "default", "jobs": 5}
    ]


def test_a_redis_that_is_empty_because_it_is_new_is_not_worth_a_warning(app_id, engine):
    with engine.turn() as turn, capture_logs() as lines:
        turn.dispatch("default", Waiting(0, wiped=True))
    assert [line for line in lines if line["event"] == "redis_wiped"] == []


def test_workers_that_are_long_gone_are_forgotten(service, engine):
    engine.pass_time(timedelta(hours=1))
    service._upkeep_at = 0
    service.look_after()
    assert workers() == []


def test_the_next_due_job_of_any_queue_ends_the_wait(service, app_id):
    soon = datetime.now(UTC) + timedelta(seconds=60)
    enqueue(app_id, "text.count", {"text": "a"}, queue="data", run_at=soon)
    enqueue(app_id, "text.count", {"text": "a"}, queue="default", run_at=soon + timedelta(days=1))
    assert 50 < service._turn.next_due(QUEUES) <= 60
    assert service._turn.next_due(["payments"]) is None


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (lifecycle._STAGE, {"queues": list(QUEUES), "limit": 1000}, "ix_jobs_scheduled"),
        (_NEXT_DUE, {"queues": list(QUEUES)}, "ix_jobs_scheduled"),
        (
            _READY,
            {"queue": "default", "kinds": ["text.count"], "limit": 1000, "max_lost": 3, "suspects": True},
            "ix_jobs_ready",
        ),
    ],
    ids=["stage", "next_due", "ready"],
)
def test_a_turn_walks_through_no_history_whatever_statistics_say(service, statement, values, index):
    with service._turn._session() as session:
        plan = "\n".join(session.scalars(text(f"EXPLAIN {statement.text}"), values))
    assert index in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


def test_a_frozen_redis_holds_a_publish_for_less_time_than_postgres_gives_the_dispatcher(
    services, tmp_path, monkeypatch
):
    with Valkey(tmp_path) as valkey:
        monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
        publisher = Publisher(app, handlers())
        publisher.publish("default", "text.count", [Hint(uuid4(), 1)])
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(REDIS_ERRORS):
                publisher.publish("default", "text.count", [Hint(uuid4(), 1)])
            assert time.monotonic() - started < float(FROZEN.removesuffix("s"))
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
            publisher.close()


@pytest.fixture
def vanished(service, app_id, engine):
    """A job whose worker let its lease run out."""
    job = enqueue(app_id, "text.count", {"text": "a"})
    ((_, _, hints),) = engine.dispatch()
    with transaction() as session:
        lifecycle.claim(session, hints, "gone@there:1", timedelta(seconds=-1))
    return job


def test_after_an_outage_of_postgres_the_living_renew_before_anyone_is_rescued(service, vanished):
    service._keep_up()
    assert job_row(vanished).state == "running"


def test_who_has_long_been_connected_rescues_as_soon_as_a_queue_is_won(service, vanished):
    service._rescue_from -= RESCUE_DELAY
    service._keep_up()
    assert job_row(vanished).lost == 1


def test_a_slow_answer_of_postgres_counts_as_an_outage(service, vanished, monkeypatch):
    service._rescue_from -= RESCUE_DELAY
    monkeypatch.setattr("workers.dispatcher.loop.SLOW", -1)
    service._keep_up()
    assert job_row(vanished).state == "running"
