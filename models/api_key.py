"""`api_keys`: who may call the API, stored so that a stolen table opens nothing."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, NewId


class ApiKey(Base):
    """One key of one app. The key itself is shown once and kept only as an HMAC under the server's pepper."""

    __tablename__ = "api_keys"

    id: Mapped[NewId]
    app_id: Mapped[UUID] = mapped_column(ForeignKey("apps.id"), index=True)
    name: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    prefix: Mapped[str]
    last4: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    kinds: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """The only kinds this key may submit; all of them when null."""
    cidrs: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """The only networks this key may call from; any when null."""
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
