"""Leftovers: what nobody will ever come back for, and what was come back for too late."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted

LATE = timedelta(seconds=30)
"""How long after its lease ran out a job may at most be left in the hands of the dead."""
LOST = timedelta(minutes=2)
"""The same of a message. As long as Redis is frozen, which may be a minute, none is called lost."""


def held_by_the_dead(connection: Connection, late: timedelta) -> Count:
    """A job was running, or is, in the hands of somebody whose lease had long run out."""
    return _overdue(connection, "leases held by the dead", "running", late)


def stuck_in_dispatched(connection: Connection) -> Count:
    """A job's message should have been given up for lost, and was not, or not in time."""
    return _overdue(connection, "jobs stuck in dispatched", "dispatched", LOST)


def _overdue(connection: Connection, name: str, state: str, late: timedelta) -> Count:
    return counted(
        connection,
        name,
        """
        SELECT job_id AS job, 'was left ' || at - old_lease || ' after its lease had run out, at ' || at AS detail
        FROM chaos_audit WHERE old_state = :state AND new_state <> old_state AND at - old_lease > :late
        UNION ALL
        SELECT id, 'its lease ran out at ' || lease_expires_at FROM jobs
        WHERE state = :state AND lease_expires_at < clock_timestamp()
        """,
        state=state,
        late=late,
    )


def messages_left(messages: Mapping[str, int]) -> Count:
    """Messages wait in Redis although every job has ended: nobody takes from that queue."""
    left = [f"{queue}: {count} messages" for queue, count in messages.items() if count]
    return Count("messages left in Redis", 0, sum(messages.values()), left)
