"""The invariants: what must not have happened in a run, counted in Postgres, in the journal and outside.

Counting begins when the run is over and no job is live. Every count has a module by its subject and a test that plants
a violation; the audit must have been installed before the first job.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from tests.chaos.invariants import acceptance, attempts, endings, history, leftovers, lifecycle, outside
from tests.chaos.invariants.counting import Count
from tests.chaos.invariants.told import Charge, read_charges, tell
from tests.chaos.journal import Journal
from tests.chaos.sink import Effect

__all__ = ["Charge", "Count", "End", "count", "ends", "read_charges"]

IN_POSTGRES = (
    acceptance.accepted_without_row,
    acceptance.without_an_end,
    acceptance.without_a_reason,
    acceptance.torn_requests,
    acceptance.keys_with_two_jobs,
    acceptance.answers_without_effect,
    lifecycle.undrawn_edges,
    lifecycle.gaps_in_the_audit,
    lifecycle.risen_unasked,
    lifecycle.epochs_claimed_twice,
    attempts.at_once,
    attempts.ended_by_others,
    attempts.too_many,
    attempts.children,
    endings.unforeseen,
    endings.miscounted,
    history.missing_events,
    history.disordered_events,
    outside.missing_effects,
    outside.stray_effects,
    outside.wrong_charges,
    leftovers.stuck_in_dispatched,
)


def count(  # everybody who knows something of a run
    connection: Connection,
    journal: Journal,
    effects: Sequence[Effect],
    charges: Sequence[Charge],
    *,
    messages: Mapping[str, int],
    quiet: Sequence[tuple[datetime, datetime]],
    late: timedelta = leftovers.LATE,
) -> list[Count]:
    """Count every invariant. Makes temporary tables, so the connection must not be one that commits each statement.

    `messages` is the length of each queue in Redis after the run; `quiet` are the spans, on Postgres's clock, in which
    no fault can have lost a message; after `late` a job must have been taken back from the dead.
    """
    connection.execute(text("SET LOCAL work_mem = '64MB'"))
    tell(connection, journal, effects, charges)
    return [
        *(invariant(connection) for invariant in IN_POSTGRES),
        leftovers.held_by_the_dead(connection, late),
        acceptance.contradictory_answers(journal),
        leftovers.messages_left(messages),
        history.lost_in_peace(connection, quiet),
    ]


class End(NamedTuple):
    """How many jobs of a kind are in a state, for a reason."""

    kind: str
    state: str
    code: str
    jobs: int


def ends(connection: Connection) -> list[End]:
    """Where the jobs of every kind have come to, and why those that did not succeed."""
    rows = connection.execute(
        text("SELECT kind, state, coalesce(error ->> 'code', ''), count(*) FROM jobs GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
    )
    return [End(*row) for row in rows]
