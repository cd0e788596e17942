"""Marked points: places in the engine's own processes at which one of them can be killed or frozen from outside.

The harness arms a point by a file; the first process that comes by takes the file, which only one can, and does to
itself what stands in it. The engine knows nothing of this: the entry points of the chaos processes wrap its functions.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from models import lifecycle
from workers.attempt.chunk import Chunk
from workers.dispatcher.messages import Publisher
from workers.wakeup import doorbell

FOLDER = "CHAOS_POINTS"

IN_WORKERS = (
    "before_claim", "after_claim", "before_perform", "after_perform",
    "before_flush", "before_record", "after_record", "after_flush",
)  # fmt: skip
IN_DISPATCHERS = ("between_mark_and_publish", "after_publish")
IN_API = ("before_commit", "after_commit", "before_answer", "after_answer")
RING = "before_ring"

KILL, FREEZE, SKIP = "kill", "freeze", "skip"


class Points:
    """The harness's side: what is armed, and who was hit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("armed", "reached"):
            (folder / name).mkdir(parents=True)

    def arm(self, point: str, action: str) -> None:
        """The next process that comes to `point` suffers `action`."""
        draft = self._folder / point
        draft.write_text(action)
        draft.rename(self._folder / "armed" / point)

    def disarm(self, point: str) -> None:
        """Nobody came; nobody shall be hit any more."""
        (self._folder / "armed" / point).unlink(missing_ok=True)

    def reached(self, point: str) -> int | None:
        """The process that came to the armed point, once; None as long as there was none."""
        for path in (self._folder / "reached").glob(f"{point}.*"):
            path.unlink()
            return int(path.suffix[1:])
        return None


def install_in_worker() -> None:
    """Mark the way of a message through a worker."""
    lifecycle.claim = _marked(lifecycle.claim, "before_claim", "after_claim")
    lifecycle.record = _marked(lifecycle.record, "before_record", "after_record")
    Chunk.perform = _marked(Chunk.perform, None, "before_perform")
    Chunk.end = _marked(Chunk.end, "after_perform", None)
    Chunk.take_done = _marked(Chunk.take_done, "before_flush", None)
    Chunk.recorded = _marked(Chunk.recorded, None, "after_flush")


def install_in_dispatcher() -> None:
    """Mark what lies between a row that says `dispatched` and its message."""
    Publisher.publish = _marked(Publisher.publish, "between_mark_and_publish", "after_publish")


def install_in_api() -> None:
    """Mark the commit of a submission and the ring after it; the way of its answer is marked by the app.

    Before the commit all of it must be written, and after it nothing may be missing, such as the answer for whoever
    sends it again.
    """
    lifecycle.insert = _noted(lifecycle.insert)
    for point in ("before_commit", "after_commit"):
        event.listen(Session, point, partial(_of_a_submission, point))
    doorbell._push = _marked(doorbell._push, RING, None)


def _noted(insert: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(insert)
    def noted(session: Session, *args: Any) -> Any:
        session.info["submits"] = True
        return insert(session, *args)

    return noted


def _of_a_submission(point: str, session: Session) -> None:
    if session.info.get("submits"):
        reach(point)


def reach(point: str) -> bool:
    """Suffer what was armed for this point, if anything. Returns whether to skip what comes next."""
    folder = os.environ[FOLDER]
    reached = f"{folder}/reached/{point}.{os.getpid()}"
    try:
        os.rename(f"{folder}/armed/{point}", reached)  # noqa: PTH104  # on the way of every job: no object for it
    except FileNotFoundError:
        return False
    action = Path(reached).read_text()
    if action != SKIP:
        os.kill(os.getpid(), signal.SIGKILL if action == KILL else signal.SIGSTOP)
        time.sleep(0.01)  # A signal may take its time to arrive; nothing more must happen before it.
    return action == SKIP


def _marked(function: Callable[..., Any], before: str | None, after: str | None) -> Callable[..., Any]:
    @wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        if before and reach(before):
            return None
        answer = function(*args, **kwargs)
        if after:
            reach(after)
        return answer

    return marked
