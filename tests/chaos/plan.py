"""The plan: which fault happens when, drawn from a seed; the same seed is the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.chaos.faults import Fault


@dataclass(frozen=True)
class Scale:
    """How long things take, in seconds. `storm` begins when every fault of `alone` has been measured."""

    rate: float
    """Jobs per second."""
    quiet: float
    """Without a fault, at the beginning: longer than a dispatch lease."""
    alone: int
    """How often each measured fault happens by itself."""
    storm: float
    faults: int
    """In the storm, at least; every kind happens at least once."""
    at_once: int
    """How many faults go on at the same time, at most: any more wait for another to be over."""
    lease: float
    dispatch_lease: float
    freeze: float
    """How long servers are frozen; `long_freeze` once in a while."""
    long_freeze: float
    drain: float
    """How long the last job may take to end after the storm."""
    late: float = 30
    """After how long at most a job is taken back from the dead. Where dispatchers die every few seconds, no one of them
    lives long enough to do it sooner."""


LANDING = Scale(
    rate=40, quiet=5, alone=1, storm=30, faults=0, at_once=12, lease=4, dispatch_lease=4, freeze=3,
    long_freeze=6, drain=90, late=60,
)  # fmt: skip
LONG = Scale(
    rate=65, quiet=45, alone=3, storm=660, faults=230, at_once=8, lease=20, dispatch_lease=30, freeze=8,
    long_freeze=60, drain=300,
)  # fmt: skip

CONTROL = Scale(
    rate=20, quiet=1, alone=0, storm=12, faults=8, at_once=8, lease=4, dispatch_lease=4, freeze=3,
    long_freeze=3, drain=30,
)  # fmt: skip


class Planned(NamedTuple):
    """One fault, `at` seconds into the storm."""

    at: float
    fault: Fault


def storm(faults: Sequence[Fault], scale: Scale, rng: random.Random) -> list[Planned]:
    """Every fault once, and others at random up to the number wanted, at random moments."""
    drawn = [*faults, *rng.choices(faults, k=max(0, scale.faults - len(faults)))] if faults else []
    return sorted((Planned(rng.uniform(0, scale.storm), fault) for fault in drawn), key=lambda planned: planned.at)


def measured(faults: Sequence[Fault], scale: Scale, rng: random.Random) -> list[Fault]:
    """What happens by itself before the storm, one after the other."""
    drawn = [fault for fault in faults if fault.alone] * scale.alone
    rng.shuffle(drawn)
    return drawn
