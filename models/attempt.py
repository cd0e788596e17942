"""`attempts`: how each execution of a job ended. Written once, by whoever ends it.

A running attempt is in its job's row.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Outcome(StrEnum):
    """How an attempt ended. `released` and `lost` and `snoozed` spend no attempt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    PARKED = "parked"
    SNOOZED = "snoozed"
    RELEASED = "released"
    LOST = "lost"


class Attempt(Base):
    """One ended execution. Its id was the lease token: the fence that lets only one attempt end a job.

    There is no foreign key to `jobs`: the lock it takes per row costs a tenth of the throughput, and both writers
    (`lifecycle` and `workers.dispatcher.prune`) insert and delete the rows together with the job's own.
    """

    __tablename__ = "attempts"

    job_id: Mapped[UUID]
    id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Integer)
    """The attempt's number; one that spent nothing shares its number with the next."""
    worker: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    started_seq: Mapped[int] = mapped_column(Integer)
    finished_seq: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str]
    error: Mapped[dict[str, Any] | None]
    traceback: Mapped[str | None]
    """For operators only: it can quote params."""
    next_at: Mapped[datetime | None]
    """When the next attempt is due, if there is to be one."""

    __table_args__ = (PrimaryKeyConstraint("job_id", "id"),)
