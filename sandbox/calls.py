"""One call that is being executed, and the events it leaves behind."""

from dataclasses import dataclass

from sandbox.bank import Bank, Body, new_id


@dataclass(frozen=True)
class Call:
    """Who calls, under which idempotency key, and the books it may write in."""

    bank: Bank
    account: str
    request_id: str
    key: str | None
    api_version: str

    def emit(self, event_type: str, subject: Body) -> None:
        """Record that something happened to `subject`, with the request that caused it."""
        event: Body = {
            "id": new_id("evt_1"),
            "object": "event",
            "account": None,
            "api_version": self.api_version,
            "context": None,
            "created": int(self.bank.now()),
            "data": {"object": subject},
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.request_id, "idempotency_key": self.key},
            "type": event_type,
        }
        self.bank.insert(self.account, "event", event, parent=subject["id"])
