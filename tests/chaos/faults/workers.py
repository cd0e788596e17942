"""Workers: killed, frozen, restarted in order and out of it, struck at marked points, with a wrong clock."""

import os
import signal
import time
from contextlib import suppress
from functools import partial

import psutil

from tests.chaos import points
from tests.chaos.faults import Course, DidNotHappen, fault
from tests.chaos.field import Field
from tests.chaos.fleet import Member, off_by

REACH_DEADLINE = 20.0
STOP_DEADLINE = 45.0
AN_HOUR = 3600


@fault("workers", alone=True)
def kill_worker(field: Field) -> Course:
    """kill -9 of a worker's main process; its children die with it, its jobs are running elsewhere in time."""
    field.burst()
    worker = yield from field.until(partial(_a_busy, field), 20, "no worker has anything to do")
    worker.signal(signal.SIGKILL)
    killed = time.monotonic()
    yield from field.until(lambda: worker.returncode == -signal.SIGKILL, 5, "the worker did not die")
    # What it still holds now that it is dead; a little earlier, some of its jobs might just have been about to end.
    held = field.rows(_HELD, node=f"{worker.name}@%")
    if not held:
        raise DidNotHappen(f"{worker.name} died with nothing in its hands")
    ids, tokens = [row.id for row in held], [row.lease_token for row in held]
    taken = partial(field.scalar, _TAKEN_OVER, ids=ids, tokens=tokens)
    yield from field.recovery("a killed worker's jobs run again", 30, taken, killed)


def _a_busy(field: Field) -> Member | None:
    """A living worker that performs something right now."""
    nodes = {row.worker.partition("@")[0] for row in field.rows(_HELD, node="%")}
    busy = [worker for worker in field.fleet.workers if worker.name in nodes and worker.alive]
    return field.a_living(busy) if busy else None


_HELD = "SELECT id, lease_token, worker FROM jobs WHERE state = 'running' AND worker LIKE :node"

_TAKEN_OVER = """
    SELECT count(*) = 0 FROM jobs JOIN unnest(CAST(:ids AS uuid[]), CAST(:tokens AS uuid[])) AS held (id, token)
        USING (id) WHERE jobs.lease_token = held.token OR jobs.state IN ('scheduled', 'ready', 'dispatched')
"""


@fault("pool")
def kill_pool_child(field: Field) -> Course:
    """kill -9 of one process of a pool, under whatever it performs."""
    worker = field.a_living([member for member in field.fleet.workers if member.name != "worker-threads"])
    children = yield from field.until(worker.children, 10, f"{worker.name} has no pool")
    child = field.draw(children)
    _signal(child, signal.SIGKILL)
    yield from field.until(lambda: child not in worker.children(), 5, "the child did not die")


@fault("workers")
def freeze_worker(field: Field) -> Course:
    """SIGSTOP of a worker and its pool until its leases have run out, then SIGCONT: the sleepers wake as zombies."""
    worker = field.a_living(field.fleet.workers)
    worker.signal_all(signal.SIGSTOP)
    yield from field.until(lambda: stopped(worker.pid), 5, "the worker was not stopped")
    yield field.scale.lease + 2
    worker.signal_all(signal.SIGCONT)


@fault("pool")
def freeze_pool_child(field: Field) -> Course:
    """SIGSTOP of one process of a pool for longer than a lease."""
    worker = field.a_living([member for member in field.fleet.workers if member.name != "worker-threads"])
    children = yield from field.until(worker.children, 10, f"{worker.name} has no pool")
    child = field.draw(children)
    _signal(child, signal.SIGSTOP)
    yield from _wake_after(field, child)


@fault("restarts")
def rolling_restart(field: Field) -> Course:
    """SIGTERM to one worker after the other while jobs keep coming; each must end in order by itself."""
    for worker in list(field.fleet.workers):
        if worker.alive and worker.name not in field.fleet.held:
            yield from _stopped(field, worker)


def _stopped(field: Field, worker: Member) -> Course:
    field.fleet.held.add(worker.name)
    try:
        worker.signal(signal.SIGTERM)
        yield from field.until(lambda: not worker.alive, STOP_DEADLINE, f"{worker.name} did not stop")
    finally:
        field.fleet.held.discard(worker.name)


@fault("workers")
def restart_cut_short(field: Field) -> Course:
    """SIGTERM, and SIGKILL before it can have finished: what an impatient supervisor does."""
    worker = field.a_living(field.fleet.workers)
    worker.signal(signal.SIGTERM)
    yield field.rng.uniform(0.02, 0.6)
    worker.signal_all(signal.SIGKILL)
    yield from field.until(lambda: not worker.alive, 5, "the worker did not die")


@fault("restarts")
def worker_clock_an_hour_off(field: Field) -> Course:
    """A worker is replaced by one whose clock is an hour fast or slow, and later by a right one."""
    worker = field.a_living(field.fleet.workers)
    right = worker.environment
    worker.environment = {**right, **off_by(field.draw([AN_HOUR, -AN_HOUR]))}
    yield from _stopped(field, worker)
    yield from field.until(lambda: _has_claimed(field, worker), 30, "no job was claimed by a wrong clock")
    worker.environment = right
    yield from _stopped(field, worker)


def _has_claimed(field: Field, worker: Member) -> bool:
    names = {f"%:{child}" for child in (worker.pid, *worker.children())}
    return bool(field.scalar("SELECT EXISTS (SELECT FROM jobs WHERE worker LIKE ANY(:names))", names=list(names)))


def strike(point: str, action: str, field: Field) -> Course:
    """Arm the point and wait for somebody to come by."""
    field.fleet.points.arm(point, action)
    try:
        pid = yield from field.until(lambda: field.fleet.points.reached(point), REACH_DEADLINE, f"nobody at {point}")
    finally:
        field.fleet.points.disarm(point)
    if action == points.FREEZE:
        yield from _wake_after(field, pid)


def _wake_after(field: Field, pid: int) -> Course:
    """Let the frozen process sleep until its leases have run out. Whoever kills it meanwhile does no harm to that."""
    yield from field.until(lambda: stopped(pid), 5, "the process was not stopped")
    yield field.scale.lease + 2
    with suppress(DidNotHappen):
        _signal(pid, signal.SIGCONT)


for _point in points.IN_WORKERS:
    fault(f"point {_point}", name=f"kill_{_point}")(partial(strike, _point, points.KILL))
for _point in ("after_claim", "after_perform", "before_record"):
    fault(f"point {_point}", name=f"freeze_{_point}")(partial(strike, _point, points.FREEZE))


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise DidNotHappen(f"the process {pid} is gone") from error


def stopped(pid: int) -> bool:
    """Whether the process is frozen now."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess as error:
        raise DidNotHappen(f"the process {pid} is gone") from error
