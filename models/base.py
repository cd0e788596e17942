"""What all tables share: naming conventions, column types and Postgres's clock."""

import os
import time
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, MetaData, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

CONVENTIONS = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of every table. Times carry a zone, integers that grow are 64 bits wide, JSON is `jsonb`."""

    metadata = MetaData(naming_convention=CONVENTIONS)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a plain class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        int: BigInteger(),
    }


NewId = Annotated[UUID, mapped_column(primary_key=True, server_default=text("uuidv7()"))]
"""A primary key in the order of creation, drawn by Postgres (18 or later)."""
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562) for a row whose id must be known before Postgres sees it."""
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    high = milliseconds << 16 | 0x7000 | chance >> 68
    low = 0x8000_0000_0000_0000 | chance & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=high << 64 | low)
