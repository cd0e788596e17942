"""Every transition of a job, and nothing else that writes a job's state.

Each function is one guarded statement: it names the states it may leave, Postgres's clock is the only clock, and a row
that does not come back was no longer there to take. Callers never read first. Whatever the timeline cannot derive from
the job and its attempts is stored as an event by the same statement.

Where rows are named by their ids, `state || ''` hides the guard from the planner. Statistics from a quiet moment say
that hardly any job is in a live state, and it would walk through the partial index of all that are, instead of taking a
few by their primary key. A sub-query that locks rows stands in `ARRAY(…)`, which runs once: under `IN` a nested loop
may run it again for every row, and its limit would limit nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Row, TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import Integer, Text

from models.attempt import Outcome
from models.job import State


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be: validated params and where they go. Times carry a zone; a missing `run_at` means now."""

    kind: str
    params: Mapping[str, Any]
    queue: str
    max_attempts: int
    priority: int = 0
    run_at: datetime | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    unique_key: str | None = None
    on_conflict: Literal["reject", "return_existing", "replace"] = "reject"
    parent_id: UUID | None = None
    traceparent: str | None = None
    id: UUID | None = None
    """Drawn by Postgres unless it had to be known before."""


class Inserted(NamedTuple):
    """What Postgres made of a `NewJob`; `ordinal` is its place in the input, from 0."""

    ordinal: int
    id: UUID
    state: State
    run_at: datetime
    created_at: datetime


class Hint(NamedTuple):
    """What a message says of a job: its id, and the dispatch that the message belongs to."""

    id: UUID
    epoch: int


