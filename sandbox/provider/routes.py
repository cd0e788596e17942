"""The provider's addresses, and the endpoint behind each."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.books.bank import Body
from sandbox.provider import intents, reads, refunds, search, webhook_endpoints, wire
from sandbox.provider.calls import Call
from sandbox.provider.wire import Form

Run = Callable[[Call, Form], Body]
Verb = Callable[[Call, str, Form], Body]

CREATE: dict[str, Run] = {
    "payment_intents": intents.create,
    "refunds": refunds.create,
    "webhook_endpoints": webhook_endpoints.create,
}
UPDATE: dict[str, Verb] = {"payment_intents": intents.update, "webhook_endpoints": webhook_endpoints.update}
VERBS: dict[tuple[str, str], Verb] = {
    ("payment_intents", "confirm"): intents.confirm,
    ("payment_intents", "capture"): intents.capture,
    ("payment_intents", "cancel"): intents.cancel,
    ("refunds", "cancel"): refunds.cancel,
}


@dataclass(frozen=True)
class Route:
    """An endpoint by its name (`payment_intents.confirm`), bound to the object in its path."""

    method: str
    path: str
    endpoint: str
    run: Run


def find(method: str, path: str) -> Route:
    """The endpoint at an address, or 404."""
    version, collection, *rest = [*path.strip("/").split("/"), ""][:5]
    parts = [part for part in rest if part]
    lookup = {"POST": _writing, "GET": _reading, "DELETE": _deleting}.get(method)
    found = lookup(collection, parts) if lookup and version == "v1" else None
    if found is None:
        raise wire.invalid(f"Unrecognized request URL ({method}: {path}).", status=404)
    verb, run = found
    return Route(method, path, f"{collection}.{verb}", run)


def _writing(collection: str, rest: list[str]) -> tuple[str, Run] | None:
    match rest:
        case [] if collection in CREATE:
            return "create", CREATE[collection]
        case [object_id] if collection in UPDATE:
            return "update", lambda call, form: UPDATE[collection](call, object_id, form)
        case [object_id, verb] if (collection, verb) in VERBS:
            return verb, lambda call, form: VERBS[collection, verb](call, object_id, form)
    return None


def _reading(collection: str, rest: list[str]) -> tuple[str, Run] | None:
    match collection, rest:
        case "balance", []:
            return "retrieve", lambda call, _: reads.balance(call)
        case "payment_intents", ["search"]:
            return "search", search.intents
        case _, [] if collection in reads.COLLECTIONS:
            return "list", lambda call, form: reads.page(call, collection, form)
        case _, [object_id] if collection in reads.COLLECTIONS:
            return "retrieve", lambda call, _: reads.retrieve(call, collection, object_id)
    return None


def _deleting(collection: str, rest: list[str]) -> tuple[str, Run] | None:
    match collection, rest:
        case "webhook_endpoints", [object_id]:
            return "delete", lambda call, form: webhook_endpoints.delete(call, object_id, form)
    return None
