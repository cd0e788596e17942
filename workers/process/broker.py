"""Three corrections to how Celery's consumer treats Redis; their test guards what they stand on."""

from queue import Empty
from typing import Any

import structlog
from celery.worker import heartbeat
from kombu.transport import redis

log = structlog.get_logger()


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


_read = redis.Channel._brpop_read  # type: ignore[attr-defined]  # noqa: SLF001  # the method that must not raise


def _read_or_drop(channel: Any, **options: Any) -> Any:
    """What was in the queue's list and cannot even be read as a message would end the whole worker."""
    try:
        return _read(channel, **options)
    except (ValueError, TypeError, LookupError, AttributeError):
        log.exception("message_unreadable")
        raise Empty from None


def correct() -> None:
    """Install all corrections in this process.

    Heartbeat events are published inside the worker's event loop. With their endless retries a frozen Redis would
    stop the loop, and with it every time limit.
    """
    redis.Channel.QoS = CreditReturningQoS
    redis.Channel._brpop_read = _read_or_drop  # type: ignore[attr-defined]  # noqa: SLF001  # see above
    heartbeat.Heart._send = _send_once  # type: ignore[attr-defined]  # noqa: SLF001  # see above
