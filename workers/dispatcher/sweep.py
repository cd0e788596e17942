"""Sweep: now and then remove the files that nobody knows, in a thread of its own."""

import time
from threading import Thread

import structlog

from workers import files

log = structlog.get_logger()

SWEEP_DELAY = 60.0
SWEEP_INTERVAL = 6 * 3600.0


class Sweeper:
    """Now and then removes files that crashes left behind, in a thread beside the dispatcher's turns."""

    def __init__(self) -> None:
        self._next = time.monotonic() + SWEEP_DELAY
        self._thread: Thread | None = None

    def turn(self) -> None:
        """Begin to sweep if it is time and nobody sweeps."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + SWEEP_INTERVAL
        self._thread = Thread(target=_sweep, name="sweep", daemon=True)
        self._thread.start()


def _sweep() -> None:
    try:
        swept = files.sweep()
    except Exception:
        log.exception("sweep_failed")
        return
    if swept:
        log.info("files_swept", files=swept)
