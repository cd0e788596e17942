"""What the dispatcher takes the workers for: those that showed themselves, with what they can do."""

from datetime import timedelta

from sqlalchemy import select

from models import Worker
from models.session import transaction
from workers.process.presence import Lane, Presence, bury, lanes

LEASE = timedelta(seconds=20)
OLD = Presence("old@there:1", ("default", "data"), 4, ("a", "b"))
NEW = Presence("new@here:2", ("default",), 2, ("b", "c"))


def seen(pass_time, span):
    """One worker that has not been seen since, and one that has."""
    with transaction() as session:
        OLD.refresh(session)
    pass_time(span)
    with transaction() as session:
        NEW.refresh(session)


def test_the_workers_of_a_queue_are_counted_together(database, pass_time):
    seen(pass_time, LEASE / 2)
    with transaction() as session:
        assert lanes(session, LEASE) == {
            "default": Lane(6, frozenset("abc")),
            "data": Lane(4, frozenset("ab")),
        }


def test_a_worker_that_was_not_seen_for_a_lease_counts_no_more(database, pass_time):
    seen(pass_time, LEASE * 2)
    with transaction() as session:
        assert lanes(session, LEASE) == {"default": Lane(2, frozenset("bc"))}


def test_a_worker_that_was_not_seen_for_long_is_forgotten(database, pass_time):
    seen(pass_time, LEASE * 11)
    with transaction() as session:
        bury(session, LEASE)
        assert session.scalars(select(Worker.name)).all() == [NEW.name]
