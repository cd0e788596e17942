"""A wrong clock: what a process takes for the time of day is off by as many seconds as its environment says."""

import os
from datetime import timedelta

import time_machine

VARIABLE = "CHAOS_CLOCK_OFF_BY"


def install() -> None:
    """Shift this process's time of day, for good; how fast time passes stays true."""
    if seconds := float(os.environ.get(VARIABLE, "0")):
        time_machine.travel(timedelta(seconds=seconds), tick=True).start()
