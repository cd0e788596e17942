"""What a worker is told, and a worker that was told it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.processes import Process, eventually

PATIENCE = 60.0
"""Seconds for what takes one or two on an idle machine."""
UNMEASURED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""It is Celery that runs in these workers: nothing of ours is there to be covered."""


@dataclass(frozen=True)
class Profile:
    """All of ours or Celery's own, which of our corrections are left out, changed settings, options of the command."""

    shipped: bool = True
    uncorrected: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    transport: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ("--heartbeat-interval", "10")


SHIPPED = Profile()
LATE = Profile(settings={"task_acks_late": True})
"""Ours, but for acknowledging when the task is done: what is most often advised."""


class Worker(Process):
    """A `celery worker` over one queue, with children of its own."""

    def __init__(self, folder: Path, url: str, queue: str, profile: Profile, concurrency: int) -> None:
        self.queue = queue
        self._path = folder / f"{queue}.log"
        chosen = json.dumps(asdict(profile) | {"folder": str(folder), "url": url, "queue": queue})
        super().__init__(
            self._path, sys.executable, "-m", "celery", "-A", "tests.upstream.app", "worker", "--without-gossip",
            "--without-mingle", "-P", "prefork", "-c", str(concurrency), "-n", f"{queue}@%h", *profile.options,
            UPSTREAM=chosen, **UNMEASURED,
        )  # fmt: skip

    def log(self) -> str:
        """What it has written."""
        return self._path.read_text()

    def says(self, words: str, seconds: float = PATIENCE) -> None:
        """Wait until it has written these words."""
        eventually(lambda: words in self.log(), seconds)

    @property
    def stopped(self) -> bool:
        """Whether the main process stands still, after SIGSTOP."""
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def children(self) -> list[psutil.Process]:
        """Its pool."""
        return psutil.Process(self.pid).children()


def alive(process: psutil.Process) -> bool:
    """Whether it can still do something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
