"""`apps`: the tenants; every job, key and file belongs to one."""

from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, NewId


class App(Base):
    """One tenant. Apps never see each other."""

    __tablename__ = "apps"

    id: Mapped[NewId]
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]
