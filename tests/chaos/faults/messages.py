"""Messages: doubled, reordered, replayed late, lost; a ring that nobody hears; a kind that an old worker knows not."""

import signal
from functools import partial

from tests.chaos import points
from tests.chaos.faults import Course, DidNotHappen, fault
from tests.chaos.faults.workers import strike
from tests.chaos.field import Field

QUEUES = ("default", "integrations", "payments")
CAPTURE_DEADLINE = 90.0
DEPLOY_DEADLINE = 120.0


@fault("messages")
def duplicate_messages(field: Field) -> Course:
    """What waits in Redis waits there three times."""
    queue, messages = yield from _captured(field)
    field.redis.lpush(queue, *messages, *messages)


@fault("messages")
def reorder_messages(field: Field) -> Course:
    """What waits in Redis waits in the opposite order."""
    queue, messages = yield from _captured(field, least=2)
    pipe = field.redis.pipeline(transaction=True)
    pipe.lrange(queue, 0, -1)
    for message in messages:
        pipe.lrem(queue, 1, message)
        pipe.lpush(queue, message)
    pipe.execute()


@fault("messages")
def replay_messages(field: Field) -> Course:
    """What waited in Redis comes once more when it has long been done."""
    queue, messages = yield from _captured(field)
    yield field.scale.dispatch_lease
    yield from field.until(lambda: field.redis.lpush(queue, *messages), CAPTURE_DEADLINE, "Redis did not take them")


@fault("messages")
def lose_messages(field: Field) -> Course:
    """What waits in Redis is gone, and nothing tells of it."""
    queue, messages = yield from _captured(field)
    pipe = field.redis.pipeline(transaction=True)
    for message in messages:
        pipe.lrem(queue, 1, message)
    if not sum(pipe.execute()):
        raise DidNotHappen("the messages were taken before they could be lost")


def _captured(field: Field, least: int = 1) -> Course:
    """Messages that wait, seen while a burst of jobs keeps the workers busy."""
    if not _waiting(field, least):
        field.burst()
    found = yield from field.until(lambda: _waiting(field, least), CAPTURE_DEADLINE, "no message ever waited")
    return found


def _waiting(field: Field, least: int) -> tuple[str, list[bytes]] | None:
    for queue in QUEUES:
        messages = field.redis.lrange(queue, 0, -1)
        if len(messages) >= least:
            return queue, messages
    return None


@fault("bell")
def lose_a_ring(field: Field) -> Course:
    """A submission is stored and its ring lost: the dispatcher finds it at its next look."""
    yield from strike(points.RING, points.SKIP, field)


@fault("deploy")
def unknown_kind(field: Field) -> Course:
    """A new worker beside old ones that do not know its kind; all jobs of it are performed, those from before too."""
    yield from field.submit("chaos.new")
    field.fleet.held.discard("newcomer")
    worker = field.fleet.add_worker("newcomer", "default", "-c", "1", CHAOS_NEW_KIND="1")
    yield from field.submit("chaos.new")
    yield from field.submit("chaos.new")
    try:
        performed = partial(field.scalar, _PERFORMED)
        yield from field.until(performed, DEPLOY_DEADLINE, "the kind was not performed")
    finally:
        field.fleet.held.add(worker.name)
        worker.signal(signal.SIGTERM)
    yield from field.until(lambda: not worker.alive, DEPLOY_DEADLINE, "the new worker did not stop")
    field.fleet.remove(worker.name)


# All of them: those of an earlier try, too, which nobody else could perform.
_PERFORMED = """
    SELECT count(*) = 0 FROM jobs
    WHERE kind = 'chaos.new' AND state IN ('scheduled', 'ready', 'dispatched', 'running')
"""
