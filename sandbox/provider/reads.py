"""Reading the books over the wire: one object, a page of objects newest first, expansion, the balance."""

import json
from typing import Any

from sandbox.books.bank import Bank, Body
from sandbox.provider import wire
from sandbox.provider.calls import Call
from sandbox.provider.wire import Form
from sandbox.webhooks import queue

# Collection -> (kind of object, fields that a list can be narrowed by).
COLLECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "payment_intents": ("payment_intent", ("customer",)),
    "charges": ("charge", ("payment_intent", "customer")),
    "refunds": ("refund", ("payment_intent", "charge")),
    "events": ("event", ()),
    "balance_transactions": ("balance_transaction", ("currency", "source", "type")),
    "webhook_endpoints": ("webhook_endpoint", ()),
}
TYPES_LIMIT = 20
UNTAKEN = "('pending', 'held', 'early', 'failed')"
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def retrieve(call: Call, collection: str, object_id: str) -> Body:
    """The account's object of that id, or 404."""
    kind, _ = COLLECTIONS[collection]
    found = call.bank.find(call.account, kind, object_id)
    if found is None:
        raise wire.missing(kind, object_id, param="id" if kind != "payment_intent" else "intent")
    return queue.shown(call.bank, found) if kind == "event" else found


def page(call: Call, collection: str, form: Form) -> Body:
    """At most `limit` objects, newest first, after or before the object that the caller saw last."""
    kind, filters = COLLECTIONS[collection]
    also = ("type", "types", "delivery_success") if kind == "event" else ()
    wire.allow(form, "limit", "starting_after", "ending_before", "created", *filters, *also)
    limit = wire.integer(form, "limit", least=1, most=100, default=10)
    where, values = ["account = ?", "kind = ?"], [call.account, kind]
    for name in filters:
        if name in form:
            where.append(f"json_extract(body, '$.{name}') = ?")
            values.append(wire.required(form, name))
    if kind == "event":
        _narrow_events(form, where, values)
    _narrow_by_age(form, where, values)
    backwards = "ending_before" in form
    _narrow_by_cursor(call, kind, form, where, values)
    found = call.bank.rows(
        # Only names from this module's own tables go into the text.
        f"SELECT body FROM object WHERE {' AND '.join(where)} ORDER BY seq {'ASC' if backwards else 'DESC'} LIMIT ?",
        [*values, limit + 1],
    )
    items = [json.loads(body) for (body,) in found[:limit]]
    if kind == "event":
        items = [queue.shown(call.bank, event) for event in items]
    return {
        "object": "list",
        "url": f"/v1/{collection}",
        "has_more": len(found) > limit,
        "data": items[::-1] if backwards else items,
    }


def _narrow_events(form: Form, where: list[str], values: list[Any]) -> None:
    """By one type (`charge.*` is a group of them), by several, and by whether everybody has taken them."""
    if "type" in form and "types" in form:
        raise wire.invalid("You may only specify one of type and types.", param="types")
    types = form.get("types", [wire.required(form, "type")] if "type" in form else [])
    if not isinstance(types, list) or not all(isinstance(name, str) for name in types) or len(types) > TYPES_LIMIT:
        raise wire.invalid(f"Invalid array: types has up to {TYPES_LIMIT} names.", param="types")
    if types:
        where.append(f"({' OR '.join(['json_extract(body, ?) GLOB ?'] * len(types))})")
        values += [value for name in types for value in ("$.type", name.replace("[", "[[]").replace("?", "[?]"))]
    if "delivery_success" in form:
        taken = "NOT " if wire.flag(form, "delivery_success") else ""
        where.append(f"{taken}EXISTS (SELECT 1 FROM delivery WHERE event = object.id AND state IN {UNTAKEN})")


def _narrow_by_age(form: Form, where: list[str], values: list[Any]) -> None:
    created = form.get("created", {})
    bounds = created if isinstance(created, dict) else {"gte": created, "lte": created}
    for name in bounds:
        if name not in COMPARISONS:
            raise wire.invalid(f"Received unknown parameter: created[{name}]", param="created")
        where.append(f"created {COMPARISONS[name]} ?")
        values.append(wire.integer(bounds, name, least=0, most=2**40))


def _narrow_by_cursor(call: Call, kind: str, form: Form, where: list[str], values: list[Any]) -> None:
    for name, comparison in (("starting_after", "<"), ("ending_before", ">")):
        if name in form:
            seen = wire.required(form, name)
            if call.bank.find(call.account, kind, seen) is None:
                raise wire.missing(kind, seen, param=name, status=400)
            where.append(f"seq {comparison} (SELECT seq FROM object WHERE id = ?)")
            values.append(seen)


def expand(call: Call, body: Body, form: Form) -> Body:
    """Replace the ids that `expand` names (`latest_charge`, `data.charge`) by their objects."""
    paths = form.get("expand", [])
    if not isinstance(paths, list):
        raise wire.invalid("Invalid array: expand", param="expand")
    for path in paths:
        _expand(call.bank, call.account, body, str(path).split("."))
    return body


def _expand(bank: Bank, account: str, at: Any, path: list[str]) -> None:
    if isinstance(at, list):
        for item in at:
            _expand(bank, account, item, path)
        return
    if not isinstance(at, dict) or path[0] not in at:
        raise wire.invalid(f"This property cannot be expanded ({path[0]}).", param="expand")
    name, *below = path
    if isinstance(at[name], str):
        found = bank.rows("SELECT body FROM object WHERE id = ? AND account = ?", (at[name], account))
        if not found:
            raise wire.invalid(f"This property cannot be expanded ({name}).", param="expand")
        at[name] = json.loads(found[0][0])
    if below and at[name] is not None:
        _expand(bank, account, at[name], below)


def balance(call: Call) -> Body:
    """What is left of all captures after refunds and fees, per currency."""
    sums = call.bank.rows(
        "SELECT json_extract(body, '$.currency') AS currency, sum(json_extract(body, '$.net')) FROM object"
        " WHERE account = ? AND kind = 'balance_transaction' GROUP BY currency ORDER BY currency",
        (call.account,),
    )
    available = [{"amount": net, "currency": unit, "source_types": {"card": net}} for unit, net in sums]
    pending = [{"amount": 0, "currency": unit, "source_types": {"card": 0}} for unit, _ in sums]
    return {"object": "balance", "livemode": False, "available": available, "pending": pending}
