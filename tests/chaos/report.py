"""Report: what a run did and what was counted, as plain tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from tests.chaos.field import Recovery
from tests.chaos.invariants import Count
from tests.chaos.run import Verdict


def show(verdict: Verdict) -> str:
    """Everything that was counted, the verdict last."""
    tables = [
        table("Run", ("what", "how much"), _run(verdict)),
        table("Faults", ("kind", "planned", "happened", ""), _faults(verdict)),
        table("Recoveries", ("what", "measured", "within", "median", "worst", ""), _recoveries(verdict.recoveries)),
        table("Ends", ("kind", "state", "reason", "jobs"), verdict.ends),
        table("Invariants", ("what must not be", "expected", "found", ""), map(_count, verdict.counts)),
    ]
    violated = [
        "\n".join([f"{count.name}:", *(f"  {line}" for line in count.examples)])
        for count in verdict.counts
        if count.violated
    ]
    vain = [*verdict.missed, *verdict.unmeasured]
    missed = ["\n".join(["Tried in vain:", *(f"  {line}" for line in vain)])] if vain else []
    return "\n\n".join([*tables, *missed, *violated, "PASSED" if verdict.passed else "FAILED"])


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as their widest cell, numbers to the right; a row without numbers at its end is cut short."""
    values = [list(row) for row in rows]
    lines = [list(heads), *([_cell(value) for value in row] for row in values)]
    columns = range(len(heads))
    widths = [max(len(line[column]) for line in lines) for column in columns]
    right = [all(isinstance(row[column], int | float) for row in values) for column in columns]
    shown = ["  ".join(_aligned(*cell) for cell in zip(line, widths, right, strict=True)).rstrip() for line in lines]
    return "\n".join([title, "-" * (sum(widths) + 2 * len(widths) - 2), *shown])


def _run(verdict: Verdict) -> list[tuple[str, Any]]:
    order = verdict.order
    return [
        ("seed", order.seed),
        ("guard taken away", order.sabotage or "none"),
        ("jobs per second", order.scale.rate),
        ("seconds of storm", order.scale.storm),
        ("seconds in all", verdict.seconds),
        ("jobs accepted", verdict.submitted),
        ("jobs stored", sum(end.jobs for end in verdict.ends)),
        ("faults", verdict.happened.total()),
        ("effects outside", verdict.effects),
        ("charges", verdict.charges),
    ]


def _faults(verdict: Verdict) -> list[tuple[str, int, int, str]]:
    planned, happened = verdict.planned, verdict.happened
    rows = [
        (name, planned[name], happened[name], "OK" if happened[name] else "MISSING")
        for name in sorted(planned | happened)
    ]
    everything = "OK" if all(happened[name] for name in planned) else "MISSING"
    return [*rows, ("all", planned.total(), happened.total(), everything)]


def _recoveries(recoveries: Sequence[Recovery]) -> list[tuple[str, int, float, float, float, str]]:
    seconds: dict[tuple[str, float], list[float]] = defaultdict(list)
    for recovery in recoveries:
        seconds[recovery.name, recovery.target].append(recovery.seconds)
    return [
        (name, len(taken), target, median(taken), max(taken), "OK" if max(taken) <= target else "LATE")
        for (name, target), taken in sorted(seconds.items())
    ]


def _count(count: Count) -> tuple[str, int, int, str]:
    return count.name, count.expected, count.found, "VIOLATED" if count.violated else "OK"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _aligned(cell: str, width: int, right: bool) -> str:  # one of the three facts of a cell
    return cell.rjust(width) if right else cell.ljust(width)
