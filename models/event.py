"""`events`: the part of a job's timeline that its row and its attempts do not already say."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class EventType(StrEnum):
    """What can happen to a job. The first three are derived from rows, the others are stored."""

    CREATED = "created"
    ATTEMPT_STARTED = "attempt_started"
    ATTEMPT_FINISHED = "attempt_finished"
    PROGRESS = "progress"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RETRIED = "retried"
    MESSAGE_LOST = "message_lost"


class Event(Base):
    """One stored event. `seq` counts per job without gaps, together with the derived events."""

    __tablename__ = "events"

    job_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(Integer)
    type: Mapped[str]
    at: Mapped[CreatedAt]
    data: Mapped[dict[str, Any] | None]

    __table_args__ = (PrimaryKeyConstraint("job_id", "seq"),)
