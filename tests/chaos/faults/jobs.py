"""Jobs that misbehave: each must end as it deserves, and its neighbours as if it were not there."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.chaos.faults import Course, fault
from tests.chaos.field import Field

BEGIN_DEADLINE = 120.0


def _misbehave(kind: str, deserved: Callable[[Any], bool], field: Field) -> Course:
    job = yield from field.submit(kind)
    field.expected[job] = deserved
    begun = partial(field.scalar, "SELECT started_at IS NOT NULL FROM jobs WHERE id = :id", id=job)
    yield from field.until(begun, BEGIN_DEADLINE, f"{kind} was not begun")


def _failed(code: str) -> Callable[[Any], bool]:
    """Failed with this code; or, as any job may when all its workers die of something else, as the likely cause."""
    return lambda row: row.state == "failed" and row.error["code"] in {code, "worker_lost"}


def _succeeded(row: Any) -> bool:
    return row.state == "succeeded" or (row.state == "failed" and row.error["code"] == "worker_lost")


for _name, _kind, _deserved in (
    ("job_kills_its_process", "chaos.poison", _failed("worker_lost")),
    ("job_raises_memory_error", "chaos.memory", _failed("unexpected_error")),
    ("job_ignores_its_time_limit", "chaos.stubborn", _failed("timed_out")),
    ("job_forks", "chaos.fork", _succeeded),
    ("job_prints_100_megabytes", "chaos.noisy", _succeeded),
):
    fault(_name, name=_name)(partial(_misbehave, _kind, _deserved))
