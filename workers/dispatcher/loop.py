"""The loop around the turns: holds the connection, campaigns for queues, waits for the doorbell.

A lost connection to Postgres ends everything that was held and begins anew; a sick Redis only delays messages.
"""

import time
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, text

from models.session import DATABASE_AWAY, autocommit, dispose
from settings import get_settings
from tasks.discovery import handlers
from workers.app import app
from workers.dispatcher.election import Election
from workers.dispatcher.messages import REDIS_ERRORS, Publisher, look
from workers.dispatcher.prune import Pruner
from workers.dispatcher.sweep import Sweeper
from workers.dispatcher.turn import Turn
from workers.wakeup import doorbell

log = structlog.get_logger()

POLL = 1.0
LOOK_INTERVAL = 0.1
"""Seconds after which every queue is looked at, however often the bell of one of them rings."""
BUSY_POLL, SLOW_POLL = 0.002, 0.05
"""Seconds between looks while more is ready than fits: soon after something was sent, less and less often otherwise."""
UPKEEP_INTERVAL = 1.0
FILES_LANE = "data"
"""Whoever dispatches this queue also sweeps the files."""
PAUSE = 0.5
RESCUE_DELAY = 5.0
"""Seconds for which Postgres must have answered without a break before any lease counts as run out: after an outage
the living renew theirs first, and claim what they took from Redis meanwhile."""
SLOW = 1.0
"""Seconds after which an answer of Postgres counts as a break."""
BY_INDEX = text(
    "SELECT set_config('enable_' || plan, 'off', false)"
    " FROM unnest(ARRAY['seqscan', 'bitmapscan', 'sort', 'hashjoin', 'mergejoin']) AS plan"
)
"""Each statement of a turn has its index. Statistics are always late for a queue, and with wrong ones the planner walks
through history to stage nothing, or sorts all that is ready to take a page of it."""


class Dispatcher:
    """One dispatcher process; any number of them may run."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = tuple(queues)
        self._stopping = False

    def stop(self) -> None:
        """End after the current turn. Takes no lock: a signal may arrive while this very thread holds it."""
        self._stopping = True

    def run(self) -> None:
        """Dispatch until stopped, whatever fails meanwhile."""
        while not self._stopping:
            try:
                self._serve()
            except DATABASE_AWAY as error:
                log.warning("dispatcher_without_database", error=type(error).__name__)
                dispose()
                time.sleep(PAUSE)
            except Exception:
                log.exception("dispatcher_failed")
                dispose()
                time.sleep(PAUSE)

    def _serve(self) -> None:
        """Serve on one connection for as long as it holds."""
        with autocommit().connect() as connection:
            connection.detach()
            service = _Service(connection, self._queues)
            while not self._stopping:
                seconds = service.look_after()
                if service.held:
                    service.rung = doorbell.wait(service.held, seconds)
                else:
                    time.sleep(seconds)


class _Service:
    """One dispatcher's work on one connection."""

    def __init__(self, connection: Connection, queues: Sequence[str]) -> None:
        self.rung: str | None = None
        """The queue whose doorbell rang; the others are looked at less often then."""
        with connection.begin():
            connection.execute(BY_INDEX)
        self._publisher = Publisher(app, handlers())
        self._election = Election(connection, queues)
        self._turn = Turn(connection, get_settings(), handlers(), self._publisher.publish)
        self._pruner = Pruner(connection, get_settings())
        self._sweeper = Sweeper()
        self._poll = BUSY_POLL
        self._looked_at = 0.0
        self._upkeep_at = 0.0
        self._rescue_from = time.monotonic() + RESCUE_DELAY

    @property
    def held(self) -> Sequence[str]:
        """The queues that are ours."""
        return self._election.held

    def look_after(self) -> float:
        """One turn. Returns how many seconds the next one can wait, unless a doorbell rings."""
        sent = self._turn.sent
        busy = self._dispatch(self._worth_a_look())
        self._poll = BUSY_POLL if self._turn.sent > sent else min(2 * self._poll, SLOW_POLL)
        staged = self._turn.stage(self.held)
        if time.monotonic() - self._upkeep_at >= UPKEEP_INTERVAL:
            self._upkeep_at = time.monotonic()
            self._keep_up()
        if busy is None:
            return PAUSE
        return self._poll if busy or staged else self._idle()

    def _worth_a_look(self) -> Sequence[str]:
        """The queue that rang, and now and then all: work that nobody rings for must not wait for a silence."""
        if self.rung and time.monotonic() - self._looked_at < LOOK_INTERVAL:
            return [self.rung]
        self._looked_at = time.monotonic()
        return self.held

    def _dispatch(self, queues: Sequence[str]) -> bool | None:
        """Returns whether there is more to dispatch; None when Redis is away."""
        try:
            waiting = look(queues)
            busy = [self._turn.dispatch(queue, waiting[queue]) for queue in queues]
            return any(busy)
        except REDIS_ERRORS as error:
            log.warning("dispatcher_without_redis", error=type(error).__name__)
            self._publisher.close()
            return None

    def _keep_up(self) -> None:
        """Campaign for queues, and move on what time alone moves."""
        asked_at = time.monotonic()
        for queue in self._election.campaign():
            log.info("queue_won", queue=queue)
        self._turn.bury_workers()
        if time.monotonic() - asked_at > SLOW:
            self._rescue_from = time.monotonic() + RESCUE_DELAY
        if not self.held:
            return
        self._turn.expire(self.held)
        if time.monotonic() >= self._rescue_from:
            self._turn.recover(self.held)
            self._turn.rescue(self.held)
        self._pruner.turn()
        if FILES_LANE in self.held:
            self._sweeper.turn()

    def _idle(self) -> float:
        due = self._turn.next_due(self.held) if self.held else None
        return POLL if due is None else min(POLL, max(due, BUSY_POLL))
