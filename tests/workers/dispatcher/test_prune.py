"""Forgetting ended jobs after their retention."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from models import Attempt, Event, IdempotencyKey, Job
from models.session import autocommit, transaction
from settings import get_settings
from tasks import Park
from tests.support.engine import enqueue
from workers.dispatcher import prune
from workers.dispatcher.prune import Pruner

DAYS = timedelta(days=1)


def make_old(days: int) -> None:
    """Make every job look as if it had been created and ended `days` ago; ids carry the time of creation."""
    with transaction() as session:
        for table, column in (("attempts", "job_id"), ("events", "job_id"), ("jobs", "id")):
            session.execute(text(f"UPDATE {table} SET {column} = aged({column}, {days})"))
        session.execute(text(f"UPDATE jobs SET finished_at = finished_at - interval '{days} days'"))


AGED = """
CREATE OR REPLACE FUNCTION aged(id uuid, days int) RETURNS uuid LANGUAGE sql AS $$
    SELECT overlay(id::text placing
        to_char_hex(extract(epoch from uuid_extract_timestamp(id) - make_interval(days => days))) from 1 for 13)::uuid
$$;
"""
HEX = """
CREATE OR REPLACE FUNCTION to_char_hex(seconds numeric) RETURNS text LANGUAGE sql AS $$
    SELECT overlay(lpad(to_hex((seconds * 1000)::bigint), 12, '0') placing '-' from 9 for 0)
$$;
"""


def prune_all() -> int:
    with autocommit().connect() as connection:
        pruner = Pruner(connection, get_settings())
        total = 0
        for _ in range(5):
            pruner._next = 0
            total += pruner.turn()
        return total


def count(table) -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_old_ended_jobs_go_with_their_attempts_and_events(app_id, drain, monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 2)
    with transaction() as session:
        session.execute(text(HEX + AGED))
    for _ in range(5):
        enqueue(app_id, "text.count", {"text": "a"})
    drain()
    make_old(40)
    young, waiting = enqueue(app_id, "text.count", {"text": "a"}), enqueue(app_id, "text.count", {"text": "a"})
    assert prune_all() == 5
    assert (count(Job), count(Attempt), count(Event)) == (2, 0, 0)
    with transaction() as session:
        assert set(session.scalars(select(Job.id))) == {young, waiting}


def test_parked_and_waiting_jobs_stay_however_old(app_id, drain, declare):
    def perform(params, context):
        raise Park("look")

    with transaction() as session:
        session.execute(text(HEX + AGED))
    declare("test.park", perform)
    enqueue(app_id, "test.park")
    drain()
    enqueue(app_id, "text.count", {"text": "a"})
    make_old(4000)
    assert prune_all() == 0
    assert count(Job) == 2


def test_expired_idempotency_keys_go_and_eternal_ones_stay(app_id):
    with transaction() as session:
        for key, expires in (("old", func.now() - DAYS), ("young", func.now() + DAYS), ("eternal", None)):
            session.add(
                IdempotencyKey(
                    app_id=app_id, route="r", key=key, fingerprint=b"", status=202, body={}, expires_at=expires
                )
            )
    prune_all()
    with transaction() as session:
        assert set(session.scalars(select(IdempotencyKey.key))) == {"young", "eternal"}


def test_it_waits_between_passes(database):
    with autocommit().connect() as connection:
        pruner = Pruner(connection, get_settings())
        pruner.turn()
        due = pruner._next
        assert pruner.turn() == 0
        assert pruner._next == due


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED"])
def test_a_batch_that_takes_too_long_is_tried_again_at_half_the_size(app_id, drain, monkeypatch, isolation):
    monkeypatch.setattr(prune, "PATIENCE", "50ms")
    with transaction() as session:
        session.execute(text(HEX + AGED))
    enqueue(app_id, "text.count", {"text": "a"})
    drain()
    make_old(40)
    with transaction() as session:
        session.execute(text("SELECT FROM jobs FOR UPDATE"))
        with autocommit().connect().execution_options(isolation_level=isolation) as connection:
            pruner = Pruner(connection, get_settings())
            assert pruner.turn() == 0
            assert pruner._batch == prune.BATCH // 2
            assert connection.scalar(text("SHOW statement_timeout")) == "30s"
    assert prune_all() == 1
