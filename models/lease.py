"""What only the attempt that holds a job may write: its lease, its progress and its checkpoint.

Every statement names the lease token; an attempt that lost its job changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

_UUIDS = ARRAY(Uuid())

_RENEW = text(
    """
    UPDATE jobs SET lease_expires_at = now() + :lease
    FROM unnest(:ids, :tokens) AS held (id, token)
    WHERE jobs.id = held.id AND jobs.lease_token = held.token
    RETURNING jobs.lease_token, jobs.cancel_requested_at IS NOT NULL
    """
).bindparams(bindparam("ids", type_=_UUIDS), bindparam("tokens", type_=_UUIDS))


def renew(session: Session, held: Mapping[UUID, UUID], lease: timedelta) -> dict[UUID, bool]:
    """Extend the leases of `held` (job id by token). Returns, by token still held, whether to cancel.

    A lease that ran out but was not taken yet is extended too: the work goes on where it is.
    """
    values = {"ids": list(held.values()), "tokens": list(held), "lease": lease}
    return {row[0]: row[1] for row in session.execute(_RENEW, values)}


_ABANDON = text(
    """
    UPDATE jobs SET lease_expires_at = now()
    WHERE id = ANY(:ids) AND state = 'running' AND worker = :worker
    """
).bindparams(bindparam("ids", type_=_UUIDS))


def abandon(session: Session, ids: Sequence[UUID], worker: str) -> None:
    """Let the leases of a worker that is known to be dead run out now instead of later."""
    session.execute(_ABANDON, {"ids": list(ids), "worker": worker})


_PROGRESS = text(
    """
    WITH noted AS (
        UPDATE jobs SET progress = :progress, seq = seq + 1
        WHERE id = :id AND lease_token = :token
        RETURNING id, seq
    )
    INSERT INTO events (job_id, seq, type, data) SELECT id, seq, 'progress', :progress FROM noted RETURNING job_id
    """
).bindparams(bindparam("progress", type_=JSONB))


def save_progress(session: Session, job_id: UUID, token: UUID, progress: Mapping[str, Any]) -> bool:
    """Write the progress and its event. False: the job is not this attempt's any more."""
    return session.execute(_PROGRESS, {"id": job_id, "token": token, "progress": progress}).first() is not None


_CHECKPOINT = text(
    "UPDATE jobs SET checkpoint = :state, unsettled = :unsettled WHERE id = :id AND lease_token = :token RETURNING id"
).bindparams(bindparam("state", type_=JSONB))


def save_checkpoint(
    session: Session, job_id: UUID, token: UUID, state: Mapping[str, Any], *, unsettled: bool = False
) -> bool:
    """Write what the next attempt shall find. False: the job is not this attempt's any more."""
    values = {"id": job_id, "token": token, "state": state, "unsettled": unsettled}
    return session.execute(_CHECKPOINT, values).first() is not None
