"""The armed faults: which call or event each strikes, and how often. They live in memory; a restart disarms them."""

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.books.bank import new_id
from sandbox.faults.kinds import CONTENTS, OPTIONS, SIGNATURES, FaultKind, Group, group_of

WHEN = frozenset({"fault", "endpoint", "nth", "times", "probability", "seed"})
HOUR = 3600.0


@dataclass
class Fault:
    """Strikes the calls from the `nth` on that match `endpoint` (None: any), `times` times (None: until disarmed).

    With a `probability`, each of them is struck or spared by a draw from a generator of its own, seeded with `seed`.
    Faults of webhooks match event types in the place of endpoints.
    """

    id: str
    fault: FaultKind
    endpoint: str | None
    nth: int
    times: int | None
    probability: float | None
    seed: int
    delay_ms: int
    after: float
    copies: int
    effect: bool
    content: str
    signature: str
    amount: int | None
    seen: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        # Not for secrets: the same seed has to strike the same calls again.
        self._draws = random.Random(self.seed)

    def matches(self, group: Group, endpoint: str) -> bool:
        return group_of(self.fault) is group and self.endpoint in {None, endpoint}

    def due(self) -> bool:
        """Count a call that matches; whether it is one to strike."""
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.struck >= self.times):
            return False
        return self.probability is None or self._draws.random() < self.probability


class Faults:
    """The armed faults, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []

    def arm(self, order: Mapping[str, Any]) -> Fault:
        """Arm what an order asks for, or raise ValueError where it makes no sense."""
        fault = _fault(order)
        with self._lock:
            self._armed.append(fault)
        return fault

    def disarm(self) -> None:
        with self._lock:
            self._armed.clear()

    def take(self, group: Group, endpoint: str) -> Fault | None:
        """The fault of the group that strikes this call, if any: the oldest. Every fault that matches counts it."""
        with self._lock:
            due = [fault for fault in self._armed if fault.matches(group, endpoint) and fault.due()]
            if due:
                due[0].struck += 1
        return due[0] if due else None

    def give_back(self, fault: Fault) -> None:
        """A strike that met nothing to strike does not count."""
        with self._lock:
            fault.struck -= 1

    def report(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._armed]


def _fault(order: Mapping[str, Any]) -> Fault:
    kind = FaultKind(str(order.get("fault")))
    unknown = set(order) - WHEN - OPTIONS.get(kind, frozenset())
    if unknown:
        raise ValueError(f"{kind} does not know: {', '.join(sorted(unknown))}")
    endpoint, probability, amount = order.get("endpoint"), order.get("probability"), order.get("amount")
    if endpoint is not None and not isinstance(endpoint, str):
        raise ValueError("endpoint must be a name, such as payment_intents.confirm")
    # A fault that is drawn strikes until it is disarmed, any other strikes once, unless the order says otherwise.
    times = order.get("times", 1 if probability is None else None)
    return Fault(
        id=new_id("fault_", 8),
        fault=kind,
        endpoint=endpoint,
        nth=_whole(order, "nth", 1),
        times=None if times is None else _whole({"times": times}, "times", 1),
        probability=None if probability is None else _number(order, "probability", 0, 1),
        seed=_whole(order, "seed", 0),
        delay_ms=_whole(order, "delay_ms", 300 if kind is FaultKind.DRIP else 0),
        after=_number(order, "after", _patience(kind), 10 * 365 * 24 * HOUR),
        copies=_whole(order, "copies", 2),
        effect=_one_of(order, "effect", (True, False)),
        content=_one_of(order, "content", CONTENTS),
        signature=_one_of(order, "signature", SIGNATURES),
        amount=None if amount is None else _whole(order, "amount", 1),
    )


def _patience(kind: FaultKind) -> float:
    """How long later, unless the order says so: hours for a late webhook, at once for people at a dashboard."""
    match kind:
        case FaultKind.WEBHOOK_DELAY:
            return 3 * HOUR
        case FaultKind.DASHBOARD_REFUND | FaultKind.DASHBOARD_CANCEL:
            return 0.0
        case _:
            return 60.0


def _whole(order: Mapping[str, Any], name: str, default: int) -> int:
    value = order.get(name, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be a whole number")
    return value


def _number(order: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = order.get(name, default)
    if type(value) not in {int, float} or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}")
    return float(value)


def _one_of(order: Mapping[str, Any], name: str, choices: tuple[Any, ...]) -> Any:
    value = order.get(name, choices[0])
    if value not in choices:
        raise ValueError(f"{name} must be one of: {', '.join(map(str, choices))}")
    return value
