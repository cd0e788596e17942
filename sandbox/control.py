"""The control port, from which tests and developers move the payment provider. Its customers never see it.

Bodies and answers are JSON; times are seconds; a request that makes no sense is answered with 400 and a sentence.

`POST /faults` arms a fault, `GET /faults` lists the armed ones with what they have seen and struck, `DELETE /faults`
disarms them all. `{"fault": "timeout_after", "endpoint": "payment_intents.confirm"}` strikes the next such call; `nth`
makes it the nth, `times` says how often (null: until disarmed), `probability` with `seed` draws; without an `endpoint`
every call is meant. `docs/sandbox.md` lists the faults and their options.

`GET /clock` says what time it is in the books, `POST /clock {"advance": 3600}` moves it and does what becomes due.
`POST /actions {"action": "refund", "object": "pi_...", "amount": 100}` is somebody at the dashboard.
`PUT /webhook_endpoints {"api_key", "url", "secret", "enabled_events"?}` registers an address with a secret of your own;
`POST /webhook_endpoints/ID/roll {"expires_in": 3600}` gives it a new one beside the old.

`GET /counts` counts calls by endpoint. `GET /calls`, `GET /strikes` and `GET /deliveries` list what was asked and
answered, which faults struck, and what was sent, at most a thousand rows after number `?after=`.
"""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from sandbox.books import calls_log
from sandbox.books.bank import Bank, new_id
from sandbox.faults.armed import Faults
from sandbox.provider import webhook_endpoints
from sandbox.provider.calls import Call
from sandbox.provider.dashboard import ACTIONS, act
from sandbox.provider.door import account_of
from sandbox.provider.wire import ProviderError
from sandbox.server import Reply, Request, json_reply
from sandbox.timekeeper import Timekeeper
from sandbox.webhooks.postman import Postman

LEAP_LIMIT = 400 * 24 * 3600
ROLL = re.compile(r"/webhook_endpoints/(\w+)/roll")


class Control:
    """The application on the control port."""

    def __init__(self, bank: Bank, faults: Faults, timekeeper: Timekeeper, postman: Postman) -> None:
        self._bank = bank
        self._faults = faults
        self._timekeeper = timekeeper
        self._postman = postman
        self._routes: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("POST", "/faults"): self._arm,
            ("GET", "/faults"): lambda _: json_reply(200, {"items": faults.report()}),
            ("DELETE", "/faults"): self._disarm,
            ("GET", "/clock"): lambda _: json_reply(200, {"now": bank.now()}),
            ("POST", "/clock"): self._advance,
            ("POST", "/actions"): lambda request: self._act(**_object(request)),
            ("PUT", "/webhook_endpoints"): lambda request: self._register(**_object(request)),
            ("GET", "/counts"): lambda _: json_reply(200, calls_log.counts(bank)),
            ("GET", "/calls"): _listing(lambda after: calls_log.calls(bank, after)),
            ("GET", "/strikes"): _listing(lambda after: calls_log.strikes(bank, after)),
            ("GET", "/deliveries"): _listing(postman.after),
        }

    def __call__(self, request: Request) -> Reply:
        route = self._routes.get((request.method, request.path))
        rolled = ROLL.fullmatch(request.path) if request.method == "POST" else None
        try:
            if rolled is not None:
                return self._roll(rolled[1], **_object(request))
            return route(request) if route is not None else json_reply(404, {"error": "no such path"})
        except ProviderError as error:
            return json_reply(400, {"error": str(error)})
        except (KeyError, TypeError, ValueError) as error:
            return json_reply(400, {"error": f"{type(error).__name__}: {error}"})

    def _arm(self, request: Request) -> Reply:
        return json_reply(201, {"id": self._faults.arm(_object(request)).id})

    def _disarm(self, _: Request) -> Reply:
        self._faults.disarm()
        return Reply(204)

    def _advance(self, request: Request) -> Reply:
        self._timekeeper.advance(_seconds(_object(request)["advance"], LEAP_LIMIT))
        return json_reply(200, {"now": self._bank.now()})

    def _act(self, action: str, object: str, amount: int | None = None) -> Reply:  # noqa: A002  # the wire's word
        if action not in ACTIONS:
            raise ValueError(f"the actions are: {', '.join(ACTIONS)}")
        call = self._call(object)
        with self._bank.transaction():
            body = act(call, action, object, amount)
        self._postman.deliver_early(call.early)
        return json_reply(200, body)

    def _register(self, api_key: str, url: str, secret: str, enabled_events: list[str] | None = None) -> Reply:
        if not isinstance(secret, str) or not secret.strip():
            raise ValueError("a secret must not be empty")
        call = Call(self._bank, self._faults, account_of(api_key))
        with self._bank.transaction():
            return json_reply(200, webhook_endpoints.register(call, url, secret, enabled_events or ["*"]))

    def _roll(self, endpoint_id: str, expires_in: float = 24 * 3600) -> Reply:
        call = self._call(endpoint_id)
        with self._bank.transaction():
            secret = webhook_endpoints.roll_secret(call, endpoint_id, _seconds(expires_in, LEAP_LIMIT))
        return json_reply(200, {"secret": secret})

    def _call(self, object_id: str) -> Call:
        """A call of the account that has the object, by somebody who needs no key."""
        found = self._bank.rows("SELECT account FROM object WHERE id = ?", (object_id,))
        if not found:
            raise ValueError(f"there is no {object_id}")
        return Call(self._bank, self._faults, found[0][0], new_id("req_", 14))


def _object(request: Request) -> dict[str, Any]:
    content = json.loads(request.body)
    if not isinstance(content, dict):
        raise TypeError("the body must be a JSON object")
    return content


def _seconds(value: Any, most: float) -> float:
    if type(value) not in {int, float} or not 0 <= value <= most:
        raise ValueError(f"seconds must be a number from 0 to {most}")
    return float(value)


def _listing(rows: Callable[[int], list[dict[str, Any]]]) -> Callable[[Request], Reply]:
    return lambda request: json_reply(200, {"items": rows(_after(request.query))})


def _after(query: str) -> int:
    after = parse_qs(query).get("after", ["0"])[0]
    if not after.isdecimal():
        raise ValueError("after must be a sequence number")
    return int(after)
