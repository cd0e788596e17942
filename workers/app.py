"""The Celery application: one Celery task per kind, all bound to `execute`, and what each process sets up for it."""

import logging
import os
import signal
from collections import Counter
from contextlib import suppress
from typing import Any

import structlog
from billiard.exceptions import WorkerLostError
from celery import Celery, Task, signals
from celery.platforms import EX_FAILURE
from celery.worker.request import Request

import celeryconfig
from logs import configure_logging
from settings import get_settings
from tasks.discovery import handlers
from workers.attempt import stopping
from workers.attempt.execute import execute
from workers.attempt.keeper import Keeper
from workers.hints import Malformed, hints_in, load
from workers.process import parent
from workers.process.broker import correct
from workers.process.pool import ThreadPool
from workers.process.pool import install as install_pool
from workers.process.presence import Presence
from workers.wakeup import announce, doorbell

log = structlog.get_logger()

correct()
install_pool()

app = Celery("mainstay", set_as_current=True)
app.config_from_object(celeryconfig)

_keeper: Keeper | None = None
_queues: tuple[str, ...] = ()


class HintRequest(Request):
    """A message in the parent's eyes. A dead child's leases are let go at once instead of when they run out."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's signature
        """Celery tells that the child vanished."""
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        exception = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(exception, WorkerLostError) and self.worker_pid:
            with suppress(Malformed):
                parent.abandon(hints_in(self.args), f"{self.hostname}:{self.worker_pid}")


class AttemptFailed(Exception):
    """Shown in Flower for a job whose attempt did not succeed: how it ended, and the error's code."""


class KindTask(Task):  # type: ignore[type-arg]  # it has no parameters at run time
    """The Celery task of one kind."""

    Request = HintRequest  # type: ignore[assignment]  # Celery takes a class as well as its name
    abstract = True

    throws = (AttemptFailed,)

    def run(self, hints: list[tuple[str, int]]) -> dict[str, int]:
        """Perform the jobs that `hints` (id, epoch) tell of.

        What it returns or raises is for whoever watches in Flower; nothing else reads it.
        """
        if _keeper is None:
            raise RuntimeError("this process was not set up to perform jobs: start it as a Celery worker")
        endings = execute(_keeper, load(hints))
        if stopping.at_once():
            raise SystemExit(EX_FAILURE)
        if len(hints) == 1 and endings and endings[0].error is not None:
            raise AttemptFailed(f"{endings[0].outcome}: {endings[0].error['code']}")
        return dict(Counter(ending.outcome.value for ending in endings))


def register_kinds() -> None:
    """Give every kind its Celery task."""
    for kind in handlers():
        app.register_task(type(kind, (KindTask,), {"name": kind, "abstract": False})())


register_kinds()


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging("worker")
    for per_message in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(per_message).setLevel(logging.WARNING)


@signals.worker_shutting_down.connect
def _begin_to_stop(**_: Any) -> None:
    stopping.begin()


@signals.celeryd_after_setup.connect
def _learn_queues(instance: Any, **_: Any) -> None:
    """In the parent, before any child is forked."""
    global _queues  # noqa: PLW0603  # what `-Q` said, once per process
    _queues = tuple(instance.app.amqp.queues.consume_from)


@signals.worker_process_init.connect
def _set_up_child(sender: str, **_: Any) -> None:
    """A pool child begins: what it inherited belongs to its parent."""
    doorbell.forget()
    announce.forget()
    _start_keeper(sender, slots=1, killable=True)


@signals.worker_ready.connect
def _set_up_threads(sender: Any, **_: Any) -> None:
    """A threads pool performs in the main process, which therefore keeps its own watch."""
    pool = sender.controller.pool
    if isinstance(pool, ThreadPool):
        pool.stuck = _start_keeper(sender.hostname, slots=sender.controller.concurrency, killable=False).stuck


@signals.worker_process_shutdown.connect
def _stop_keeper(**_: Any) -> int:
    """Returns how many threads are left behind."""
    global _keeper  # one keeper per process
    if _keeper is None:
        return 0
    keeper, _keeper = _keeper, None
    keeper.stop()
    return keeper.stuck()


@signals.worker_shutdown.connect
def _leave(**_: Any) -> None:
    """The worker has stopped in order. Threads that were given up would keep the process from ending."""
    left_behind = _stop_keeper()
    if left_behind:
        log.warning("threads_left_behind", threads=left_behind)
        logging.shutdown()
        os._exit(EX_FAILURE)


def _start_keeper(hostname: str, *, slots: int, killable: bool) -> Keeper:
    global _keeper  # noqa: PLW0603  # one keeper per process
    presence = Presence(f"{hostname}:{os.getpid()}", _queues, slots, tuple(handlers()))
    _keeper = Keeper(presence, killable=killable, resign=None if killable else _stop_in_order)
    _keeper.start()
    return _keeper


def _stop_in_order() -> None:
    """Whoever supervises starts another worker when this one has ended."""
    os.kill(os.getpid(), signal.SIGTERM)


get_settings()
