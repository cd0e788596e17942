"""History: the events of a job are counted without gaps and tell of one attempt after the other.

What `workers.timeline` derives for one job is derived here for all jobs at once.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted

NUMBERS = """
    SELECT id AS job_id, 1 AS seq FROM jobs
    UNION ALL SELECT id, claimed_seq FROM jobs WHERE state = 'running' AND claimed_seq IS NOT NULL
    UNION ALL SELECT job_id, unnest(ARRAY[started_seq, finished_seq]) FROM attempts
    UNION ALL SELECT job_id, seq FROM events
"""


def missing_events(connection: Connection) -> Count:
    """The numbers of a job's events are not 1 to its latest, each once."""
    return counted(
        connection,
        "jobs with missing or doubled events",
        f"""
        SELECT job_id AS job, 'numbers ' || lowest || ' to ' || highest || ', ' || different
            || ' different of ' || found || ', the row says ' || coalesce(jobs.seq::text, 'nothing') AS detail
        FROM (SELECT job_id, count(*) AS found, count(DISTINCT seq) AS different, min(seq) AS lowest,
                  max(seq) AS highest
              FROM ({NUMBERS}) AS number GROUP BY job_id) AS told
        LEFT JOIN jobs ON jobs.id = told.job_id
        WHERE (found, different, lowest, highest) IS DISTINCT FROM (jobs.seq, jobs.seq, 1, jobs.seq)
        """,
    )


def disordered_events(connection: Connection) -> Count:
    """An attempt ended before it began, began before the one before it ended, or progressed when it was none."""
    return counted(
        connection,
        "events out of order",
        """
        SELECT job_id AS job, 'attempt ' || id || ' has events ' || started_seq || ' and ' || finished_seq
            || ', one before it has ' || coalesce(before::text, 'none') AS detail
        FROM (SELECT *, max(finished_seq) OVER (
                  PARTITION BY job_id ORDER BY started_seq, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                  AS before
              FROM attempts) AS attempt
        WHERE finished_seq <= started_seq OR started_seq <= before OR finished_at < started_at
        UNION ALL
        SELECT job_id, 'progress is event ' || seq || ' and belongs to no attempt' FROM events
        WHERE type = 'progress'
          AND NOT EXISTS (SELECT FROM attempts WHERE attempts.job_id = events.job_id
                          AND events.seq > started_seq AND events.seq < finished_seq)
          AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = events.job_id AND state = 'running'
                          AND events.seq > claimed_seq)
        """,
    )


def lost_in_peace(connection: Connection, quiet: Sequence[tuple[datetime, datetime]]) -> Count:
    """A message was lost although no fault was near: the engine loses some by itself."""
    return counted(
        connection,
        "messages lost without a fault",
        """
        SELECT job_id AS job, 'message lost at ' || at AS detail FROM events
        WHERE type = 'message_lost' AND EXISTS (
            SELECT FROM unnest(CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[])) AS quiet (begins, ends)
            WHERE at >= begins AND at < ends)
        """,
        begins=[begin for begin, _ in quiet],
        ends=[end for _, end in quiet],
    )
