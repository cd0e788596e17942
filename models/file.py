"""`files`: what apps uploaded and jobs produced; the bytes lie in the object store under the row's id."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, NewId


class File(Base):
    """One stored file. A row exists only once all its bytes do."""

    __tablename__ = "files"

    id: Mapped[NewId]
    app_id: Mapped[UUID] = mapped_column(ForeignKey("apps.id"))
    name: Mapped[str]
    content_type: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    job_id: Mapped[UUID | None]
    """The job that made it; null for an upload."""
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_files_app", "app_id", "id"),)
