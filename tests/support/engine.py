"""The real engine without its processes: a turn of the dispatcher whose messages `execute` takes at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models import Job
from models.lifecycle import Hint, NewJob
from models.session import autocommit, transaction
from settings import get_settings
from tasks.discovery import handler_of, handlers
from workers.attempt.execute import execute
from workers.attempt.keeper import Keeper
from workers.dispatcher.messages import Waiting
from workers.dispatcher.turn import Turn
from workers.process.presence import Presence
from workers.queue import Enqueued
from workers.queue import enqueue as enqueue_jobs

Message = tuple[str, str, list[Hint]]
QUEUES = ("payments", "integrations", "data", "default")


class Engine:
    """Dispatches and performs in this process; nothing runs beside the test unless the test says so."""

    def __init__(self) -> None:
        self.presence = Presence("tests@here:1", QUEUES, 1, tuple(handlers()))
        self.keeper = Keeper(self.presence, killable=False)
        self.messages: list[Message] = []

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """A dispatcher's turn whose messages go into `messages`; this process counts as its only worker."""
        self.presence = Presence("tests@here:1", QUEUES, 1, tuple(handlers()))
        self.keeper.presence = self.presence
        with transaction() as session:
            self.presence.refresh(session)
        with autocommit().connect() as connection:
            yield Turn(connection, get_settings(), handlers(), self._publish)

    def dispatch(self) -> list[Message]:
        """Mark and collect what is due now; returns the messages."""
        with self.turn() as turn:
            turn.stage(QUEUES)
            for queue in QUEUES:
                turn.dispatch(queue, Waiting(0, wiped=False))
        messages, self.messages = self.messages, []
        return messages

    def perform(self, messages: Sequence[Message]) -> None:
        """Perform messages as a worker would."""
        for _, _, hints in messages:
            execute(self.keeper, hints)

    def drain(self) -> int:
        """Dispatch and perform until nothing is due. Returns how many messages that took."""
        count = 0
        while messages := self.dispatch():
            count += len(messages)
            self.perform(messages)
        return count

    def upkeep(self) -> None:
        """What the dispatcher does about once a second."""
        with self.turn() as turn:
            turn.expire(QUEUES)
            turn.recover(QUEUES)
            turn.rescue(QUEUES)

    def pass_time(self, span: timedelta) -> None:
        """Move every moment in the rows into the past."""
        with transaction() as session:
            for table, columns in MOMENTS.items():
                moved = ", ".join(f"{column} = {column} - :span" for column in columns)
                session.execute(text(f"UPDATE {table} SET {moved}"), {"span": span})

    def _publish(self, queue: str, kind: str, hints: Sequence[Hint]) -> None:
        self.messages.append((queue, kind, list(hints)))


MOMENTS = {
    "jobs": ("created_at", "run_at", "expires_at", "deadline_at", "started_at", "finished_at", "lease_expires_at"),
    "attempts": ("started_at", "finished_at", "next_at"),
    "workers": ("seen_at",),
    "idempotency_keys": ("expires_at",),
}


def enqueue(app_id: UUID, kind: str, params: dict | None = None, **options: object) -> UUID:
    """Enqueue one job as the API would, without HTTP."""
    handler = handler_of(kind)
    values = {"queue": handler.queue, "max_attempts": handler.max_attempts, **options}
    with transaction() as session:
        (accepted,) = enqueue_jobs(session, app_id, [NewJob(kind=kind, params=params or {}, **values)])
    assert isinstance(accepted, Enqueued), accepted
    return accepted.id


def job_row(job_id: UUID) -> Job:
    """The job as it is in Postgres now."""
    with transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job
