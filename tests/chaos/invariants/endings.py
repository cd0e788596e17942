"""Endings: no job ended in a way that nothing in a run asks for, and what its row counts is what was recorded."""

from sqlalchemy import Connection

from tests.chaos.invariants.attempts import SPENDING
from tests.chaos.invariants.counting import Count, counted

MISBEHAVING = ("chaos.poison", "chaos.memory", "chaos.stubborn", "chaos.fork", "chaos.noisy")
"""Whoever submits one of these knows how it must end."""
FORESEEN = (
    ("chaos.fail", "failed", "chaos_fail"),
    ("payment.charge", "failed", "card_declined"),
    ("payment.charge", "parked", "requires_action"),
    ("payment.charge", "parked", "outcome_unknown"),
    ("payment.charge", "parked", "worker_lost"),
)
"""Ways to end otherwise than as a success, by kind and code."""
MAX_LOST = 3


def unforeseen(connection: Connection) -> Count:
    """A job did not succeed, and neither its kind, its limits, its workers nor a client would have it so."""
    return counted(
        connection,
        "jobs that ended as they never should",
        """
        SELECT id AS job, kind || ' is ' || state || ', ' || coalesce(code, 'no error') || ', after ' || attempt
            || ' attempts and ' || lost || ' lost workers' AS detail
        FROM (SELECT *, error ->> 'code' AS code FROM jobs) AS jobs
        WHERE state IN ('failed', 'expired', 'parked', 'cancelled') AND kind <> ALL(:misbehaving)
          AND NOT (state = 'failed' AND code = 'worker_lost' AND lost >= :max_lost)
          AND NOT (state = 'failed' AND code = 'deadline_exceeded' AND deadline_at IS NOT NULL)
          AND NOT (state = 'expired' AND coalesce(least(expires_at, deadline_at) <= finished_at, false))
          AND NOT (state = 'cancelled' AND EXISTS (
              SELECT FROM events WHERE job_id = jobs.id AND type IN ('cancelled', 'cancel_requested')))
          AND (kind, state, coalesce(code, '')) NOT IN (
              SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:states AS text[]), CAST(:codes AS text[])))
        UNION ALL
        SELECT id, 'succeeded' FROM jobs WHERE kind = 'chaos.fail' AND state = 'succeeded'
        """,
        misbehaving=list(MISBEHAVING),
        max_lost=MAX_LOST,
        **dict(zip(("kinds", "states", "codes"), map(list, zip(*FORESEEN, strict=True)), strict=True)),
    )


def miscounted(connection: Connection) -> Count:
    """The row says another number of attempts, or of lost workers, than were recorded since it last began anew."""
    return counted(
        connection,
        "jobs that miscount their attempts",
        f"""
        SELECT jobs.id AS job, 'counts ' || attempt || ' attempts and ' || lost || ' lost workers, recorded are '
            || spent || ' and ' || vanished AS detail
        FROM jobs JOIN (
            SELECT jobs.id, count(*) FILTER (WHERE outcome IN {SPENDING}) AS spent,
                count(*) FILTER (WHERE outcome = 'lost' AND finished_seq > coalesce(word.seq, 0)) AS vanished
            FROM jobs
            LEFT JOIN (SELECT job_id, max(seq) AS seq FROM events WHERE type = 'retried' GROUP BY 1) AS life
                ON life.job_id = jobs.id
            LEFT JOIN (SELECT job_id, max(finished_seq) AS seq FROM attempts
                       WHERE next_at IS NOT NULL AND outcome NOT IN ('lost', 'released') GROUP BY 1) AS word
                ON word.job_id = jobs.id
            LEFT JOIN attempts ON attempts.job_id = jobs.id AND finished_seq > coalesce(life.seq, 0)
            GROUP BY jobs.id
        ) AS recorded USING (id)
        WHERE state IN ('succeeded', 'failed') AND (attempt, lost) <> (spent, vanished)
        """,
    )
