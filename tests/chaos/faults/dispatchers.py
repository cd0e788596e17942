"""Dispatchers: the active one killed, frozen, stopped, struck between what it writes and what it publishes."""

import signal
import time
from functools import partial

import psutil

from tests.chaos import points
from tests.chaos.faults import Course, DidNotHappen, fault
from tests.chaos.faults.workers import stopped, strike
from tests.chaos.field import Field
from tests.chaos.fleet import Member

FROZEN = 7
"""Seconds: longer than Postgres waits for a silent dispatcher."""

_HOLDER = """
    SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND granted LIMIT 1
"""


@fault("dispatchers", alone=True)
def kill_dispatcher(field: Field) -> Course:
    """kill -9 of the dispatcher that holds the queues; the standby takes over."""
    active = yield from _active(field)
    active.signal(signal.SIGKILL)
    killed = time.monotonic()
    yield from field.until(lambda: active.returncode == -signal.SIGKILL, 5, "the dispatcher did not die")
    since = yield from field.until(field.now, 10, "Postgres does not tell the time")
    yield from field.recovery("another dispatcher dispatches", 5, partial(field.moved_to, "dispatched", since), killed)


@fault("dispatchers")
def freeze_dispatcher(field: Field) -> Course:
    """SIGSTOP of the active dispatcher for longer than Postgres bears its silence; then it wakes, and has lost."""
    active = yield from _active(field)
    active.signal(signal.SIGSTOP)
    yield from field.until(lambda: stopped(active.pid), 5, "the dispatcher was not stopped")
    yield FROZEN
    active.signal(signal.SIGCONT)


@fault("dispatchers")
def stop_dispatcher(field: Field) -> Course:
    """SIGTERM to the active dispatcher: it ends after its turn."""
    active = yield from _active(field)
    active.signal(signal.SIGTERM)
    yield from field.until(lambda: not active.alive, 20, "the dispatcher did not stop")


@fault("dispatchers")
def kill_all_dispatchers(field: Field) -> Course:
    """Nobody dispatches until one of them is started again."""
    for dispatcher in field.fleet.dispatchers:
        if dispatcher.alive:
            dispatcher.signal(signal.SIGKILL)
    yield 0.1


def _active(field: Field) -> Course:
    """The dispatcher whose connection holds the queues' locks."""
    port = yield from field.until(partial(field.scalar, _HOLDER), 20, "no dispatcher holds a queue")
    for dispatcher in field.fleet.dispatchers:
        if dispatcher.alive and port in _ports(dispatcher):
            return dispatcher
    raise DidNotHappen("the holder of the locks is gone")


def _ports(member: Member) -> set[int]:
    return {connection.laddr.port for connection in psutil.Process(member.pid).net_connections("tcp")}


for _point in points.IN_DISPATCHERS:
    fault(f"point {_point}", name=f"kill_{_point}")(partial(strike, _point, points.KILL))
