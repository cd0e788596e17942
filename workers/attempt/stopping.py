"""Whether this worker is to stop, and by when: told by the parent process, read by all its children.

The parent only writes a moment into memory that it shares with the children it forked before; it needs no thread, no
socket and no lock for that.
"""

import mmap
import struct
import time

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]  # newer than the type stubs

from settings import get_settings

_shared = mmap.mmap(-1, 8)


def begin() -> None:
    """Say that the worker is stopping: what still runs after the stop grace is handed back.

    Told again it changes nothing: an impatient second SIGTERM must not give handlers more time.
    """
    if _deadline():
        return
    deadline = time.monotonic() + get_settings().stop_grace_seconds
    _shared[:8] = struct.pack("d", deadline)


def begun() -> bool:
    """Whether the worker is stopping."""
    return bool(_deadline())


def overdue() -> bool:
    """Whether the worker is stopping and the grace for running handlers is over."""
    deadline = _deadline()
    return bool(deadline) and time.monotonic() > deadline


def at_once() -> bool:
    """Whether this very process was told to end, by a cold stop or by a signal to its whole group.

    The signal's handler raises `SystemExit` in whatever runs, once.
    """
    return bool(terminate_handler_fired())


def _deadline() -> float:
    (deadline,) = struct.unpack("d", _shared[:8])
    return float(deadline)
