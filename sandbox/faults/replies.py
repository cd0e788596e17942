"""What a fault makes of a call at the provider's door, and of a true answer on its way to the caller."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sandbox.faults.armed import Fault
from sandbox.faults.kinds import FaultKind
from sandbox.provider.wire import ProviderError
from sandbox.server import Behaviour, Cut, Hang, Reply, Reset, Stream

BAD_GATEWAY = Reply(
    502,
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n",
    {"Content-Type": "text/html"},
)


REFUSALS: dict[FaultKind, tuple[int, str, str, str | None]] = {
    FaultKind.RATE_LIMIT: (429, "invalid_request_error", "Too many requests.", "rate_limit"),
    FaultKind.LOCK_TIMEOUT: (429, "invalid_request_error", "Another request holds this object.", "lock_timeout"),
    FaultKind.KEY_IN_USE: (
        409,
        "idempotency_error",
        "Another request with this idempotency key is in progress.",
        "idempotency_key_in_use",
    ),
    FaultKind.UNAUTHORIZED: (401, "invalid_request_error", "Invalid API key provided.", None),
    FaultKind.FORBIDDEN: (403, "invalid_request_error", "The API key does not have the permissions for this.", None),
}
INSTEAD: dict[FaultKind, Behaviour] = {
    FaultKind.TIMEOUT_AFTER: Hang(),
    FaultKind.RESET_AFTER: Reset(),
    FaultKind.BAD_GATEWAY: BAD_GATEWAY,
}


def at_the_door(fault: Fault | None) -> Behaviour | None:
    """What comes instead of the call, before its key is looked at; None lets it in."""
    if fault is None:
        return None
    if fault.fault in REFUSALS:
        status, kind, message, code = REFUSALS[fault.fault]
        headers = {"Stripe-Should-Retry": "true"} if fault.fault is FaultKind.LOCK_TIMEOUT else {}
        fields: dict[str, Any] = {"code": code} if code else {}
        raise ProviderError(status, kind, message, headers=headers, **fields)
    if fault.fault is FaultKind.TIMEOUT_BEFORE:
        return Hang()
    return BAD_GATEWAY if fault.fault is FaultKind.BAD_GATEWAY and not fault.effect else None


def on_its_way(fault: Fault | None, reply: Reply) -> Behaviour:
    """What the caller gets to see of a true answer."""
    if fault is None:
        return reply
    match fault.fault:
        case FaultKind.CUT_AFTER:
            return Cut(reply, len(reply.body) // 2)
        case FaultKind.DRIP:
            return Stream(reply.status, _drops(reply.body, fault.delay_ms / 1000), len(reply.body), reply.headers)
        case FaultKind.GARBAGE | FaultKind.WRONG_AMOUNT:
            return _mangled(fault, reply)
        case _:
            return INSTEAD.get(fault.fault, reply)


def _mangled(fault: Fault, reply: Reply) -> Reply:
    if fault.fault is FaultKind.GARBAGE:
        return replace(reply, status=200, body=_garbage(fault.content, reply.body))
    return replace(reply, body=json.dumps(_wrong(json.loads(reply.body))).encode())


def _garbage(content: str, body: bytes) -> bytes:
    return {"empty": b"", "list": b"[]"}.get(content, body[: len(body) // 2])


def _drops(body: bytes, pause: float) -> Iterator[bytes]:
    for at in range(len(body)):
        yield body[at : at + 1]
        time.sleep(pause)


def _wrong(shown: Any) -> Any:
    """Every amount one too high, in the object itself or in those of a list."""
    if isinstance(shown, dict) and isinstance(shown.get("data"), list):
        return {**shown, "data": [_wrong(item) for item in shown["data"]]}
    if not isinstance(shown, dict):
        return shown
    amounts = {name: value + 1 for name, value in shown.items() if name.startswith("amount") and type(value) is int}
    return {**shown, **{name: value for name, value in amounts.items() if value > 1}}
