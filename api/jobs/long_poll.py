"""Wait for a job to change, as `Prefer: wait=N` asks, with no connection or transaction held meanwhile."""

import re
from collections.abc import Callable
from time import monotonic
from typing import TypeVar
from uuid import UUID

from flask import request

from workers.wakeup.announce import watch

Found = TypeVar("Found")

LONGEST_S = 25
LOOK_EVERY_S = 1.0
"""Announcements are hints: a lost one costs no more than this."""

_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*", re.ASCII | re.IGNORECASE)


def preferred_wait() -> int:
    """The whole seconds that the request would wait (RFC 7240): at most 25, 0 without `Prefer: wait`."""
    for preference in ",".join(request.headers.getlist("Prefer")).split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0])
        if found:
            return min(int(found[1]), LONGEST_S)
    return 0


def look_until(job_id: UUID, seconds: float, look: Callable[[], Found | None]) -> Found | None:
    """Call `look` now, at each change of the job and at least once a second, until it answers or time is up.

    The first look comes after the subscription, so that no change falls between the two.
    """
    end = monotonic() + seconds
    with watch(job_id) as change:
        while (found := look()) is None and (left := end - monotonic()) > 0:
            change.wait(min(left, LOOK_EVERY_S))
        return found
