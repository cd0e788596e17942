"""The consumer: keeps from a worker's pool what it cannot use, be it a kind it does not know or no message of ours.

Celery would discard both, but for some malformed ones that would take the worker with them or use up its credit. And it
looks for a Redis that is away less and less often, in the end every half a minute.
"""

from functools import partial
from typing import Any

import structlog
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from kombu.exceptions import KombuError

from workers.hints import Malformed, hints_in
from workers.process import parent

log = structlog.get_logger()
celery_log = get_logger(__name__)


RECONNECT_PAUSE = 1


class HintConsumer(Consumer):
    """Celery's consumer, which asks this for every message."""

    def ensure_connected(self, conn: Any) -> Any:
        """Look for Redis once a second, however long it has been away."""
        pauses = {"interval_start": RECONNECT_PAUSE, "interval_step": 0, "interval_max": RECONNECT_PAUSE}
        conn.ensure_connection = partial(conn.ensure_connection, **pauses)
        return super().ensure_connected(conn)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Any:
        """What is called with each message, before anything is reserved for it."""
        receive = super().create_task_handler(*arguments, **options)

        def receive_if_well_formed(message: Any) -> None:
            if _well_formed(message):
                receive(message)
            else:
                log.error("message_malformed")
                self._drop(message)

        return receive_if_well_formed

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002  # Celery's signature
        """Hand the jobs back at once: during a deploy, a new worker beside this one knows their kind."""
        kind = message.headers["task"]
        self._drop(message)
        try:
            hints = hints_in(message.payload[0])
        except Malformed:
            log.error("message_malformed", kind=kind)  # noqa: TRY400  # nobody needs to see where
            return
        log.warning("kind_unknown", kind=kind, jobs=len(hints))
        parent.hand_back(hints)

    def _drop(self, message: Any) -> None:
        message.reject_log_error(celery_log, self.connection_errors)  # type: ignore[attr-defined]  # not in the type stubs


def _well_formed(message: Any) -> bool:
    """Whether Celery can make a request of it. The hints are read by whoever needs them."""
    try:
        headers = message.headers
        arguments, keywords, embedded = message.payload
        limits = headers["timelimit"]
        return (
            isinstance(headers["id"], str)
            and isinstance(headers["task"], str)
            and len(limits) == 2
            and all(limit is None or type(limit) in (int, float) for limit in limits)
            and headers.get("eta") is None
            and headers.get("expires") is None
            and isinstance(arguments, list)
            and isinstance(keywords, dict)
            and isinstance(embedded, dict)
        )
    except (KombuError, ValueError, TypeError, LookupError, AttributeError):
        return False
