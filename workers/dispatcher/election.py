"""Which dispatcher is active for which queue: whoever holds the queue's advisory lock in Postgres.

The locks live and die with the one connection on which the holder also does all its writing. A holder that dies, or is
frozen long enough for Postgres to end its idle session, loses its locks and its next statement fails.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

_TRY = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
_LIMITS = text(
    "SELECT set_config('idle_session_timeout', :limit, false),"
    " set_config('idle_in_transaction_session_timeout', :limit, false)"
)

FROZEN = "5s"
"""A dispatcher that says nothing for this long has lost its queues."""


class Election:
    """The queues this dispatcher holds, of those it may hold."""

    def __init__(self, connection: Connection, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = tuple(queues)
        self.held: tuple[str, ...] = ()
        with connection.begin():
            connection.execute(_LIMITS, {"limit": FROZEN})

    def campaign(self) -> tuple[str, ...]:
        """Try for every queue not held yet. Returns those that were won just now."""
        won = tuple(queue for queue in self._queues if queue not in self.held and self._try(queue))
        self.held += won
        return won

    def _try(self, queue: str) -> bool:
        with self._connection.begin():
            return bool(self._connection.scalar(_TRY, {"name": f"mainstay:dispatcher:{queue}"}))
