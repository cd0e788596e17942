"""`idempotency_keys`: the answers that repeated requests get again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class IdempotencyKey(Base):
    """One `Idempotency-Key` of one app and route, with the first answer; written in that request's own transaction."""

    __tablename__ = "idempotency_keys"

    app_id: Mapped[UUID]
    route: Mapped[str]
    key: Mapped[str]
    fingerprint: Mapped[bytes]
    """SHA-256 of method, path with query, and raw body."""
    status: Mapped[int] = mapped_column(Integer)
    location: Mapped[str | None]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
    """Null keeps it for ever, as payments need."""

    __table_args__ = (
        PrimaryKeyConstraint("app_id", "route", "key"),
        Index("ix_idempotency_keys_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )
