"""What a fault sees of the run: the fleet, the load, the two servers, and a way to measure a recovery."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.faults import Course, DidNotHappen
from tests.chaos.fleet import Fleet, Member
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.plan import Scale

T = TypeVar("T")
LOOK_INTERVAL = 0.1
SUBMIT_DEADLINE = 120.0


@dataclass(frozen=True)
class Recovery:
    """How long it took until something worked again; only counted when nothing else was wrong meanwhile."""

    name: str
    target: float
    seconds: float


@dataclass
class Field:
    """One per run."""

    fleet: Fleet
    load: Load
    journal: Journal
    scale: Scale
    rng: random.Random
    undisturbed: Callable[[], bool]
    """Whether no other fault is going on now."""
    recoveries: list[Recovery] = field(default_factory=list)
    expected: dict[Any, Callable[[Any], bool]] = field(default_factory=dict)
    """By job id, whether the row of a misbehaving job tells of the end it must have."""
    _clerks: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "clerk"))
    """They wait for the API, so that the thread that starts it again need not."""

    def submit(self, kind: str) -> Course:
        """Submit a job; the generator's value is its id. It takes as long as the API is away."""
        pending = self._clerks.submit(self.load.submit, kind)
        yield from self.until(pending.done, SUBMIT_DEADLINE, f"{kind} was not accepted")
        return pending.result()

    def burst(self) -> None:
        """Give the workers more to do than they can for a few seconds."""
        self._clerks.submit(self.load.burst)

    @property
    def redis(self) -> Redis:
        """A new client of the server."""
        return Redis.from_url(self.fleet.valkey.url, socket_timeout=0.5, socket_connect_timeout=0.5)

    def draw(self, choices: Sequence[T]) -> T:
        """One of several."""
        if not choices:
            raise DidNotHappen("there was nothing to choose from")
        return self.rng.choice(choices)

    def a_living(self, members: Sequence[Member]) -> Member:
        """One that runs and that no other fault holds."""
        return self.draw([member for member in members if member.alive and member.name not in self.fleet.held])

    def until(self, condition: Callable[[], T], seconds: float, what: str) -> Course:
        """Wait for a condition; it is the generator's value. One that fails for want of a server is not true yet."""
        deadline = time.monotonic() + seconds
        while True:
            answer = _asked(condition)
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise DidNotHappen(f"{what}: not within {seconds:.0f} s")
            yield LOOK_INTERVAL

    def recovery(self, name: str, target: float, condition: Callable[[], Any], since: float | None = None) -> Course:
        """Measure how long it takes until the condition holds, unless something else goes wrong meanwhile.

        `since` is when the wait began, on the monotonic clock; now unless it is given.
        """
        started, clean = since or time.monotonic(), self.undisturbed()
        deadline = started + 3 * target
        while not _asked(condition):
            clean = clean and self.undisturbed()
            if time.monotonic() > deadline or not clean:
                break
            yield LOOK_INTERVAL / 4
        if clean and self.undisturbed():
            self.recoveries.append(Recovery(name, target, time.monotonic() - started))

    def scalar(self, statement: str, **values: Any) -> Any:
        """Ask Postgres."""
        with self.fleet.engine.connect() as connection:
            return connection.scalar(text(statement), values)

    def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        """Ask Postgres for rows."""
        with self.fleet.engine.connect() as connection:
            return connection.execute(text(statement), values).all()

    def now(self) -> datetime:
        """Postgres's time."""
        return self.scalar("SELECT clock_timestamp()")

    def moved_to(self, state: str, since: datetime) -> bool:
        """Whether a job has gone into the state since then."""
        statement = "SELECT EXISTS (SELECT FROM chaos_audit WHERE new_state = :state AND at > :since)"
        return bool(self.scalar(statement, state=state, since=since))


def _asked(condition: Callable[[], T]) -> T | None:
    try:
        return condition()
    except (SQLAlchemyError, RedisError, OSError):
        return None
