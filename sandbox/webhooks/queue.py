"""Which endpoints are to hear of an event, when, and what a fault changes about that."""

import fnmatch
from collections.abc import Sequence

from sandbox.books.bank import Bank, Body
from sandbox.faults.armed import Fault
from sandbox.faults.kinds import FaultKind

OPEN_STATES = "('pending', 'held', 'early')"


def listeners(bank: Bank, account: str, event_type: str) -> list[str]:
    """The ids of the account's endpoints that want events of this type."""
    return [
        endpoint["id"]
        for endpoint in bank.all_of(account, "webhook_endpoint")
        if endpoint["status"] == "enabled" and wants(endpoint["enabled_events"], event_type)
    ]


def wants(patterns: Sequence[str], event_type: str) -> bool:
    """Whether one of the patterns (`*`, `charge.*`, or a type) covers the type."""
    return any(fnmatch.fnmatchcase(event_type, pattern) for pattern in patterns)


def queue(bank: Bank, event: Body, endpoint_id: str, fault: Fault | None, hold: float) -> list[int]:
    """Put an event down for an endpoint. Returns the deliveries that have to go out before the call is answered."""
    state, due, signature, copies = "pending", bank.now() + hold, "good", 1
    match fault.fault if fault else None:
        case FaultKind.WEBHOOK_DUPLICATE if fault:
            copies = fault.copies
        case FaultKind.WEBHOOK_REORDER if fault:
            state, due = "held", due + fault.after
        case FaultKind.WEBHOOK_EARLY:
            state = "early"
        case FaultKind.WEBHOOK_LOST:
            state = "lost"
        case FaultKind.WEBHOOK_DELAY if fault:
            due += fault.after
        case FaultKind.WEBHOOK_SIGNATURE if fault:
            signature = fault.signature
    made = [
        bank.rows(
            "INSERT INTO delivery (event, endpoint, due, state, signature) VALUES (?, ?, ?, ?, ?) RETURNING seq",
            (event["id"], endpoint_id, due, state, signature),
        )[0][0]
        for _ in range(copies)
    ]
    bank.alarm.set()
    return made if state == "early" else []


def pending(bank: Bank, event_id: str) -> int:
    """How many endpoints have yet to take the event."""
    counted = bank.rows(
        f"SELECT count(DISTINCT endpoint) FROM delivery WHERE event = ? AND state IN {OPEN_STATES}", (event_id,)
    )
    return int(counted[0][0])


def shown(bank: Bank, event: Body) -> Body:
    """An event as a reader sees it now."""
    return {**event, "pending_webhooks": pending(bank, event["id"])}
