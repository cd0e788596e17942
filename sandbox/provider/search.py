"""Search over payment intents, in Stripe's query language, and as late as Stripe's: it does not see the last minute.

`status:"succeeded" AND metadata["order"]:"42"`: clauses of a field, an operator and a value, all joined by AND or all
by OR, each negated by a leading minus. `:` is equality, `~` a part of a text, and numbers also compare.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from sandbox.books.bank import Body
from sandbox.provider import wire
from sandbox.provider.calls import Call
from sandbox.provider.wire import Form

LAG_SECONDS = 60
NUMBERS = frozenset({"amount", "created"})
WORDS = frozenset({"currency", "customer", "status"})
COMPARISONS = {":": "=", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
CLAUSE = re.compile(
    r"""\s*(?P<minus>-)?(?P<field>\w+)(?:\[(?P<q>["'])(?P<name>[^"']*)(?P=q)\])?\s*(?P<operator>>=|<=|[:~<>])\s*"""
    r"""(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<number>\d+)|(?P<null>null))\s*(?P<joint>AND|OR|\s|$)""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Condition:
    """A piece of SQL and its values."""

    sql: str
    values: list[Any]


def intents(call: Call, form: Form) -> Body:
    """A page of what matches, newest first; `next_page` asks for the one after it."""
    wire.allow(form, "query", "limit", "page")
    limit = wire.integer(form, "limit", least=1, most=100, default=10)
    condition = parse(wire.required(form, "query"))
    before = _page(form)
    found = call.bank.rows(
        # The text of a condition is this module's own; what the caller wrote is among the values.
        "SELECT seq, body FROM object WHERE account = ? AND kind = 'payment_intent' AND created <= ? AND seq < ?"
        f" AND ({condition.sql}) ORDER BY seq DESC LIMIT ?",
        [call.account, call.bank.now() - LAG_SECONDS, before, *condition.values, limit + 1],
    )
    has_more = len(found) > limit
    return {
        "object": "search_result",
        "url": "/v1/payment_intents/search",
        "has_more": has_more,
        "next_page": f"page_{found[limit - 1][0]}" if has_more else None,
        "data": [json.loads(body) for _, body in found[:limit]],
    }


def parse(query: str) -> Condition:
    """A query as a condition on the objects' JSON."""
    clauses: list[Condition] = []
    joints: set[str] = set()
    at = 0
    while at < len(query):
        found = CLAUSE.match(query, at)
        if found is None:
            raise _refusal("We were unable to parse your search query.")
        clauses.append(_clause(found))
        at = found.end()
        if query[at:].strip() or found["joint"].upper() in {"AND", "OR"}:
            # Clauses that only stand side by side are meant together.
            joints.add(found["joint"].strip().upper() or "AND")
    if not clauses or query.rstrip().upper().endswith((" AND", " OR")):
        raise _refusal("We were unable to parse your search query.")
    if len(joints) > 1:
        raise _refusal("You cannot combine AND and OR in one query.")
    joint = f" {joints.pop()} " if joints else " AND "
    return Condition(joint.join(clause.sql for clause in clauses), [value for each in clauses for value in each.values])


def _clause(found: re.Match[str]) -> Condition:
    path, operator = _path(found["field"].lower(), found["name"]), found["operator"]
    number = found["field"].lower() in NUMBERS
    if found["null"]:
        condition = Condition("json_extract(body, ?) IS NULL", [path])
    elif number and operator in COMPARISONS:
        value = found["number"] or found["text"] or ""
        if not value.isdecimal():
            raise _refusal(f"{found['field']} is a number.")
        condition = Condition(f"json_extract(body, ?) {COMPARISONS[operator]} ?", [path, int(value)])
    elif found["text"] is not None and operator in {":", "~"} and not number:
        text = re.sub(r"\\(.)", r"\1", found["text"]).lower()
        sql = "lower(json_extract(body, ?)) = ?" if operator == ":" else "instr(lower(json_extract(body, ?)), ?) > 0"
        condition = Condition(sql, [path, text])
    else:
        raise _refusal(f"The operator {operator} does not go with {found['field']} and its value.")
    return Condition(f"NOT coalesce({condition.sql}, 0)", condition.values) if found["minus"] else condition


def _path(field: str, name: str | None) -> str:
    if field == "metadata" and name:
        return f'$.metadata."{name}"'
    if name is None and field in NUMBERS | WORDS:
        return f"$.{field}"
    raise _refusal(f"Field `{field}` is an unsupported search field.")


def _page(form: Form) -> int:
    shown = wire.text(form, "page")
    if shown is None:
        return 2**62
    number = shown.removeprefix("page_")
    if not number.isdecimal() or not number.isascii():
        raise wire.invalid("Invalid page.", param="page")
    return min(int(number), 2**62)


def _refusal(message: str) -> wire.ProviderError:
    return wire.invalid(message, param="query")
