"""Executing an endpoint, with the faults that belong to it: 500s before and after the effect, and what follows them."""

from typing import Any

from sandbox.books import errands
from sandbox.books.bank import Bank, Before, Body
from sandbox.faults.kinds import FaultKind
from sandbox.provider import reads
from sandbox.provider.calls import Call
from sandbox.provider.routes import Route
from sandbox.provider.wire import Form, ProviderError
from sandbox.server import Reply, json_reply

SERVER_ERROR = json_reply(500, {"error": {"type": "api_error", "message": "An unknown error occurred."}})


def execute(call: Call, route: Route, form: Form, before: Before) -> Reply:
    """The answer of the endpoint; raises what was refused before anything was executed."""
    kind = call.fault.fault if call.fault else None
    if kind is FaultKind.ERROR_BEFORE:
        return SERVER_ERROR
    if kind is FaultKind.ERROR_ROLLED_FORWARD:
        _later(call, "roll_forward", route.path, method=route.method, form=form, key=call.key, version=call.api_version)
        return SERVER_ERROR
    try:
        body = route.run(call, form)
        reply = json_reply(200, reads.expand(call, body, form))
    except ProviderError as error:
        if not error.executed:
            raise
        return json_reply(error.status, error.document)
    if kind is FaultKind.ERROR_ROLLED_BACK:
        _later(call, "roll_back", route.path, before=before, after={name: call.bank.get(name) for name in before})
    if kind in {FaultKind.ERROR_AFTER, FaultKind.ERROR_ROLLED_BACK}:
        return SERVER_ERROR
    if kind in {FaultKind.DASHBOARD_REFUND, FaultKind.DASHBOARD_CANCEL} and call.fault:
        action = str(kind).removeprefix("dashboard_")
        intent_id = body["id"] if body["object"] == "payment_intent" else body.get("payment_intent")
        _later(call, "dashboard", str(intent_id), action=action, amount=call.fault.amount)
    return reply


def _later(call: Call, name: str, subject: str, **details: Any) -> None:
    assert call.fault is not None  # only a fault puts something off
    at = call.bank.now() + call.fault.after
    errands.put_down(call.bank, at, call.account, name, subject, request_id=call.request_id, **details)


def roll_back(bank: Bank, before: Before, after: dict[str, Body | None]) -> bool:
    """Undo an effect as if it had never been; not where somebody has built on it since: then it stays."""
    if any(bank.get(name) != shown for name, shown in after.items()):
        return False
    for name, body in before.items():
        if body is not None:
            bank.save(body)
        else:
            bank.delete(name)
            bank.rows("DELETE FROM delivery WHERE event = ?", (name,))
    return True
