"""The control port, on which tests arm the payment provider's faults and read what it was asked.

`POST /faults` arms, `GET /faults` lists, `DELETE /faults` disarms; `GET /counts` counts calls by endpoint, and
`GET /calls?after=SEQ` lists them with their idempotency keys. Never reachable through the provider's own port.
"""

import json
from urllib.parse import parse_qs

from sandbox.bank import Bank
from sandbox.faults import Faults
from sandbox.server import Reply, Request, json_reply

CALL_FIELDS = ("seq", "at", "account", "endpoint", "path", "idempotency_key", "request_id")


class Control:
    """The application on the control port."""

    def __init__(self, bank: Bank, faults: Faults) -> None:
        self._bank = bank
        self._faults = faults

    def __call__(self, request: Request) -> Reply:
        match request.method, request.path:
            case "POST", "/faults":
                return self._arm(request.body)
            case "GET", "/faults":
                return json_reply(200, {"items": self._faults.report()})
            case "DELETE", "/faults":
                self._faults.disarm()
                return Reply(204)
            case "GET", "/counts":
                return json_reply(200, dict(self._bank.rows("SELECT endpoint, count(*) FROM call GROUP BY endpoint")))
            case "GET", "/calls":
                return self._calls(request.query)
        return json_reply(404, {"error": "no such path"})

    def _arm(self, body: bytes) -> Reply:
        try:
            fault = self._faults.arm(json.loads(body))
        except (TypeError, ValueError) as error:
            return json_reply(400, {"error": str(error)})
        return json_reply(201, {"id": fault.id})

    def _calls(self, query: str) -> Reply:
        after = parse_qs(query).get("after", ["0"])[0]
        if not after.isdecimal():
            return json_reply(400, {"error": "after must be a sequence number"})
        rows = self._bank.rows(
            "SELECT seq, at, account, endpoint, path, idempotency_key, request_id FROM call"
            " WHERE seq > ? ORDER BY seq LIMIT 1000",
            (int(after),),
        )
        return json_reply(200, {"items": [dict(zip(CALL_FIELDS, row, strict=True)) for row in rows]})
