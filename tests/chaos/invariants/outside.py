"""Outside: effects and charges, counted where they happened, against what the engine says of their jobs."""

from sqlalchemy import Connection

from tests.chaos.invariants.counting import Count, counted


def missing_effects(connection: Connection) -> Count:
    """A job succeeded whose effect never happened."""
    return counted(
        connection,
        "succeeded jobs without their effect outside",
        "SELECT id AS job, 'succeeded' AS detail FROM jobs WHERE kind = 'chaos.effect' AND state = 'succeeded'"
        " AND NOT EXISTS (SELECT FROM told_effects WHERE told_effects.job = jobs.id)",
    )


def stray_effects(connection: Connection) -> Count:
    """An effect has another key than its job's, comes from what never was an attempt, or twice from one attempt."""
    return counted(
        connection,
        "effects of nobody, or under another key",
        """
        SELECT told.job, 'effect under the key ' || told.key AS detail FROM told_effects AS told
        WHERE told.key IS DISTINCT FROM told.job::text
        UNION ALL
        SELECT told.job, 'effect by ' || coalesce(told.token::text, 'nobody') || ', which was no attempt of it'
        FROM told_effects AS told
        WHERE NOT EXISTS (SELECT FROM attempts WHERE attempts.job_id = told.job AND attempts.id = told.token)
          AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = told.job AND jobs.lease_token = told.token)
        UNION ALL
        SELECT told.job, count(*) || ' effects by attempt ' || told.token
        FROM told_effects AS told GROUP BY told.job, told.token HAVING count(*) > 1
        """,
    )


def wrong_charges(connection: Connection) -> Count:
    """A payment succeeded without exactly one charge of its amount, ended otherwise with one, or is charged twice."""
    return counted(
        connection,
        "payments without exactly the charge they tell of",
        """
        SELECT coalesce(payments.id::text, charges.job::text, 'no job') AS job,
            coalesce(payments.state, 'no payment') || ' with ' || coalesce(charges.found, 0) || ' charges '
                || coalesce(charges.ids, '') AS detail
        FROM (SELECT id, state, params FROM jobs WHERE kind = 'payment.charge') AS payments
        FULL JOIN (SELECT job, count(*) AS found, string_agg(id, ' ') AS ids, min(amount) AS amount,
                       min(currency) AS currency
                   FROM told_charges GROUP BY job) AS charges ON charges.job = payments.id
        WHERE payments.id IS NULL
           OR found > 1
           OR state = 'succeeded' AND found IS NULL
           OR state IN ('failed', 'cancelled', 'expired') AND found > 0
           OR found > 0 AND (amount, currency) IS DISTINCT FROM
              ((params ->> 'amount')::bigint, upper(params ->> 'currency'))
        """,
    )
