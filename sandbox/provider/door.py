"""The payment provider's front door: authentication, idempotency, faults and the log around every call."""

import hashlib
import json
import re
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace

from sandbox.books.bank import Bank, new_id
from sandbox.books.calls_log import Asked, log_answer, log_call, log_strike
from sandbox.faults.armed import Fault, Faults
from sandbox.faults.kinds import EXECUTION, Group
from sandbox.faults.replies import at_the_door, on_its_way
from sandbox.provider import routes, wire
from sandbox.provider.calls import API_VERSION, Call
from sandbox.provider.execute import SERVER_ERROR, execute
from sandbox.provider.idempotency import Keys
from sandbox.provider.routes import Route
from sandbox.provider.wire import Form, ProviderError
from sandbox.server import Behaviour, Reply, Request, json_reply
from sandbox.webhooks.postman import Postman

API_KEY = re.compile(r"(?:sk|rk)_test_\w{4,200}")


def account_of(api_key: str) -> str:
    """The account of an API key. Every test key is an account of its own; anything else is refused."""
    if API_KEY.fullmatch(api_key) is None:
        raise ProviderError(401, "invalid_request_error", "Invalid API key provided.")
    return "acct_1" + hashlib.sha256(api_key.encode()).hexdigest()[:15]


class Provider:
    """The application on the payments port."""

    def __init__(self, bank: Bank, faults: Faults, postman: Postman) -> None:
        self._bank = bank
        self._faults = faults
        self._postman = postman
        self._keys = Keys(bank)

    def __call__(self, request: Request) -> Behaviour:
        key = request.headers.get("Idempotency-Key") or None if request.method == "POST" else None
        version = request.headers.get("Stripe-Version") or API_VERSION
        request_id = new_id("req_", 14)
        headers = {"Request-Id": request_id, "Stripe-Version": version, **({"Idempotency-Key": key} if key else {})}
        try:
            account = account_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
            route = routes.find(request.method, request.path)
            number = log_call(self._bank, Asked(account, route.endpoint, request.path, key, request_id))
            fault = self._faults.take(Group.CALL, route.endpoint)
            call = Call(self._bank, self._faults, account, request_id, key, version, fault)
            return self._serve(call, route, request, headers, number)
        except ProviderError as error:
            return _with(json_reply(error.status, error.document), {**headers, **error.headers})
        except Exception:  # noqa: BLE001  # the edge of the process: a fault of the sandbox is shown, and answered
            traceback.print_exc(file=sys.stderr)
            return _with(SERVER_ERROR, headers)

    def _serve(self, call: Call, route: Route, request: Request, headers: dict[str, str], number: int) -> Behaviour:
        """Answer, or misbehave; the log has what the answer would have been."""
        in_execution = call.fault is not None and call.fault.fault in EXECUTION
        try:
            self._prune(call, route)
            instead = at_the_door(call.fault)
            if instead is not None:
                self._note(call, route, struck=True)
                return instead
            reply, replayed = self._answer(call, route, _form(request))
            self._note(call, route, struck=not (replayed and in_execution))
        except ProviderError as error:
            reply, replayed = _with(json_reply(error.status, error.document), error.headers), False
            self._note(call, route, struck=not in_execution)
        log_answer(self._bank, number, reply.status, _error_of(reply), replayed=replayed)
        self._postman.deliver_early(call.early)
        return on_its_way(call.fault, _with(reply, headers))

    def _answer(self, call: Call, route: Route, form: Form) -> tuple[Reply, bool]:
        """Answer from the key table, or execute once and store the answer together with the effect."""
        if call.key is not None:
            stored = self._keys.begin(call.account, call.key, route.path, form, str(call.request_id))
            if stored is not None:
                replayed = {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
                return Reply(stored.status, stored.body, {"Content-Type": "application/json", **replayed}), True
        try:
            self._dawdle(call, route)
            with self._bank.transaction() as before:
                reply = execute(call, route, form, before)
                if call.key is not None:
                    self._keys.finish(call.account, call.key, reply.status, reply.body)
        except BaseException:
            if call.key is not None:
                self._keys.release(call.account, call.key)
            raise
        return reply, False

    def _dawdle(self, call: Call, route: Route) -> None:
        fault = self._struck(Group.DELAY, call, route)
        if fault is not None:
            time.sleep(fault.delay_ms / 1000)

    def _prune(self, call: Call, route: Route) -> None:
        if call.key is not None and self._struck(Group.KEY, call, route) is not None:
            self._keys.forget(call.account, call.key)

    def _struck(self, group: Group, call: Call, route: Route) -> Fault | None:
        fault = self._faults.take(group, route.endpoint)
        if fault is not None:
            log_strike(self._bank, fault.fault, route.endpoint, call.request_id)
        return fault

    def _note(self, call: Call, route: Route, *, struck: bool) -> None:
        if call.fault is not None and struck:
            log_strike(self._bank, call.fault.fault, route.endpoint, call.request_id)
        elif call.fault is not None:
            self._faults.give_back(call.fault)


def _form(request: Request) -> Form:
    try:
        return wire.parse_form(request.body.decode() if request.method == "POST" else request.query)
    except UnicodeDecodeError:
        raise wire.invalid("The request body is not UTF-8.") from None


def _with(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return replace(reply, headers={**reply.headers, **headers})


def _error_of(reply: Reply) -> str | None:
    if reply.status < 400:
        return None
    error = json.loads(reply.body)["error"]
    return str(error.get("code") or error["type"])
