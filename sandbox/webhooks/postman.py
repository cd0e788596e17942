"""Sends the events, one at a time and in the order in which they are due, and again when they are not taken.

Taken means a 2xx within the time limit. What is not taken is sent again, freshly signed, over almost three days of the
books' time. Delivery is at least once: a process that dies between the sending and its record sends again.
"""

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.books.bank import Bank
from sandbox.webhooks import signature
from sandbox.webhooks.queue import pending

MINUTE, HOUR = 60, 3600
RETRY_AFTER = (5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR)
TIME_LIMIT = 5.0
FIELDS = ("seq", "event", "endpoint", "due", "state", "signature", "attempts", "status")


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint."""

    seq: int
    event: str
    endpoint: str
    due: float
    state: str
    signature: str
    attempts: int
    status: int | None


class Postman:
    """Delivers what is in the books."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def first(self) -> Delivery | None:
        """The delivery that comes next."""
        found = self._select("state IN ('pending', 'held') ORDER BY due, seq LIMIT 1")
        return found[0] if found else None

    def after(self, seq: int) -> list[dict[str, Any]]:
        """The deliveries after number `seq`, oldest first."""
        return [vars(delivery) for delivery in self._select("seq > ? ORDER BY seq LIMIT 1000", seq)]

    def deliver_early(self, numbers: list[int]) -> None:
        """Send what has to arrive before the answer of the call that caused it."""
        for number in numbers:
            for delivery in self._select("seq = ?", number):
                self.deliver(delivery)

    def deliver(self, delivery: Delivery) -> None:
        """Send once, and note what came of it."""
        endpoint, event = self._bank.get(delivery.endpoint), self._bank.get(delivery.event)
        if endpoint is None or event is None or endpoint["status"] != "enabled":
            self._bank.rows("UPDATE delivery SET state = 'failed' WHERE seq = ?", (delivery.seq,))
            return
        event |= {"api_version": endpoint["api_version"] or event["api_version"]}
        event["pending_webhooks"] = pending(self._bank, delivery.event)
        body = json.dumps(event, indent=2).encode()
        keys = signature.secrets_of(self._bank, delivery.endpoint)
        status = _post(endpoint["url"], body, signature.header(keys, body, delivery.signature))
        self._record(delivery, status)

    def _record(self, delivery: Delivery, status: int | None) -> None:
        taken = status is not None and 200 <= status < 300
        last = delivery.attempts >= len(RETRY_AFTER)
        due = self._bank.now() + (0 if taken or last else RETRY_AFTER[delivery.attempts])
        with self._bank.transaction():
            self._bank.rows(
                # A faulty signature is the fault of one sending.
                "UPDATE delivery SET state = ?, due = ?, attempts = attempts + 1, status = ?, signature = 'good'"
                " WHERE seq = ?",
                ("delivered" if taken else "failed" if last else "pending", due, status, delivery.seq),
            )
            # What was held back to be overtaken has been.
            self._bank.rows(
                "UPDATE delivery SET state = 'pending', due = ? WHERE endpoint = ? AND state = 'held' AND event <> ?",
                (self._bank.now(), delivery.endpoint, delivery.event),
            )
        self._bank.alarm.set()

    def _select(self, condition: str, *values: Any) -> list[Delivery]:
        rows = self._bank.rows(f"SELECT {', '.join(FIELDS)} FROM delivery WHERE {condition}", values)
        return [Delivery(*row) for row in rows]


def _post(url: str, body: bytes, signed: str) -> int | None:
    """The status of one sending; None where there was no answer. Redirects are not followed, proxies not asked."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": signed,
        "User-Agent": "Stripe/1.0 (sandbox)",
    }
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    with closing(kind(parts.hostname or "", parts.port, timeout=TIME_LIMIT)) as connection:
        try:
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
        except (OSError, ValueError, http.client.HTTPException):
            # A name that no address can have is a ValueError.
            return None
