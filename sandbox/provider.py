"""The payment provider's front door: authentication, routing, idempotency and faults around every call."""

import hashlib
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import intents, reads, refunds, wire
from sandbox.bank import Bank, Body, new_id
from sandbox.calls import Call
from sandbox.faults import Fault, FaultKind, Faults
from sandbox.idempotency import Keys
from sandbox.server import Behaviour, Hang, Reply, Request, Reset, json_reply
from sandbox.wire import Form, ProviderError

API_KEY = re.compile(r"Bearer ((?:sk|rk)_test_\w{4,200})")
API_VERSION = "2026-10-28.endive"
VERBS: dict[str, Callable[[Call, str, Form], Body]] = {
    "confirm": intents.confirm,
    "capture": intents.capture,
    "cancel": intents.cancel,
}


@dataclass(frozen=True)
class Route:
    """An endpoint by its name (`payment_intents.confirm`), bound to the object in its path."""

    endpoint: str
    run: Callable[[Call, Form], Body]


class Provider:
    """The application on the payments port."""

    def __init__(self, bank: Bank, faults: Faults) -> None:
        self._bank = bank
        self._faults = faults
        self._keys = Keys(bank)

    def __call__(self, request: Request) -> Behaviour:
        key = request.headers.get("Idempotency-Key") or None
        request_id = new_id("req_", 14)
        version = request.headers.get("Stripe-Version") or API_VERSION
        headers = {"Request-Id": request_id, "Stripe-Version": version}
        if key is not None and request.method == "POST":
            headers["Idempotency-Key"] = key
        try:
            account = _authenticate(request)
            call = Call(self._bank, account, request_id, key if request.method == "POST" else None, version)
            behaviour = self._handle(call, request)
        except ProviderError as error:
            behaviour = json_reply(error.status, error.document)
        except Exception:  # noqa: BLE001  # the edge of the process: a fault of the sandbox is shown, and answered
            traceback.print_exc(file=sys.stderr)
            behaviour = json_reply(500, _server_error())
        if isinstance(behaviour, Reply):
            return Reply(behaviour.status, behaviour.body, {**behaviour.headers, **headers})
        return behaviour

    def _handle(self, call: Call, request: Request) -> Behaviour:
        route = _route(request.method, request.path)
        self._bank.log_call(call.account, route.endpoint, request.path, call.key, call.request_id)
        fault = self._faults.take(route.endpoint)
        kind = fault.fault if fault else None
        if kind is FaultKind.TIMEOUT_BEFORE:
            return Hang()
        if kind is FaultKind.RATE_LIMIT:
            raise ProviderError(429, "invalid_request_error", "Too many requests.", code="rate_limit")
        form = _form(request)
        reply = self._answer(call, route, request.path, form, fault)
        if kind is FaultKind.TIMEOUT_AFTER:
            return Hang()
        return Reset() if kind is FaultKind.RESET_AFTER else reply

    def _answer(self, call: Call, route: Route, path: str, form: Form, fault: Fault | None) -> Reply:
        """Answer from the key table, or execute once and store the answer together with the effect."""
        if call.key is not None:
            stored = self._keys.begin(call.account, call.key, path, form, call.request_id)
            if stored is not None:
                replayed = {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
                return Reply(stored.status, stored.body, {"Content-Type": "application/json", **replayed})
        try:
            if fault is not None and fault.fault is FaultKind.SLOW:
                time.sleep(fault.delay_ms / 1000)
            with self._bank.transaction():
                reply = _execute(call, route, form, fault)
                if call.key is not None:
                    self._keys.finish(call.account, call.key, reply.status, reply.body)
        except BaseException:
            if call.key is not None:
                self._keys.release(call.account, call.key)
            raise
        return reply


def _execute(call: Call, route: Route, form: Form, fault: Fault | None) -> Reply:
    if fault is not None and fault.fault is FaultKind.ERROR_BEFORE:
        return json_reply(500, _server_error())
    try:
        reply = json_reply(200, reads.expand(call, route.run(call, form), form))
    except ProviderError as error:
        if not error.executed:
            raise
        reply = json_reply(error.status, error.document)
    if fault is not None and fault.fault is FaultKind.ERROR_AFTER:
        return json_reply(500, _server_error())
    return reply


def _authenticate(request: Request) -> str:
    """The account of the request's key. Every test key is an account of its own."""
    found = API_KEY.fullmatch(request.headers.get("Authorization", ""))
    if found is None:
        raise ProviderError(401, "invalid_request_error", "Invalid API key provided.")
    return "acct_1" + hashlib.sha256(found[1].encode()).hexdigest()[:15]


def _form(request: Request) -> Form:
    try:
        return wire.parse_form(request.query if request.method == "GET" else request.body.decode())
    except UnicodeDecodeError:
        raise wire.invalid("The request body is not UTF-8.") from None


def _route(method: str, path: str) -> Route:
    version, collection, *rest = [*path.strip("/").split("/"), ""][:5]
    rest = [part for part in rest if part]
    route = None
    if version == "v1" and method == "POST":
        route = _writing(collection, rest)
    elif version == "v1" and method == "GET":
        route = _reading(collection, rest)
    if route is None:
        raise wire.invalid(f"Unrecognized request URL ({method}: {path}).", status=404)
    return route


def _writing(collection: str, rest: list[str]) -> Route | None:
    match collection, rest:
        case "payment_intents", []:
            return Route("payment_intents.create", intents.create)
        case "payment_intents", [intent_id]:
            return Route("payment_intents.update", lambda call, form: intents.update(call, intent_id, form))
        case "payment_intents", [intent_id, verb] if verb in VERBS:
            return Route(f"payment_intents.{verb}", lambda call, form: VERBS[verb](call, intent_id, form))
        case "refunds", []:
            return Route("refunds.create", refunds.create)
    return None


def _reading(collection: str, rest: list[str]) -> Route | None:
    match collection, rest:
        case "balance", []:
            return Route("balance.retrieve", lambda call, _: reads.balance(call))
        case _, [] if collection in reads.COLLECTIONS:
            return Route(f"{collection}.list", lambda call, form: reads.page(call, collection, form))
        case _, [object_id] if collection in reads.COLLECTIONS:
            return Route(f"{collection}.retrieve", lambda call, _: reads.retrieve(call, collection, object_id))
    return None


def _server_error() -> dict[str, dict[str, str]]:
    return {"error": {"type": "api_error", "message": "An unknown error occurred."}}
