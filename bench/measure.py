"""What a benchmark answers: values of one measure per round, ours beside the peer's, and their ratio."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Series:
    """One side's values, a value per round."""

    name: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def document(self) -> dict[str, Any]:
        """The series as JSON."""
        return {"name": self.name, "median": self.median, "values": list(self.values)}


@dataclass(frozen=True)
class Comparison:
    """One measure: ours, the peer's if there is one, and what to reach."""

    measure: str
    unit: str
    ours: Series
    peer: Series | None = None
    reach: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> Series | None:
        """Ours by the peer's, round by round: neighbours in time share the machine's mood."""
        if self.peer is None:
            return None
        pairs = zip(self.ours.values, self.peer.values, strict=True)
        return Series("ratio", [ours / peer for ours, peer in pairs])

    def document(self) -> dict[str, Any]:
        """The comparison as JSON."""
        ratio = self.ratio
        return {
            "measure": self.measure, "unit": self.unit, "reach": self.reach, "ours": self.ours.document(),
            "peer": self.peer and self.peer.document(), "ratio": ratio and ratio.document(), "notes": dict(self.notes),
        }  # fmt: skip


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Series]:
    """Measure every side once per round, one after the other; each after one round that does not count."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for measure in sides.values():
        measure()
    for _ in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure())
    return {name: Series(name, measured) for name, measured in values.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
