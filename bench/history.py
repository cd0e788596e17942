"""The time of a dispatcher's turn with a long history of finished jobs beside it, by the same turn without one.

Two databases on one server, equal but for the finished rows in one of them. Each turn stages, expires, rescues, looks
for the next due job and dispatches one page of a full backlog; publishing is left out, because a message costs the same
in both. The two take turns one by one, so that both share whatever else the machine does.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bench.measure import Comparison, Series
from bench.options import Options
from bench.servers import Servers
from models import App, Kind, lifecycle
from models.lifecycle import NewJob
from settings import get_settings
from tasks.discovery import handlers
from workers.dispatcher.loop import BY_INDEX
from workers.dispatcher.messages import Waiting
from workers.dispatcher.turn import Turn
from workers.process.presence import Presence

PAGE = 100
"""Jobs per turn: four messages of 25, two for each of two workers."""
SECONDS = 0.0029
"""What a handler must take for a message to hold 25 of its jobs."""
WRITTEN = """
    INSERT INTO jobs (id, app_id, kind, queue, params, state, created_at, run_at, max_attempts)
    SELECT uuidv7(at - now()), (SELECT id FROM apps), 'text.count', 'default', '{"text": "one two three"}', 'ready',
           at, at, 5
    FROM (SELECT now() - (%(total)s - n) * interval '200 ms' AS at
          FROM generate_series(%(first)s::int, %(last)s::int) AS n)
"""
ENDED = """
    UPDATE jobs SET state = 'succeeded', result = '{"lines": 1, "words": 3, "characters": 13}', started_at = run_at,
        finished_at = run_at, attempt = 1, epoch = 1, worker = 'default@host:1', seq = 3, claimed_seq = 2
    WHERE state = 'ready'
"""
PORTION = 250_000
QUEUES = ("default",)


def run(servers: Servers, options: Options) -> list[Comparison]:
    """Rounds of turns on both databases; the median turn of each."""
    servers.execute("INSERT INTO apps (name) VALUES ('bench')", "mainstay")
    long, short = (servers.make_database(name, "mainstay") for name in ("long", "short"))
    _write_history(servers, options.history)
    with _connect(long) as beside, _connect(short) as alone:
        sides = [_Side(f"beside {options.history:,} finished", beside), _Side("alone", alone)]
        for _ in range(options.rounds + 1):
            _round(servers, sides, options.turns)
    ours, peer = (Series(side.name, side.medians[1:]) for side in sides)
    return [Comparison("one turn of the dispatcher", "ms", ours, peer, "≤ 1.1 ×", {"turns": options.turns})]


@contextmanager
def _connect(address: str) -> Iterator[Connection]:
    """A connection as the dispatcher sets it up for its turns."""
    with create_engine(address, isolation_level="AUTOCOMMIT").connect() as connection:
        with connection.begin():
            connection.execute(BY_INDEX)
        yield connection


class _Side:
    """One database and the dispatcher's turns in it."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.database = str(connection.engine.url.database)
        self.medians: list[float] = []
        self.turns: list[float] = []
        self._connection = connection
        self._turn = Turn(connection, get_settings(), handlers(), lambda *_: None)

    def fill(self, jobs: int) -> None:
        """Have a backlog of ready jobs, a known duration of their kind, and a worker that lives."""
        new = NewJob("text.count", {"text": "one two three"}, "default", max_attempts=5)
        # Not over the dispatcher's connection: its planner settings suit its own statements only.
        with Session(self._connection.engine) as session, session.begin():
            Presence("default@host:1", ("default",), 2, tuple(handlers())).refresh(session)
            session.execute(insert(Kind).values(kind=new.kind, seconds=SECONDS).on_conflict_do_nothing())
            lifecycle.insert(session, session.scalars(select(App.id)).one(), [new] * jobs)

    def turn(self) -> None:
        """One timed turn: all that the loop does at a queue, also what it does but once a second."""
        started = time.perf_counter()
        self._turn.stage(QUEUES)
        self._turn.expire(QUEUES)
        self._turn.recover(QUEUES)
        self._turn.rescue(QUEUES)
        self._turn.next_due(QUEUES)
        self._turn.dispatch("default", Waiting(messages=0, wiped=False))
        self.turns.append(1000 * (time.perf_counter() - started))

    def close_round(self) -> None:
        """Keep the median of the turns and begin anew."""
        self.medians.append(statistics.median(self.turns))
        self.turns.clear()


def _round(servers: Servers, sides: Sequence[_Side], turns: int) -> None:
    for side in sides:
        side.fill(PAGE * turns)
    servers.execute("CHECKPOINT")
    for _ in range(turns):
        for side in sides:
            side.turn()
    for side in sides:
        side.close_round()
        _clear(servers, side.database, PAGE * turns)


def _clear(servers: Servers, database: str, jobs: int) -> None:
    """Take the round's jobs away, all of which must have been dispatched."""
    with servers.connect(database) as connection:
        deleted = connection.execute("DELETE FROM jobs WHERE state = 'dispatched'").rowcount
        connection.execute("VACUUM ANALYZE jobs")
    if deleted != jobs:
        raise RuntimeError(f"{deleted} of {jobs} jobs were dispatched: the turns did not do what is measured")


def _write_history(servers: Servers, total: int) -> None:
    """Finished rows as they come about: written, written anew, the space of their first versions used again."""
    with servers.connect("long") as connection:
        for first in range(1, total + 1, PORTION):
            last = min(total, first + PORTION - 1)
            connection.execute(WRITTEN.encode(), {"total": total, "first": first, "last": last})
            connection.execute(ENDED.encode())
            connection.execute("VACUUM jobs")
        connection.execute("ANALYZE jobs")
