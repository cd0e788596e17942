"""The negative controls: runs without one guard each, under the faults that it is for. Each must be found out."""

from dataclasses import dataclass, replace

from tests.chaos.orders import USUAL, Mix
from tests.chaos.plan import CONTROL, Scale


@dataclass(frozen=True)
class Control:
    """Which guard of `sabotage` is taken away, what happens then, and what must be counted."""

    sabotage: str
    faults: tuple[str, ...]
    mix: Mix
    scale: Scale
    betrayed_by: str
    """The invariant that must be violated; others may be, too."""


CONTROLS = {
    control.sabotage: control
    for control in (
        Control(
            "fencing",
            ("freeze_after_perform", "freeze_before_record"),
            Mix(0, {"chaos.steady": 1}, {"keyed": 1}, {"default": 1}, looks_per_second=0),
            replace(CONTROL, rate=0.6, storm=14, faults=6),
            "endings written by an attempt that had lost its lease",
        ),
        Control(
            "claims",
            ("duplicate_messages", "replay_messages"),
            USUAL,
            CONTROL,
            "dispatches that were claimed twice",
        ),
        Control(
            "publish",
            (),
            USUAL,
            replace(CONTROL, quiet=14, storm=0, faults=0),
            "messages lost without a fault",
        ),
    )
}
