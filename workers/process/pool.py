"""The threads pool: Celery's own, but for stopping, where it would wait for threads that never come back."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from celery import concurrency
from celery.concurrency import thread

PAUSE = 0.1


class ThreadPool(thread.TaskPool):
    """A thread cannot be killed. Whoever sets `stuck` tells how many of them have been given up."""

    stuck: Callable[[], int] = staticmethod(lambda: 0)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._futures: set[Future[Any]] = set()

    def on_apply(self, *arguments: Any, **options: Any) -> Any:
        """Celery has something to perform."""
        result = super().on_apply(*arguments, **options)
        self._futures.add(result.f)
        result.f.add_done_callback(self._futures.discard)
        return result

    def on_stop(self) -> None:
        """Celery stops in order: return when all threads are idle, except for those that have been given up.

        The process cannot end in order after that, since Python waits for them as well: see `workers.app`.
        """
        self.executor.shutdown(wait=False, cancel_futures=True)  # type: ignore[attr-defined]  # not in the type stubs
        while len(self._futures) > self.stuck():
            time.sleep(PAUSE)


def install() -> None:
    """Have `--pool threads` mean this one."""
    concurrency.ALIASES["threads"] = f"{__name__}:{ThreadPool.__name__}"  # type: ignore[attr-defined]  # as above
