"""What the parent of a pool says to Postgres: it holds no connection, which every child forked later would inherit.

Each of these opens one for a statement and closes it again. Should Postgres be away, leases tell the same, later.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import lease, lifecycle
from models.lifecycle import Hint
from models.session import dispose, statement

log = structlog.get_logger()

UNKNOWN_KIND_PAUSE = timedelta(seconds=1)
"""How long jobs wait that came to a worker which does not know their kind, and may come to it again."""


def abandon(hints: Sequence[Hint], worker: str) -> None:
    """A child died: let go at once of what it held."""
    _tell("lost_worker_not_told", lambda session: lease.abandon(session, [hint.id for hint in hints], worker))


def hand_back(hints: Sequence[Hint]) -> None:
    """These jobs cannot be performed here: have them dispatched again a little later."""
    _tell("jobs_not_handed_back", lambda session: lifecycle.withdraw(session, hints, UNKNOWN_KIND_PAUSE))


def _tell(failure: str, say: Callable[[Session], object]) -> None:
    try:
        with statement() as session:
            say(session)
    except SQLAlchemyError as error:
        log.warning(failure, error=type(error).__name__)
    finally:
        dispose()
