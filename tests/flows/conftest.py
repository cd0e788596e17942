"""What the flows share: real processes, and jobs that tell in a file what was done."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support import kinds  # noqa: F401  # declares the kinds here as well
from tests.support.engine import enqueue
from tests.support.processes import Line, line
from workers.wakeup.doorbell import ring

QUICK = {"MAINSTAY_LEASE_SECONDS": "4", "MAINSTAY_DISPATCH_LEASE_SECONDS": "5"}
"""Short leases, so that tests of what happens after them do not take long."""


@pytest.fixture
def processes(database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Start dispatchers and workers for one test."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    with line(tmp_path) as running:
        yield running


@pytest.fixture
def submit(app_id: UUID, tmp_path: Path) -> Callable[..., UUID]:
    """Enqueue a job of `kind` and ring for it."""

    def submit(kind: str, seconds: float = 0, **options: object) -> UUID:
        job = enqueue(app_id, kind, {"path": str(tmp_path / "notes"), "seconds": seconds}, **options)
        ring([str(options.get("queue", "default"))])
        return job

    return submit


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """What handlers wrote down: event, job, attempt, process."""

    def notes() -> list[list[str]]:
        path = tmp_path / "notes"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    return notes
