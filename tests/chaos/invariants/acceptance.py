"""Acceptance: what clients were told is there, once, and has come to an end."""

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted, listed
from tests.chaos.journal import Journal

LIVE = "('scheduled', 'ready', 'dispatched', 'running')"


def accepted_without_row(connection: Connection) -> Count:
    """A client was told that a job is stored, and it is not."""
    return counted(
        connection,
        "accepted jobs without a row",
        "SELECT told.id AS job, 'accepted for ' || told.request AS detail FROM told_jobs AS told"
        " WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = told.id)",
    )


def without_an_end(connection: Connection) -> Count:
    """A job still waits or runs although nothing has been left to do for long."""
    return counted(
        connection,
        "jobs without an end",
        f"SELECT id AS job, kind || ' is ' || state || ' after ' || attempt || ' attempts' AS detail FROM jobs"
        f" WHERE state IN {LIVE}",
    )


def without_a_reason(connection: Connection) -> Count:
    """A job ended otherwise than it was meant to, and its row does not say why. Whoever cancels knows why."""
    return counted(
        connection,
        "failed, expired or parked jobs without a reason",
        "SELECT id AS job, kind || ' is ' || state || ', error ' || coalesce(error::text, 'null') AS detail FROM jobs"
        " WHERE state IN ('failed', 'expired', 'parked') AND (error ->> 'code') IS NULL",
    )


def torn_requests(connection: Connection) -> Count:
    """Of the jobs of one request some exist and some do not, a refused one left some, or one without a key too many."""
    return counted(
        connection,
        "requests with only some of their jobs",
        """
        SELECT coalesce(example::text, name) AS job, name || ': ' || found || ' of ' || size || ', '
            || CASE WHEN refused IS NOT NULL THEN 'refused' WHEN answered THEN 'answered' ELSE 'unanswered' END
            AS detail
        FROM (
            SELECT told.*, count(jobs.id) AS found, min(jobs.id::text) AS example
            FROM told_requests AS told
            LEFT JOIN jobs ON jobs.labels ->> 'request' = told.name AND jobs.parent_id IS NULL
            GROUP BY told.name, told.size, told.bulk, told.key, told.answered, told.refused, told.existing, told.ids
        ) AS request
        WHERE found < size AND NOT (found = 0 AND (existing OR NOT answered))
           OR found > 0 AND refused IS NOT NULL
           OR answered AND ids <> size
           OR found > size AND key IS NULL
        """,
    )


def keys_with_two_jobs(connection: Connection) -> Count:
    """One `Idempotency-Key`, and more jobs than one request asks for; or an answer that is kept without its job."""
    return counted(
        connection,
        "idempotency keys with two jobs",
        """
        SELECT min(jobs.id::text) AS job, 'one of ' || count(*) || ' of ' || told.name || ', which asked for '
            || told.size AS detail
        FROM told_requests AS told
        JOIN jobs ON jobs.labels ->> 'request' = told.name AND jobs.parent_id IS NULL
        WHERE told.key IS NOT NULL
        GROUP BY told.name, told.size HAVING count(*) > told.size
        UNION ALL
        SELECT kept.body ->> 'id', 'does not exist, but is the answer kept for the key ' || kept.key
        FROM idempotency_keys AS kept
        WHERE kept.body ? 'id' AND kept.status = 202
          AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = (kept.body ->> 'id')::uuid)
        """,
    )


def contradictory_answers(journal: Journal) -> Count:
    """One request was answered in two ways, or an accepted job was denied."""
    return listed("answers that contradict each other", journal.contradictions)


def answers_without_effect(connection: Connection) -> Count:
    """A client was told that its cancel or retry is accepted, and the job's history does not know of it."""
    return counted(
        connection,
        "accepted cancels and retries without a trace",
        """
        SELECT job_id AS job, verb || ' was accepted and is no event' AS detail FROM told_actions AS told
        WHERE NOT EXISTS (
            SELECT FROM events WHERE events.job_id = told.job_id
            AND (events.type = told.verb OR told.verb = 'cancel_requested' AND events.type = 'cancelled'))
        """,
    )
