"""Attempts: one at a time holds a job, only it may end the job, and there are not too many of them."""

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted

SPENDING = "('succeeded', 'failed', 'timed_out', 'cancelled', 'parked')"
"""The outcomes that use up an attempt."""

LET_GO = "old_token IS NOT NULL AND new_token IS DISTINCT FROM old_token"
"""What of the audit took a job out of the hands of an attempt."""


def at_once(connection: Connection) -> Count:
    """Two recorded attempts of one job overlap, one was ended twice, or a job succeeded other than exactly once."""
    return counted(
        connection,
        "jobs run by two attempts at once, both recorded",
        f"""
        SELECT job_id AS job, 'attempt ' || id || ' began at ' || started_at || ', one before it ended at ' || busy
            AS detail
        FROM (SELECT job_id, id, started_at, max(finished_at) OVER (
                  PARTITION BY job_id ORDER BY started_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy
              FROM attempts) AS attempt
        WHERE started_at < busy
        UNION ALL
        SELECT job_id, 'attempt ' || old_token || ' was ended ' || count(*) || ' times'
        FROM chaos_audit WHERE {LET_GO} GROUP BY job_id, old_token HAVING count(*) > 1
        UNION ALL
        SELECT jobs.id, state || ' with ' || count(attempts.id) || ' attempts that succeeded'
        FROM jobs LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.outcome = 'succeeded'
        GROUP BY jobs.id, state HAVING count(attempts.id) <> CASE state WHEN 'succeeded' THEN 1 ELSE 0 END
        """,
    )


def ended_by_others(connection: Connection) -> Count:
    """Somebody who did not hold the job (any more) ended it, or wrote its result."""
    return counted(
        connection,
        "endings written by an attempt that had lost its lease",
        f"""
        SELECT job_id AS job, 'result of ' || result_token || ' in the hands of ' || coalesce(old_token::text, 'nobody')
            AS detail
        FROM chaos_audit WHERE result_token IS NOT NULL AND result_token IS DISTINCT FROM old_token::text
        UNION ALL
        SELECT job_id, 'attempt ' || old_token || ' held it, another was recorded at ' || at
        FROM chaos_audit AS change
        WHERE {LET_GO} AND NOT EXISTS (
            SELECT FROM attempts WHERE attempts.job_id = change.job_id AND attempts.id = change.old_token)
        UNION ALL
        SELECT jobs.id, 'result of ' || (result ->> 'token') || ', recorded as succeeded: ' || attempts.id
        FROM jobs JOIN attempts ON attempts.job_id = jobs.id AND attempts.outcome = 'succeeded'
        WHERE result ->> 'token' <> attempts.id::text
        """,
    )


def too_many(connection: Connection) -> Count:
    """More attempts were spent than the job has, between two retries by a person."""
    return counted(
        connection,
        "attempts above the maximum",
        f"""
        SELECT job_id AS job, 'spent ' || count(*) FILTER (WHERE outcome IN {SPENDING}) || ', highest number '
            || max(number) || ', of ' || max_attempts || ' in life ' || life AS detail
        FROM (
            SELECT attempts.job_id, outcome, number, max_attempts, (
                SELECT count(*) FROM events
                WHERE events.job_id = attempts.job_id AND type = 'retried' AND seq < started_seq) AS life
            FROM attempts JOIN jobs ON jobs.id = attempts.job_id
        ) AS attempt
        GROUP BY job_id, life, max_attempts
        HAVING count(*) FILTER (WHERE outcome IN {SPENDING}) > max_attempts OR max(number) > max_attempts
        """,
    )


def children(connection: Connection) -> Count:
    """A parent that succeeded has not exactly its two children, or others have any."""
    return counted(
        connection,
        "parents with other than their children",
        """
        SELECT coalesce(parents.id, children.parent_id) AS job,
            coalesce(kind || ' is ' || state, 'does not exist') || ' and has ' || coalesce(count, 0) || ' children'
            AS detail
        FROM (SELECT id, kind, state, CASE WHEN kind = 'chaos.parent' AND state = 'succeeded' THEN 2 ELSE 0 END AS due
              FROM jobs) AS parents
        FULL JOIN (SELECT parent_id, count(*) FROM jobs WHERE parent_id IS NOT NULL GROUP BY parent_id) AS children
            ON children.parent_id = parents.id
        WHERE coalesce(count, 0) <> coalesce(due, 0)
        """,
    )
