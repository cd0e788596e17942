"""The loop around the turns: holds the connection, campaigns for queues, waits for the doorbell.

A lost connection to Postgres ends everything that was held and begins anew; a sick Redis only delays messages.
"""

import time
from collections.abc import Sequence
from threading import Event

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from models.session import dispose, engine
from settings import get_settings
from tasks.discovery import handlers
from workers import doorbell
from workers.app import app
from workers.dispatcher.election import Election
from workers.dispatcher.messages import Publisher, look
from workers.dispatcher.turn import Turn
from workers.prune import Pruner

log = structlog.get_logger()

POLL = 1.0
BUSY_POLL = 0.01
CAMPAIGN_INTERVAL = 1.0
PAUSE = 0.5


class Dispatcher:
    """One dispatcher process; any number of them may run."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = tuple(queues)
        self._stop = Event()

    def stop(self) -> None:
        """End after the current turn."""
        self._stop.set()

    def run(self) -> None:
        """Dispatch until stopped, whatever fails meanwhile."""
        while not self._stop.is_set():
            try:
                self._serve()
            except SQLAlchemyError as error:
                log.warning("dispatcher_without_database", error=type(error).__name__)
                dispose()
                self._stop.wait(PAUSE)
            except Exception:
                log.exception("dispatcher_failed")
                self._stop.wait(PAUSE)

    def _serve(self) -> None:
        """Serve on one connection for as long as it holds."""
        publisher = Publisher(app, handlers())
        with engine().connect() as connection:
            connection.detach()
            election = Election(connection, self._queues)
            turn = Turn(connection, get_settings(), handlers(), publisher.publish)
            pruner = Pruner(connection, get_settings())
            campaigned_at = 0.0
            while not self._stop.is_set():
                if time.monotonic() - campaigned_at >= CAMPAIGN_INTERVAL:
                    campaigned_at = time.monotonic()
                    self._campaign(election, turn)
                self._wait(election.held, self._turn(turn, election.held, publisher))
                if election.held:
                    pruner.turn()

    def _campaign(self, election: Election, turn: Turn) -> None:
        for queue in election.campaign():
            log.info("queue_won", queue=queue)
            turn.win(queue)

    def _turn(self, turn: Turn, held: Sequence[str], publisher: Publisher) -> float:
        """One turn at every queue held. Returns how long to wait for the next one."""
        for queue in held:
            turn.keep_up(queue)
        try:
            waiting = look(held) if held else {}
            busy = [turn.dispatch(queue, waiting[queue]) for queue in held]
        except (RedisError, OSError, *app.connection_for_write().connection_errors) as error:
            log.warning("dispatcher_without_redis", error=type(error).__name__)
            publisher.close()
            return PAUSE
        if any(busy):
            return BUSY_POLL
        due = turn.next_due(held) if held else None
        return POLL if due is None else min(POLL, max(due, BUSY_POLL))

    def _wait(self, held: Sequence[str], seconds: float) -> None:
        if held:
            doorbell.wait(held, seconds)
        else:
            self._stop.wait(seconds)
