"""Record: write down how attempts ended, many at a time, with the child jobs of those that succeeded."""

import time
from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import lifecycle
from models.job import State
from models.session import DATABASE_AWAY, statement, transaction
from workers.attempt.chunk import Chunk, Done
from workers.attempt.outcome import unrecordable
from workers.wakeup import doorbell
from workers.wakeup.announce import announce

log = structlog.get_logger()

RETRY_PAUSE = 0.5
OTHER_THREAD_PAUSE = 0.005


def flush(chunk: Chunk) -> None:
    """Record what has ended. Raises one of `DATABASE_AWAY` when Postgres is; nothing is forgotten then."""
    done = chunk.take_done()
    if not done:
        return
    try:
        recorded, rung = _write_each_if_need_be(done)
    except BaseException:
        chunk.put_back(done)
        raise
    chunk.recorded(done)
    announce(recorded)
    if rung:
        doorbell.ring(rung)


def flush_all(chunk: Chunk) -> None:
    """Record what has ended however long Postgres is away: the work is done, only this knowledge is missing.

    What the keeper records at the same time is waited for: should that fail, it is ours again. Should another attempt
    have taken a job meanwhile, its token has changed and our ending is void.
    """
    while not chunk.settled:
        try:
            flush(chunk)
        except DATABASE_AWAY as error:
            log.warning("recording_delayed", error=type(error).__name__)
            time.sleep(RETRY_PAUSE)
        else:
            if not chunk.settled:
                time.sleep(OTHER_THREAD_PAUSE)


def _write_each_if_need_be(done: Sequence[Done]) -> tuple[set[UUID], set[str]]:
    """Record all together; if Postgres refuses that, one by one, so that only what it refuses fails."""
    try:
        return _write(done)
    except DATABASE_AWAY:
        raise
    except SQLAlchemyError as error:
        if len(done) == 1:
            log.exception("ending_refused", job=str(done[0].ending.id))
            return _write([done[0]._replace(ending=unrecordable(done[0].ending, error), children=())])
        answers = [_write_each_if_need_be([item]) for item in done]
        return set().union(*(ids for ids, _ in answers)), set().union(*(queues for _, queues in answers))


def _write(done: Sequence[Done]) -> tuple[set[UUID], set[str]]:
    with transaction() if any(item.children for item in done) else statement() as session:
        recorded = lifecycle.record(session, [item.ending for item in done])
        rung = _enqueue_children(session, [item for item in done if item.ending.id in recorded])
    for item in done:
        if item.ending.id not in recorded:
            log.warning("attempt_had_lost_its_job", job=str(item.ending.id), attempt=str(item.ending.token))
    return recorded, rung


def _enqueue_children(session: Session, done: Sequence[Done]) -> set[str]:
    """Returns the queues in which something is due now."""
    parents = [item for item in done if item.children and item.ending.state is State.SUCCEEDED]
    rung: set[str] = set()
    for app_id, items in groupby(sorted(parents, key=lambda item: item.app_id), key=lambda item: item.app_id):
        children = [child for item in items for child in item.children]
        lifecycle.insert(session, app_id, children)
        rung.update(child.queue for child in children)
    return rung
