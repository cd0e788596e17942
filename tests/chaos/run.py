"""One run, from an empty folder to a verdict."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from models import App
from models.session import dispose, transaction
from tasks import QUEUES
from tests.chaos import audit
from tests.chaos.director import Director
from tests.chaos.faults import FAULTS, Fault, load_all
from tests.chaos.field import Field, Recovery
from tests.chaos.fleet import Fleet, sabotaged
from tests.chaos.invariants import Charge, Count, End, count, ends, read_charges
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.orders import USUAL, Mix
from tests.chaos.plan import Scale, measured, storm
from tests.chaos.sink import read_effects
from workers import keys

SETTLE = 2.0
LIVE = "SELECT count(*) FROM jobs WHERE state IN ('scheduled', 'ready', 'dispatched', 'running')"


@dataclass(frozen=True)
class Order:
    """What is wanted of a run."""

    seed: int
    scale: Scale
    faults: tuple[str, ...] = ()
    """Names; none means all."""
    mix: Mix = USUAL
    sabotage: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    order: Order
    planned: Counter[str]
    happened: Counter[str]
    missed: list[str]
    unmeasured: list[str]
    recoveries: list[Recovery]
    counts: list[Count]
    ends: list[End]
    submitted: int
    effects: int
    charges: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every promise was kept, every kind of fault happened, and all recoveries were measured and in time.

        A repetition may be in vain, when what it was to harm is away each time.
        """
        kept = not any(count.violated for count in self.counts)
        happened = all(self.happened[name] for name in self.planned) and not self.unmeasured
        return kept and happened and all(recovery.seconds <= recovery.target for recovery in self.recoveries)


def run(order: Order, folder: Path, disk: Path | None, say: Callable[[str], None]) -> Verdict:
    """Start everything, do harm, wait for the last job, count."""
    load_all()
    rng = random.Random(order.seed)
    began = time.monotonic()
    with Fleet(folder, _environment(order), disk) as fleet:
        audit.install(fleet.engine)
        journal = Journal()
        load = Load(fleet.api_url, _key(), fleet.sink_url, journal, order.seed, order.scale.rate, order.mix)
        director = Director(fleet, rng, say)
        field = Field(fleet, load, journal, order.scale, rng, lambda: director.undisturbed)
        load.start()
        try:
            quiet = _harm(order, director, field, say)
        finally:
            load.stop()
        fleet.heal()
        say(f"{time.monotonic() - began:7.1f} s  no more faults: waiting for the last job")
        _drain(director, field)
        counts, reached = _count(field, quiet)
        return Verdict(
            order, director.planned, director.happened, director.missed, director.unmeasured,
            field.recoveries, counts, reached,
            load.submitted, len(read_effects(fleet.effects)), len(_charges(fleet)), time.monotonic() - began,
        )  # fmt: skip


def _environment(order: Order) -> dict[str, str]:
    return {
        "MAINSTAY_LEASE_SECONDS": str(order.scale.lease),
        "MAINSTAY_DISPATCH_LEASE_SECONDS": str(order.scale.dispatch_lease),
        **sabotaged(order.sabotage),
    }


def _key() -> str:
    with transaction() as session:
        session.add(App(name="chaos"))
        session.flush()
        secret = keys.create(session, "chaos", "load", keys.APP_SCOPES).secret
    dispose()
    return secret


def _harm(
    order: Order, director: Director, field: Field, say: Callable[[str], None]
) -> list[tuple[datetime, datetime]]:
    """Peace, then each measured fault by itself, then the storm. Returns the span of peace."""
    chosen = _possible(order, field.fleet, say)
    since = field.now()
    director.wait(order.scale.quiet)
    peace = (since, field.now())
    director.one_by_one(measured(chosen, order.scale, field.rng), field, SETTLE)
    director.storm(storm(chosen, order.scale, field.rng), field)
    return [peace]


def _possible(order: Order, fleet: Fleet, say: Callable[[str], None]) -> list[Fault]:
    wanted = [fault for name, fault in sorted(FAULTS.items()) if name in order.faults or not order.faults]
    if order.scale.storm == 0:
        return []
    possible = [fault for fault in wanted if fleet.disk is not None or not fault.needs_disk]
    for fault in wanted:
        if fault not in possible:
            say(f"not possible here: {fault.name} needs a file system for Postgres, which only root can mount")
    return possible


def _drain(director: Director, field: Field) -> None:
    """Until no job is live and no message waits, or time is up: then what is left is counted."""
    deadline = time.monotonic() + field.scale.drain
    while time.monotonic() < deadline:
        director.wait(0.5)
        with suppress(SQLAlchemyError, RedisError):
            if not field.scalar(LIVE) and not any(_waiting(field).values()):
                return


def _waiting(field: Field) -> dict[str, int]:
    """The length of every queue in Redis."""
    return {queue: int(field.redis.llen(queue)) for queue in QUEUES}


def _count(field: Field, quiet: list[tuple[datetime, datetime]]) -> tuple[list[Count], list[End]]:
    effects = read_effects(field.fleet.effects)
    with field.fleet.engine.begin() as connection:
        counts = count(
            connection, field.journal, effects, _charges(field.fleet),
            messages=_waiting(field), quiet=quiet, late=timedelta(seconds=field.scale.late),
        )  # fmt: skip
        return [*counts, _undeserved(field)], ends(connection)


def _charges(fleet: Fleet) -> list[Charge]:
    return read_charges(fleet.folder / "sandbox" / "payments.sqlite3")


def _undeserved(field: Field) -> Count:
    """Jobs that misbehaved and did not end as they deserved."""
    rows = field.rows("SELECT id, kind, state, error FROM jobs WHERE id = ANY(:ids)", ids=list(field.expected))
    wrong = [f"{row.id}: {row.kind} is {row.state}, {row.error}" for row in rows if not field.expected[row.id](row)]
    return Count("misbehaving jobs that ended otherwise than they deserve", 0, len(wrong), wrong)
