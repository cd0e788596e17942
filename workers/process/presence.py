"""Presence: the row by which a worker process tells the dispatcher that it lives, and what it can do."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models import Worker


@dataclass(frozen=True)
class Presence:
    """One process: its name (`node@host:pid`), its queues, how many messages it works on at once, its kinds."""

    name: str
    queues: tuple[str, ...]
    slots: int
    kinds: tuple[str, ...]

    def refresh(self, session: Session, stuck: int = 0) -> None:
        """Write the row, or say in it that we are still here. `stuck` of the slots will take nothing more."""
        slots = self.slots - stuck
        row = {"queues": list(self.queues), "slots": slots, "kinds": list(self.kinds), "seen_at": func.now()}
        statement = insert(Worker).values(name=self.name, **row)
        session.execute(statement.on_conflict_do_update(index_elements=[Worker.name], set_=row))

    def leave(self, session: Session) -> None:
        """Take the row away: an orderly end."""
        session.execute(delete(Worker).where(Worker.name == self.name))


@dataclass(frozen=True)
class Lane:
    """What the living workers of one queue can take: messages at once, and kinds that at least one of them knows."""

    slots: int
    kinds: frozenset[str]


def lanes(session: Session, lease: timedelta) -> dict[str, Lane]:
    """The lanes by queue, from the workers seen within the last lease."""
    rows = session.execute(
        select(Worker.queues, Worker.slots, Worker.kinds).where(Worker.seen_at > func.now() - lease)
    ).all()
    return {
        queue: Lane(
            sum(row.slots for row in rows if queue in row.queues),
            frozenset(kind for row in rows if queue in row.queues for kind in row.kinds),
        )
        for queue in {queue for row in rows for queue in row.queues}
    }


def bury(session: Session, lease: timedelta) -> None:
    """Delete the rows of workers that have long been gone."""
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - 10 * lease))
