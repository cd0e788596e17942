"""Two corrections to how Celery's consumer treats Redis; `tests/workers/test_broker.py` guards what they stand on."""

from typing import Any

from celery.worker import heartbeat
from kombu.transport import redis


class CreditReturningQoS(redis.QoS):
    """An acknowledgement that fails gives its prefetch credit back.

    Otherwise the slot is never used again, and with all slots gone the worker looks alive and takes nothing. The copy
    of the message that stays behind is harmless: its epoch is void once it was claimed.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, or at least count the message as done."""
        try:
            super().ack(delivery_tag)
        except Exception:
            self._quick_ack(delivery_tag)  # type: ignore[attr-defined]  # not in the type stubs
            raise


_send = heartbeat.Heart._send  # type: ignore[attr-defined]  # noqa: SLF001  # the method that must not retry


def _send_once(heart: Any, event: str, retry: bool = False) -> Any:  # noqa: FBT001, FBT002  # its signature
    return _send(heart, event, retry=False)


def correct() -> None:
    """Install both corrections in this process.

    Heartbeat events are published inside the worker's event loop. With their endless retries a frozen Redis would
    stop the loop, and with it every time limit.
    """
    redis.Channel.QoS = CreditReturningQoS
    heartbeat.Heart._send = _send_once  # type: ignore[attr-defined]  # noqa: SLF001  # see above