class Claim(NamedTuple):
    """A job in the hands of one attempt."""

    id: UUID
    app_id: UUID
    kind: str
    params: dict[str, Any]
    attempt: int
    max_attempts: int
    token: UUID
    checkpoint: dict[str, Any] | None
    deadline_in: timedelta | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt ended and where its job goes. `delay` is seconds from the moment it is recorded."""

    id: UUID
    token: UUID
    outcome: Outcome
    state: State
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    traceback: str | None = None
    delay: float = 0
    spent: bool = True
    presumed: bool = False
    """The handler did not say this: an unsettled job is parked instead of failed or cancelled."""


def _sql(statement: str, **types: Any) -> TextClause:
    return text(statement).bindparams(*(bindparam(name, type_=kind) for name, kind in types.items()))


_UUIDS = ARRAY(Uuid())

_INSERT = _sql(
    """
    WITH given AS MATERIALIZED (
        SELECT ordinality - 1 AS ordinal, coalesce(r.given_id, uuidv7()) AS id, r.*, greatest(r.run_at, now()) AS due
        FROM ROWS FROM (jsonb_to_recordset(:jobs) AS (
            given_id uuid, kind text, params jsonb, queue text, max_attempts int, priority smallint, run_at timestamptz,
            expires_at timestamptz, deadline_at timestamptz, labels jsonb, unique_key text, parent_id uuid,
            traceparent text)) WITH ORDINALITY AS r
    ), inserted AS (
        INSERT INTO jobs (id, app_id, kind, params, queue, max_attempts, priority, run_at, expires_at, deadline_at,
                          labels, unique_key, parent_id, traceparent, state)
        SELECT id, :app_id, kind, params, queue, max_attempts, priority, due, expires_at, deadline_at,
               labels, unique_key, parent_id, traceparent, CASE WHEN due > now() THEN 'scheduled' ELSE 'ready' END
        FROM given ORDER BY unique_key COLLATE "C", ordinal
        ON CONFLICT (app_id, unique_key)
            WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'ready', 'dispatched', 'running')
            DO NOTHING
        RETURNING id, state, run_at, created_at
    )
    SELECT given.ordinal, inserted.id, inserted.state, inserted.run_at, inserted.created_at
    FROM inserted JOIN given USING (id) ORDER BY given.ordinal
    """,
    jobs=JSONB,
)


def insert(session: Session, app_id: UUID, jobs: Sequence[NewJob]) -> list[Inserted]:
    """Accept jobs: `scheduled` when due later, else `ready`. A live holder of the same `unique_key` keeps one out.

    Keys are taken in their order, so that two that take the same ones wait for each other at the first, and no worse.
    """
    rows = session.execute(_INSERT, {"app_id": app_id, "jobs": [_columns(job) for job in jobs]})
    return [Inserted(row.ordinal, row.id, State(row.state), row.run_at, row.created_at) for row in rows]


def _columns(job: NewJob) -> dict[str, Any]:
    return {
        "given_id": job.id, "kind": job.kind, "params": job.params, "queue": job.queue,
        "max_attempts": job.max_attempts, "priority": job.priority, "run_at": job.run_at,
        "expires_at": job.expires_at, "deadline_at": job.deadline_at, "labels": job.labels,
        "unique_key": job.unique_key, "parent_id": job.parent_id, "traceparent": job.traceparent,
    }  # fmt: skip


_STAGE = _sql(
    """
    UPDATE jobs SET state = 'ready'
    WHERE id = ANY(ARRAY(SELECT id FROM jobs WHERE queue = ANY(:queues) AND state = 'scheduled' AND run_at <= now()
                         LIMIT :limit FOR UPDATE SKIP LOCKED))
      AND state || '' = 'scheduled'
    """
)


def stage(session: Session, queues: Sequence[str], limit: int) -> int:
    """scheduled → ready for what is due. Returns how many."""
    return _count(session, _STAGE, queues=list(queues), limit=limit)


_DISPATCH = _sql(
    """
    UPDATE jobs SET state = 'dispatched', epoch = epoch + 1, lease_expires_at = now() + :lease
    WHERE id = ANY(:ids) AND state || '' = 'ready'
    RETURNING id, epoch
    """,
    ids=_UUIDS,
)


def dispatch(session: Session, ids: Sequence[UUID], lease: timedelta) -> dict[UUID, Hint]:
    """ready → dispatched. A job that was cancelled meanwhile is missing from the answer."""
    rows = session.execute(_DISPATCH, {"ids": list(ids), "lease": lease})
    return {row.id: Hint(row.id, row.epoch) for row in rows}


_WITHDRAW = _sql(
    """
    UPDATE jobs SET lease_expires_at = NULL,
        state = CASE WHEN :delay > interval '0' THEN 'scheduled' ELSE 'ready' END,
        run_at = CASE WHEN :delay > interval '0' THEN now() + :delay ELSE run_at END
    FROM unnest(:ids, :epochs) AS hint (id, epoch)
    WHERE jobs.id = hint.id AND jobs.epoch = hint.epoch AND jobs.state || '' = 'dispatched'
    """,
    ids=_UUIDS,
    epochs=ARRAY(Integer),
)


def withdraw(session: Session, hints: Sequence[Hint], delay: timedelta = timedelta(0)) -> int:
    """dispatched → ready, after a publish that failed. Should the message exist after all, its epoch is void.

    With a `delay`, dispatched → scheduled: it came to a worker that does not know the kind.
    """
    return _count(session, _WITHDRAW, ids=[h.id for h in hints], epochs=[h.epoch for h in hints], delay=delay)


_CLAIM = _sql(
    """
    UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_token = uuidv7(), worker = :worker,
        lease_expires_at = now() + :lease, started_at = now(), seq = seq + 1, claimed_seq = seq + 1, progress = NULL
    FROM unnest(:ids, :epochs) AS hint (id, epoch)
    WHERE jobs.id = hint.id AND jobs.epoch = hint.epoch AND jobs.state || '' = 'dispatched'
      AND jobs.cancel_requested_at IS NULL
      AND coalesce(least(jobs.expires_at, jobs.deadline_at) > now(), true)
    RETURNING jobs.id, app_id, kind, params, attempt, max_attempts, lease_token AS token, checkpoint,
        deadline_at - now() AS deadline_in, traceparent
    """,
    ids=_UUIDS,
    epochs=ARRAY(Integer),
)


def claim(session: Session, hints: Sequence[Hint], worker: str, lease: timedelta) -> list[Claim]:
    """dispatched → running, in the order of the hints. The only permission to run; void hints are left out."""
    return _claims(session, _CLAIM, hints, worker, lease)


def _claims(
    session: Session, statement: TextClause, hints: Sequence[Hint], worker: str, lease: timedelta
) -> list[Claim]:
    ids, epochs = [h.id for h in hints], [h.epoch for h in hints]
    rows = session.execute(statement, {"ids": ids, "epochs": epochs, "worker": worker, "lease": lease})
    claims = {row.id: Claim(*row) for row in rows}
    return [claims[job_id] for job_id in dict.fromkeys(ids) if job_id in claims]


_CLAIMED = _sql(
    """
    UPDATE jobs SET lease_expires_at = now() + :lease
    FROM unnest(:ids, :epochs) AS hint (id, epoch)
    WHERE jobs.id = hint.id AND jobs.epoch = hint.epoch AND jobs.state || '' = 'running' AND jobs.worker = :worker
    RETURNING jobs.id, app_id, kind, params, attempt, max_attempts, lease_token AS token, checkpoint,
        deadline_at - now() AS deadline_in, traceparent
    """,
    ids=_UUIDS,
    epochs=ARRAY(Integer),
)


def claimed(session: Session, hints: Sequence[Hint], worker: str, lease: timedelta) -> list[Claim]:
    """running → running: what `worker` has claimed by these hints, with a fresh lease.

    For a claim whose answer was lost. An epoch is claimed once, so that what this worker holds by it came of that
    claim; the caller knows that no other message of its own is at work with these hints.
    """
    return _claims(session, _CLAIMED, hints, worker, lease)


# What the row says of cancelling is read where it is written: a join would still see it as it was before a cancel that
# this statement had to wait for.
_GOES_TO = """
    CASE WHEN ending.state IN ('scheduled', 'ready') AND jobs.cancel_requested_at IS NOT NULL
            THEN CASE WHEN jobs.unsettled THEN 'parked' ELSE 'cancelled' END
         WHEN ending.state IN ('failed', 'cancelled') AND ending.presumed AND jobs.unsettled THEN 'parked'
         ELSE ending.state END
