"""How ready jobs are divided into messages: pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

TARGET = 0.075
"""Seconds of work that one message should carry."""
COST = 0.0001
"""Seconds that claiming and recording add to every job."""


MESSAGE_COST = 0.003
"""Seconds that a message itself costs a worker, whatever it carries."""


class Candidate(NamedTuple):
    """A ready job; `alone` if it must not share a message."""

    id: UUID
    kind: str
    alone: bool


class Load(NamedTuple):
    """What one message will carry."""

    kind: str
    ids: tuple[UUID, ...]


def fitting(seconds: float | None, limit: int) -> int:
    """How many jobs whose handler takes `seconds` fit into one message; 1 while nothing is known."""
    if seconds is None:
        return 1
    return max(1, min(limit, int(TARGET / (seconds + COST))))


def rounds(messages: Sequence[float], least: int, most: int) -> int:
    """How many messages per slot may wait, given how many seconds of work each kind's messages carry.

    `least` of full ones. Lighter ones are gone sooner than the dispatcher looks again, so that more of them may wait,
    up to `most`: always about the same amount of work.
    """
    heaviest = max(messages, default=TARGET) + MESSAGE_COST
    return max(least, min(most, int(least * TARGET / heaviest)))


def divide(candidates: Sequence[Candidate], sizes: Mapping[str, int], slots: int, room: int) -> list[Load]:
    """At most `room` messages, taken from `candidates` in their order, each of one kind.

    A message holds no more than its kind's size, and no more than its share when all slots, or as many as there is room
    for, were to get some: a few jobs spread over idle workers end sooner than the same jobs in one chunk.
    """
    totals = Counter(candidate.kind for candidate in candidates)
    shares = max(min(slots, room), 1)
    limits = {kind: min(sizes.get(kind, 1), math.ceil(total / shares)) for kind, total in totals.items()}
    loads: list[tuple[str, list[UUID]]] = []
    open_loads: dict[str, list[UUID]] = {}
    for candidate in candidates:
        ids = None if candidate.alone else open_loads.get(candidate.kind)
        if ids is None:
            if len(loads) == room:
                if not open_loads:
                    break
                continue
            ids = []
            loads.append((candidate.kind, ids))
        ids.append(candidate.id)
        if candidate.alone:
            continue
        if len(ids) < limits[candidate.kind]:
            open_loads[candidate.kind] = ids
        else:
            open_loads.pop(candidate.kind, None)
    return [Load(kind, tuple(ids)) for kind, ids in loads]
