"""Postgres: restarted in order and by force, its connections ended, frozen, out of disk."""

import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Timer

from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.faults import Course, DidNotHappen, fault
from tests.chaos.field import Field

AWAY = 1.0
FULL = 3.0
BLOCK = 1 << 20


def _restart(mode: str, field: Field) -> Course:
    postgres = field.fleet.postgres
    field.fleet.held.add("postgres")
    try:
        postgres.stop(mode)
        yield AWAY
        postgres.start()
    finally:
        field.fleet.held.discard("postgres")
    back = time.monotonic()
    since = yield from field.until(field.now, 10, "Postgres does not tell the time")
    accepted = partial(field.journal.first_answer_after, back)
    yield from field.recovery("Postgres is back, the API accepts", 10, accepted, back)
    yield from field.recovery("Postgres is back, a job begins", 10, partial(field.moved_to, "running", since), back)


fault("postgres", name="restart_postgres_fast", alone=True)(partial(_restart, "fast"))
fault("postgres", name="restart_postgres_immediate", alone=True)(partial(_restart, "immediate"))


@fault("postgres")
def terminate_connections(field: Field) -> Course:
    """Every session is ended from within, in the middle of whatever it does."""
    ended = field.scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    if not ended:
        raise DidNotHappen("nobody was connected")
    yield 0


@fault("postgres")
def freeze_postgres(field: Field) -> Course:
    """SIGSTOP of the server and all its sessions; leases run on meanwhile."""
    pids = list(field.fleet.pids(field.fleet.postgres))
    # The harness itself may be waiting for an answer of the frozen server when it is to wake it.
    alarm = Timer(field.scale.freeze, _signal, (pids, signal.SIGCONT))
    _signal(pids, signal.SIGSTOP)
    alarm.start()
    yield field.scale.freeze
    alarm.join()


@fault("postgres", needs_disk=True)
def fill_the_disk(field: Field) -> Course:
    """The file system under Postgres has no byte left for a while; Postgres may panic, and is started again."""
    assert field.fleet.disk is not None
    balloon = field.fleet.disk / "balloon"
    try:
        _fill(balloon)
        yield from field.until(partial(_refuses, field), 10, "Postgres still had room")
        yield FULL
    finally:
        balloon.unlink(missing_ok=True)


def _fill(balloon: Path) -> None:
    with suppress(OSError), balloon.open("wb", buffering=0) as file:
        for size in (BLOCK, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def _refuses(field: Field) -> bool:
    """Whether Postgres cannot make a table a few pages larger, or is already down for want of room."""
    try:
        with field.fleet.engine.begin() as connection:
            connection.exec_driver_sql(_BALLAST)
    except SQLAlchemyError:
        return True
    return False


_BALLAST = "CREATE TEMP TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)"


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
