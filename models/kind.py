"""`kinds`: what workers have observed of each kind, from which the dispatcher sizes chunks."""

from sqlalchemy import Double
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt


class Kind(Base):
    """One kind's moving average of how long its handler takes, in seconds."""

    __tablename__ = "kinds"

    kind: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[float] = mapped_column(Double)
    observed_at: Mapped[CreatedAt]
