"""Observe: how long the handlers of each kind take, told to the dispatcher about once a second."""

import time
from threading import Lock

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from models import Kind
from models.session import transaction

log = structlog.get_logger()

INTERVAL = 1.0
WEIGHT = 0.5
"""How much a second's observations count against all earlier ones."""


class _Observations:
    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[str, tuple[int, float]] = {}
        self._written_at = 0.0

    def add(self, kind: str, jobs: int, seconds: float) -> dict[str, float]:
        """Returns the means that are due to be written."""
        with self._lock:
            count, total = self._sums.get(kind, (0, 0.0))
            self._sums[kind] = (count + jobs, total + seconds)
            if time.monotonic() - self._written_at < INTERVAL:
                return {}
            self._written_at = time.monotonic()
            means = {name: spent / number for name, (number, spent) in self._sums.items() if number}
            self._sums.clear()
            return means


_observations = _Observations()


def note(kind: str, jobs: int, seconds: float) -> None:
    """Add an observation. Losing one costs nothing but a less fitting chunk."""
    means = _observations.add(kind, jobs, seconds)
    if not means:
        return
    rows = [{"kind": name, "seconds": mean, "observed_at": func.now()} for name, mean in sorted(means.items())]
    statement = insert(Kind).values(rows)
    mean = (1 - WEIGHT) * Kind.seconds + WEIGHT * statement.excluded.seconds
    try:
        with transaction() as session:
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=[Kind.kind], set_={"seconds": mean, "observed_at": func.now()}
                )
            )
    except SQLAlchemyError as error:
        log.warning("observation_lost", error=type(error).__name__)
