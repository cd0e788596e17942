"""Claim: take the jobs of one message, and ask again when Postgres was away and nobody knows whether they were taken.

An epoch is claimed at most once. What is running under this process's name by an epoch of the message was therefore
claimed for this message, even if the answer never came, unless a copy of the message is in hand beside it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from time import monotonic

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import lifecycle
from models.lifecycle import Claim, Hint
from models.session import DATABASE_AWAY, statement
from settings import get_settings
from workers.attempt import stopping

log = structlog.get_logger()

RETRY_PAUSE = 0.5

_lock = Lock()
_messages: dict[int, Sequence[Hint]] = {}
"""What this process has in hand, in the order in which it came."""


@contextmanager
def in_hand(hints: Sequence[Hint]) -> Iterator[None]:
    """Say that this process is at work with these hints."""
    with _lock:
        _messages[id(hints)] = hints
    try:
        yield
    finally:
        with _lock:
            del _messages[id(hints)]


def claim_all(hints: Sequence[Hint], worker: str) -> tuple[list[Claim], float]:
    """What of `hints` could be claimed, and a moment before that.

    Without Postgres it asks again until a dispatch lease has passed or the worker's time to stop is over; after that
    the message is dropped, and its jobs stay dispatched or running until their leases run out. What a copy of the
    message that came earlier is still at work with is that one's, claimed or yet to be claimed.
    """
    since = monotonic()
    lease = get_settings().lease
    hints = _not_of_earlier_messages(hints)
    try:
        with statement() as session:
            return lifecycle.claim(session, hints, worker, lease), since
    except DATABASE_AWAY as error:
        log.warning("claim_delayed", jobs=len(hints), error=type(error).__name__)
        return _ask_again(hints, worker, since)
    except SQLAlchemyError as error:
        log.warning("claim_failed", jobs=len(hints), error=type(error).__name__)
        return [], since


def _ask_again(hints: Sequence[Hint], worker: str, since: float) -> tuple[list[Claim], float]:
    """The claim comes before the question what is ours: should the lost one still be under way, it is waited for."""
    lease = get_settings().lease
    until = since + get_settings().dispatch_lease.total_seconds()
    while since < until and not stopping.overdue():
        time.sleep(RETRY_PAUSE)
        since = monotonic()
        try:
            with statement() as session:
                lifecycle.claim(session, hints, worker, lease)
            with statement() as session:
                return lifecycle.claimed(session, hints, worker, lease), since
        except DATABASE_AWAY:
            continue
    log.warning("claim_failed", jobs=len(hints))
    return [], since


def _not_of_earlier_messages(hints: Sequence[Hint]) -> list[Hint]:
    earlier: set[Hint] = set()
    with _lock:
        for message in _messages.values():
            if message is hints:
                break
            earlier.update(message)
    return [hint for hint in hints if hint not in earlier] if earlier else list(hints)