"""

# A parked job says why, also when it was nobody's failure: it was cancelled before its effect was confirmed.
_UNSETTLED = """
    jsonb_build_object('code', 'outcome_unknown', 'retryable', false, 'attempt', jobs.attempt, 'message',
                       'the job was cancelled while an effect of it may have happened that nobody has confirmed')
"""

_RECORD = _sql(
    f"""
    WITH recorded AS (
        UPDATE jobs SET state = {_GOES_TO}, result = ending.result, seq = seq + 1,
            error = CASE WHEN {_GOES_TO} = 'parked' THEN coalesce(ending.error, jobs.error, {_UNSETTLED})
                         ELSE ending.error END,
            attempt = attempt - CASE WHEN spent THEN 0 ELSE 1 END,
            lost = CASE WHEN ending.state IN ('scheduled', 'ready') AND ending.outcome <> 'released'
                        THEN 0 ELSE lost END,
            run_at = CASE WHEN {_GOES_TO} IN ('scheduled', 'ready') AND ending.outcome <> 'released'
                          THEN now() + make_interval(secs => delay) ELSE run_at END,
            finished_at = CASE WHEN {_GOES_TO} IN ('scheduled', 'ready') THEN NULL ELSE now() END,
            lease_token = NULL, lease_expires_at = NULL
        FROM jsonb_to_recordset(:endings) AS ending (
            id uuid, token uuid, outcome text, state text, result jsonb, error jsonb, traceback text, delay float8,
            spent boolean, presumed boolean)
        WHERE jobs.id = ending.id AND jobs.lease_token = ending.token AND jobs.state || '' = 'running'
        RETURNING jobs.id, ending.token, OLD.attempt AS number, worker, started_at, claimed_seq, seq,
            ending.outcome, ending.error, ending.traceback, NEW.state, run_at
    )
    INSERT INTO attempts (job_id, id, number, worker, started_at, finished_at, started_seq, finished_seq, outcome,
                          error, traceback, next_at)
    SELECT id, token, number, worker, started_at, now(), claimed_seq, seq, outcome, error, traceback,
           CASE WHEN state IN ('scheduled', 'ready') THEN greatest(run_at, now()) END
    FROM recorded
    RETURNING job_id
    """,  # noqa: S608  # what is put in stands above
    endings=JSONB,
)


def record(session: Session, endings: Sequence[Ending]) -> set[UUID]:
    """running → wherever each ending says, with its attempt's row. Returns the jobs that were still ours.

    An attempt whose lease was taken changes nothing. A job that is to be tried again although someone asked to cancel
    it is cancelled instead. One that was handed back keeps its place before those that came after it.
    """
    rows = session.execute(_RECORD, {"endings": [_fields(ending) for ending in endings]})
    return set(rows.scalars())


def _fields(ending: Ending) -> dict[str, Any]:
    # `dataclasses.asdict` copies deeply, which costs more than the statement.
    return {
        "id": ending.id, "token": ending.token, "outcome": ending.outcome, "state": ending.state,
        "result": ending.result, "error": ending.error, "traceback": ending.traceback, "delay": ending.delay,
        "spent": ending.spent, "presumed": ending.presumed,
    }  # fmt: skip


_RESCUE = _sql(
    """
    WITH vanished AS (
        SELECT id FROM jobs
        WHERE queue = ANY(:queues) AND state = 'running' AND lease_expires_at < now()
        ORDER BY lease_expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), rescued AS (
        UPDATE jobs SET
            lost = lost + 1, attempt = attempt - 1, seq = seq + 1, lease_token = NULL, lease_expires_at = NULL,
            state = CASE WHEN cancel_requested_at IS NULL AND lost + 1 < :max_lost THEN 'scheduled'
                         WHEN unsettled THEN 'parked'
                         WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'failed' END,
            error = jsonb_build_object('code', 'worker_lost', 'message', 'the worker vanished while it had this job',
                                       'retryable', lost + 1 < :max_lost, 'attempt', attempt),
            finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR lost + 1 >= :max_lost THEN now() END,
            run_at = CASE WHEN lost = 0 THEN run_at
                          ELSE now() + make_interval(secs => least(power(2, lost) - 1, 60)) END
        WHERE id IN (SELECT id FROM vanished) AND state || '' = 'running' AND lease_expires_at < now()
        RETURNING id, OLD.lease_token AS token, OLD.attempt AS number, worker, started_at, claimed_seq, seq, error,
            state, run_at
    )
    INSERT INTO attempts (job_id, id, number, worker, started_at, finished_at, started_seq, finished_seq, outcome,
                          error, next_at)
    SELECT id, token, number, worker, started_at, now(), claimed_seq, seq, 'lost', error,
           CASE WHEN state = 'scheduled' THEN greatest(run_at, now()) END
    FROM rescued
    RETURNING job_id
    """
)


def rescue(session: Session, queues: Sequence[str], max_lost: int, limit: int) -> list[UUID]:
    """running → scheduled (or failed, or cancelled, or parked) for jobs whose worker let the lease run out.

    Counted as `lost`, apart from attempts: a dying machine must not use up the attempts of healthy jobs, and a job that
    kills its workers is found by its own count. The first time a job keeps its place before those that came after it.
    """
    return list(session.execute(_RESCUE, {"queues": list(queues), "max_lost": max_lost, "limit": limit}).scalars())


_PROLONG = _sql(
    """
    UPDATE jobs SET lease_expires_at = now() + :lease
    FROM unnest(:ids, :epochs) AS hint (id, epoch)
    WHERE jobs.id = hint.id AND jobs.epoch = hint.epoch AND jobs.state || '' = 'dispatched'
      AND lease_expires_at < now() + :lease / 2
    """,
    ids=_UUIDS,
    epochs=ARRAY(Integer),
)


def prolong(session: Session, hints: Sequence[Hint], lease: timedelta) -> int:
    """dispatched → dispatched for messages that were seen to wait still; those whose lease is fresh are left alone."""
    return _count(session, _PROLONG, ids=[h.id for h in hints], epochs=[h.epoch for h in hints], lease=lease)


_LOSE_MESSAGES = _sql(
    """
    WITH lost AS (
        UPDATE jobs SET state = 'ready', lease_expires_at = NULL, seq = seq + 1
        WHERE id = ANY(ARRAY(SELECT id FROM jobs WHERE queue = ANY(:queues) AND state = 'dispatched'
                               AND lease_expires_at < now() + :early LIMIT :limit FOR UPDATE SKIP LOCKED))
          AND state || '' = 'dispatched' AND lease_expires_at < now() + :early
        RETURNING id, seq
    )
    INSERT INTO events (job_id, seq, type) SELECT id, seq, 'message_lost' FROM lost
    """
)


def lose_messages(session: Session, queues: Sequence[str], limit: int, early: timedelta = timedelta(0)) -> int:
    """dispatched → ready for messages that nobody claimed in time, or would have `early` from now."""
    return _count(session, _LOSE_MESSAGES, queues=list(queues), limit=limit, early=early)


_EXPIRE = _sql(
    """
    WITH late AS (
        UPDATE jobs SET state = CASE WHEN unsettled THEN 'parked' ELSE 'expired' END,
            finished_at = now(), lease_expires_at = NULL, seq = seq + 1,
            error = jsonb_build_object(
                'code', CASE WHEN deadline_at <= now() THEN 'deadline_exceeded' ELSE 'expired' END,
                'message', 'the job was not started in time', 'retryable', false, 'attempt', attempt)
        WHERE id = ANY(ARRAY(SELECT id FROM jobs
                             WHERE queue = ANY(:queues) AND state IN ('scheduled', 'ready', 'dispatched')
                               AND (expires_at IS NOT NULL OR deadline_at IS NOT NULL)
                               AND least(expires_at, deadline_at) <= now()
                             LIMIT :limit FOR UPDATE SKIP LOCKED))
          AND state || '' IN ('scheduled', 'ready', 'dispatched')
        RETURNING id, seq
    )
    INSERT INTO events (job_id, seq, type) SELECT id, seq, 'expired' FROM late RETURNING job_id
    """
)


def expire(session: Session, queues: Sequence[str], limit: int) -> list[UUID]:
    """scheduled, ready, dispatched → expired (parked when unsettled) for what is too late to start."""
    return list(session.execute(_EXPIRE, {"queues": list(queues), "limit": limit}).scalars())


def _cancelling(condition: str, **types: Any) -> TextClause:
    return _sql(
        f"""
        WITH asked AS (
            UPDATE jobs SET seq = seq + 1, cancel_requested_at = now(),
                state = CASE WHEN state = 'running' THEN state WHEN unsettled THEN 'parked' ELSE 'cancelled' END,
                error = CASE WHEN state <> 'running' AND unsettled THEN coalesce(error, {_UNSETTLED}) ELSE error END,
                finished_at = CASE WHEN state = 'running' THEN NULL ELSE now() END,
                lease_expires_at = CASE WHEN state = 'running' THEN lease_expires_at END
            WHERE cancel_requested_at IS NULL AND {condition}
            RETURNING id, seq, state
        ), noted AS (
            INSERT INTO events (job_id, seq, type)
            SELECT id, seq, CASE state WHEN 'cancelled' THEN 'cancelled' ELSE 'cancel_requested' END FROM asked
        )
        SELECT id, state FROM asked
        """,  # noqa: S608  # the two conditions stand below
        **types,
    )


_CANCEL = _cancelling(
    "id = :id AND app_id = :app_id AND state IN ('scheduled', 'ready', 'dispatched', 'running')",
)


def cancel(session: Session, app_id: UUID, job_id: UUID) -> State | None:
    """scheduled, ready, dispatched → cancelled (parked when unsettled); a running job is asked to stop.

    None: nothing to cancel there.
    """
    row = session.execute(_CANCEL, {"id": job_id, "app_id": app_id}).one_or_none()
    return None if row is None else State(row.state)


_GIVE_WAY = _cancelling(
    """id = ANY(ARRAY(SELECT id FROM jobs
                      WHERE app_id = :app_id AND unique_key = ANY(:keys)
                        AND state IN ('scheduled', 'ready', 'dispatched')
                      ORDER BY unique_key COLLATE "C" FOR UPDATE))
       AND state || '' IN ('scheduled', 'ready', 'dispatched')""",
    keys=ARRAY(Text()),
)


def give_way(session: Session, app_id: UUID, unique_keys: Sequence[str]) -> list[UUID]:
    """scheduled, ready, dispatched → cancelled (parked when unsettled) for the jobs that wait under these keys.

    One that runs is left alone: it cannot be replaced before it has ended. Rows are taken in the order of `insert`.
    """
    return list(session.execute(_GIVE_WAY, {"app_id": app_id, "keys": list(unique_keys)}).scalars())


_RETRY = _sql(
    """
    WITH retried AS (
        UPDATE jobs SET state = 'ready', run_at = now(), attempt = 0, lost = 0, result = NULL, error = NULL,
            finished_at = NULL, cancel_requested_at = NULL, seq = seq + 1,
            expires_at = CASE WHEN expires_at > now() THEN expires_at END,
            deadline_at = CASE WHEN deadline_at > now() THEN deadline_at END
        WHERE id = :id AND app_id = :app_id AND state IN ('failed', 'cancelled', 'expired', 'parked')
        RETURNING id, seq, queue
    ), noted AS (
        INSERT INTO events (job_id, seq, type) SELECT id, seq, 'retried' FROM retried
    )
    SELECT queue FROM retried
    """
)


def retry(session: Session, app_id: UUID, job_id: UUID) -> str | None:
    """failed, cancelled, expired, parked → ready, with all attempts anew; time limits that have passed are gone.

    Returns the job's queue; None: nothing to retry there.
    """
    return session.execute(_RETRY, {"id": job_id, "app_id": app_id}).scalar()


def _count(session: Session, statement: TextClause, **values: Any) -> int:
    rows: Row[Any] | Any = session.execute(statement, values)
    return int(rows.rowcount)
