"""The lifecycle, from the audit: every change is a drawn edge, and every dispatch is claimed at most once."""

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted
from tests.support.lifecycle_model import EDGES

ENDED = "('succeeded', 'failed', 'cancelled', 'expired', 'parked')"


def undrawn_edges(connection: Connection) -> Count:
    """A job went where no edge leads, began elsewhere than at the start, or changed hands without changing state."""
    return counted(
        connection,
        "edges that are not drawn",
        """
        SELECT job_id AS job, coalesce(old_state, 'nothing') || ' to ' || new_state || ' at ' || at AS detail
        FROM chaos_audit
        WHERE CASE WHEN old_state IS NULL THEN new_state NOT IN ('scheduled', 'ready')
              ELSE (old_state, new_state) NOT IN (
                  SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:targets AS text[]))) END
        """,
        sources=[str(source) for source, _ in EDGES],
        targets=[str(target) for _, target in EDGES],
    )


def gaps_in_the_audit(connection: Connection) -> Count:
    """A change does not begin where the one before it ended: the audit, on which other counts stand, has a hole."""
    return counted(
        connection,
        "changes that the audit has missed",
        """
        SELECT job_id AS job, 'was left as ' || coalesce(left_as, 'nothing') || ', found as '
            || coalesce(old_state, 'nothing') AS detail
        FROM (SELECT *, lag(new_state) OVER (PARTITION BY job_id ORDER BY n) AS left_as FROM chaos_audit) AS change
        WHERE left_as IS DISTINCT FROM old_state
        UNION ALL
        SELECT id, 'was left as ' || coalesce(new_state, 'nothing') || ', is ' || state
        FROM jobs
        LEFT JOIN (SELECT DISTINCT ON (job_id) job_id, new_state FROM chaos_audit ORDER BY job_id, n DESC) AS latest
            ON latest.job_id = jobs.id
        WHERE new_state IS DISTINCT FROM state
        """,
    )


def risen_unasked(connection: Connection) -> Count:
    """A job that had ended went on, and nobody had asked for that."""
    return counted(
        connection,
        "ended jobs that went on unasked",
        f"""
        SELECT job_id AS job, 'went on ' || rises || ' times, was retried ' || retries || ' times' AS detail
        FROM (SELECT job_id, count(*) AS rises FROM chaos_audit
              WHERE old_state IN {ENDED} AND new_state <> old_state GROUP BY job_id) AS risen
        LEFT JOIN LATERAL (
            SELECT count(*) AS retries FROM events WHERE events.job_id = risen.job_id AND type = 'retried'
        ) AS asked ON true
        WHERE rises <> retries
        """,
    )


def epochs_claimed_twice(connection: Connection) -> Count:
    """Two attempts took the job on the strength of one dispatch."""
    return counted(
        connection,
        "dispatches that were claimed twice",
        """
        SELECT job_id AS job, 'epoch ' || new_epoch || ' was claimed ' || count(*) || ' times' AS detail
        FROM chaos_audit
        WHERE new_state = 'running' AND new_token IS DISTINCT FROM old_token
        GROUP BY job_id, new_epoch HAVING count(*) > 1
        """,
    )
