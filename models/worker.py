"""`workers`: the worker processes that are alive, told by the rows they keep fresh."""

from datetime import datetime

from sqlalchemy import Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class Worker(Base):
    """One process that performs jobs. A row that was not seen for a lease belongs to the dead."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    slots: Mapped[int] = mapped_column(Integer)
    """How many messages it can work on at once."""
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[datetime]
