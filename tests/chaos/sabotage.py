"""Sabotage: the engine without one of its guards, for the negative controls. What it breaks must be counted."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from models import Job, lifecycle
from models.lifecycle import Hint
from workers.dispatcher.turn import Turn

VARIABLE = "CHAOS_SABOTAGE"


def without_fencing() -> None:
    """An attempt may end a job that another holds by now."""
    record = _replaced(lifecycle._RECORD, "AND jobs.lease_token = ending.token", "")
    # The key of `attempts` is a second fence; who does not know of tokens would not run into it.
    own, holders = "RETURNING jobs.id, ending.token,", "RETURNING jobs.id, OLD.lease_token AS token,"
    lifecycle._RECORD = _replaced(record, own, holders)


def with_unguarded_claims() -> None:
    """A message is an order: whoever reads one takes the job, in whatever state it is."""
    lifecycle._CLAIM = _replaced(
        lifecycle._CLAIM,
        "AND jobs.epoch = hint.epoch AND jobs.state || '' = 'dispatched'",
        "AND jobs.state || '' IN ('ready', 'dispatched', 'running')",
    )


def with_publish_before_commit() -> None:
    """A message leaves before the row says `dispatched`: a quick worker finds nothing to claim."""
    mark, send, unmarked = lifecycle.dispatch, Turn._send, {}

    def predict(session: Session, ids: Sequence[UUID], lease: timedelta) -> dict[UUID, Hint]:
        rows = session.execute(select(Job.id, Job.epoch).where(Job.id.in_(ids), Job.state == "ready"))
        hints = {row.id: Hint(row.id, row.epoch + 1) for row in rows}
        unmarked.update(dict.fromkeys(hints, lease))
        return hints

    def send_first(self: Turn, queue: str, marked: Sequence[tuple[Any, list[Hint]]]) -> None:
        send(self, queue, marked)
        time.sleep(0.05)  # as long as a commit may take
        ids = [hint.id for _, hints in marked for hint in hints]
        if ids:
            with self._session() as session:
                mark(session, ids, unmarked[ids[0]])
        unmarked.clear()

    lifecycle.dispatch, Turn._send = predict, send_first


SABOTAGES: dict[str, Callable[[], None]] = {
    "fencing": without_fencing,
    "claims": with_unguarded_claims,
    "publish": with_publish_before_commit,
}


def install() -> None:
    """Break what the environment says, if anything."""
    if name := os.environ.get(VARIABLE):
        SABOTAGES[name]()


def _replaced(statement: TextClause, guard: str, by: str) -> TextClause:
    lines = " ".join(statement.text.split())
    assert lines.count(guard) == 1, f"the guard {guard!r} has moved: sabotage something else"
    broken = text(lines.replace(guard, by))
    return broken.bindparams(*(bind for name, bind in statement._bindparams.items()))
