"""`jobs`: one row is one request to run one handler with one set of params, and the truth about it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, SmallInteger, desc, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, NewId


class State(StrEnum):
    """Where a job is in its lifecycle; the edges are drawn in ARCHITECTURE.md."""

    SCHEDULED = "scheduled"
    READY = "ready"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PARKED = "parked"


WAITING = (State.SCHEDULED, State.READY, State.DISPATCHED)
LIVE = (*WAITING, State.RUNNING)
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.PARKED)


def _in(states: tuple[State, ...]) -> str:
    return "state IN (" + ", ".join(f"'{state}'" for state in states) + ")"


class Job(Base):
    """A job. Only `models.lifecycle` changes a row; every timestamp is set by a transition."""

    __tablename__ = "jobs"

    id: Mapped[NewId]
    app_id: Mapped[UUID] = mapped_column(ForeignKey("apps.id"))
    kind: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Higher goes first within a queue."""
    params: Mapped[dict[str, Any]]
    state: Mapped[str]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    """`{code, message, details?, retryable, attempt}` of the last ending that was no success."""

    created_at: Mapped[CreatedAt]
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    """Too late to start from here on."""
    deadline_at: Mapped[datetime | None]
    """Too late to go on from here on: bounds the attempts as well as the wait."""
    started_at: Mapped[datetime | None]
    """When the current or last attempt claimed the job."""
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    """Attempts spent, the running one included."""
    max_attempts: Mapped[int] = mapped_column(Integer)
    lost: Mapped[int] = mapped_column(Integer, server_default="0")
    """Workers that vanished with this job in their hands since an attempt of it ended; it travels alone then."""
    epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts dispatches: a message of an older epoch is void."""
    lease_token: Mapped[UUID | None]
    """The id of the attempt that holds the job: nothing is recorded without it."""
    lease_expires_at: Mapped[datetime | None]
    """While dispatched: when the message counts as lost. While running: when the worker does."""
    worker: Mapped[str | None]
    seq: Mapped[int] = mapped_column(Integer, server_default="1")
    """The number of the job's latest event; 1 is its creation."""
    claimed_seq: Mapped[int | None] = mapped_column(Integer)
    """The number of the event *attempt started* of the current or last attempt."""

    progress: Mapped[dict[str, Any] | None]
    checkpoint: Mapped[dict[str, Any] | None]
    unsettled: Mapped[bool] = mapped_column(server_default=text("false"))
    """An effect may have happened that nobody has confirmed: what ends the job without its handler's word parks it."""
    labels: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    unique_key: Mapped[str | None]
    parent_id: Mapped[UUID | None]
    traceparent: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_in((*LIVE, *ENDED)), name="state"),
        CheckConstraint("(state IN ('dispatched', 'running')) = (lease_expires_at IS NOT NULL)", name="lease"),
        CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="holder"),
        CheckConstraint(f"({_in(ENDED)}) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("attempt >= 0 AND max_attempts >= 1", name="attempts"),
        # The live states have an index each, so that no turn of the dispatcher ever walks through history.
        Index("ix_jobs_ready", "queue", desc("priority"), "run_at", "id", postgresql_where=text("state = 'ready'")),
        Index("ix_jobs_scheduled", "queue", "run_at", postgresql_where=text("state = 'scheduled'")),
        Index(
            "ix_jobs_leased", "queue", "lease_expires_at",
            postgresql_where=text("state IN ('dispatched', 'running')"),
        ),
        Index(
            "ix_jobs_expiring", "queue", func.least(text("expires_at"), text("deadline_at")),
            postgresql_where=text(f"{_in(WAITING)} AND (expires_at IS NOT NULL OR deadline_at IS NOT NULL)"),
        ),
        Index(
            "uq_jobs_unique_key", "app_id", "unique_key", unique=True,
            postgresql_where=text(f"unique_key IS NOT NULL AND {_in(LIVE)}"),
        ),
        Index("ix_jobs_app", "app_id", "id"),
        Index(
            "ix_jobs_labels", "labels", postgresql_using="gin", postgresql_ops={"labels": "jsonb_path_ops"},
            postgresql_where=text("labels <> '{}'"),
        ),
        Index("ix_jobs_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    )  # fmt: skip
