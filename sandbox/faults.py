"""Faults of the payment provider, armed over the control port: which calls go wrong, when, and how.

`before` and `after` say on which side of the effect the fault strikes. The 500s pass through the idempotency layer and
are stored under the key, as the real provider's are; time-outs, resets and rate limits are not answers and are not.
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sandbox.bank import new_id


class FaultKind(StrEnum):
    """What goes wrong."""

    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    RESET_AFTER = "reset_after"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    RATE_LIMIT = "rate_limit"
    SLOW = "slow"


@dataclass
class Fault:
    """Strikes the calls from the `nth` on that match `endpoint` (None: any), `times` times (None: until disarmed)."""

    id: str
    fault: FaultKind
    endpoint: str | None
    nth: int
    times: int | None
    delay_ms: int
    seen: int = 0
    struck: int = 0

    def strikes(self, endpoint: str) -> bool:
        """Count a call; whether it is one to strike."""
        if self.endpoint not in {None, endpoint}:
            return False
        self.seen += 1
        due = self.seen >= self.nth and (self.times is None or self.struck < self.times)
        self.struck += due
        return due


class Faults:
    """The armed faults, oldest first; at most one strikes a call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []

    def arm(self, order: Mapping[str, Any]) -> Fault:
        """Arm what `{fault, endpoint?, nth?, times?, delay_ms?}` asks for, or raise ValueError where it makes none."""
        unknown = set(order) - {"fault", "endpoint", "nth", "times", "delay_ms"}
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        times = order.get("times", 1)
        fault = Fault(
            id=new_id("fault_", 8),
            fault=FaultKind(str(order.get("fault"))),
            endpoint=order.get("endpoint"),
            nth=int(order.get("nth", 1)),
            times=None if times is None else int(times),
            delay_ms=int(order.get("delay_ms", 0)),
        )
        with self._lock:
            self._armed.append(fault)
        return fault

    def disarm(self) -> None:
        with self._lock:
            self._armed.clear()

    def take(self, endpoint: str) -> Fault | None:
        """The fault that strikes this call, if any; every armed fault counts the call."""
        with self._lock:
            striking = [fault for fault in self._armed if fault.strikes(endpoint)]
        return striking[0] if striking else None

    def report(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._armed]
