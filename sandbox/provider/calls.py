"""One call that is being executed, and the events it leaves behind."""

from dataclasses import dataclass, field

from sandbox.books.bank import Bank, Body, new_id
from sandbox.books.calls_log import log_strike
from sandbox.faults.armed import Fault, Faults
from sandbox.faults.kinds import FaultKind, Group
from sandbox.webhooks import queue

API_VERSION = "2026-10-28.endive"


@dataclass(frozen=True)
class Call:
    """Who calls, under which idempotency key, the books it may write in, and the fault that strikes it, if any.

    What the provider does of its own accord is a call without a request.
    """

    bank: Bank
    faults: Faults
    account: str
    request_id: str | None = None
    key: str | None = None
    api_version: str = API_VERSION
    fault: Fault | None = None
    early: list[int] = field(default_factory=list)
    """Deliveries that have to go out before the call is answered."""

    def emit(self, event_type: str, subject: Body) -> None:
        """Record that something happened to `subject`, with the request that caused it, and tell who listens."""
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
        for endpoint_id in queue.listeners(self.bank, self.account, event_type):
            self._tell(event, endpoint_id)

    def _tell(self, event: Body, endpoint_id: str) -> None:
        if self.fault is not None and self.fault.fault is FaultKind.ERROR_ROLLED_BACK:
            # Nobody hears of what is going to be undone, unless it turns out that it cannot be.
            queue.queue(self.bank, event, endpoint_id, None, self.fault.after + 1)
            return
        fault = self.faults.take(Group.WEBHOOK, event["type"])
        if fault is not None:
            log_strike(self.bank, fault.fault, event["type"], self.request_id)
        self.early.extend(queue.queue(self.bank, event, endpoint_id, fault, 0))
