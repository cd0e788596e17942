"""The real processes of the engine, started for one test and killed by it as it likes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from models import Worker
from models.session import transaction

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 30) -> T:
    """Look until the answer is true; the answer. Fails after `seconds` with what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {seen!r}"
        time.sleep(0.02)


class Process:
    """One process of ours, in a session of its own so that nothing outlives its test."""

    def __init__(self, log: Path, *command: str, **environment: str) -> None:
        self._log = log.open("ab")
        self._popen = subprocess.Popen(
            command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        self.pid = self._popen.pid

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """The exit status."""
        return self._popen.wait(seconds)

    def end(self) -> None:
        """Kill it and whatever it started."""
        if self._popen.poll() is None:
            os.killpg(self.pid, signal.SIGCONT)
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait(10)
        self._log.close()


class Line:
    """A dispatcher and workers over the test's database, with the kinds of `tests.support.kinds`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Process] = []

    def dispatcher(self, **environment: str) -> Process:
        """Start a dispatcher."""
        return self._start("dispatcher", sys.executable, "-m", "tests.support.dispatcher", **environment)

    def worker(
        self,
        queue: str = "default",
        *options: str,
        concurrency: int = 2,
        app: str = "tests.support.worker",
        **environment: str,
    ) -> Process:
        """Start a worker and wait until it has said that it is there. The app `workers.app` knows no kind of ours."""
        before = set(workers())
        process = self._start(
            f"worker-{queue}", sys.executable, "-m", "celery", "-A", app, "worker",
            "--without-gossip", "--without-mingle", "--heartbeat-interval", "10",
            "-n", f"{queue}-{len(self._processes)}@%h", "-Q", queue, "-c", str(concurrency), *options, **environment,
        )  # fmt: skip
        expected = 1 if "threads" in options else concurrency
        eventually(lambda: len(set(workers()) - before) >= expected)
        return process

    def end(self) -> None:
        """Kill everything that was started."""
        for process in self._processes:
            process.end()

    def log(self) -> str:
        """What all processes have written so far."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def _start(self, name: str, *command: str, **environment: Any) -> Process:
        log = self._folder / f"{len(self._processes)}-{name}.log"
        process = Process(log, *command, **environment)
        self._processes.append(process)
        return process


def workers() -> list[str]:
    """The names of the worker processes that have a row."""
    with transaction() as session:
        return list(session.scalars(select(Worker.name)))


@contextmanager
def line(folder: Path) -> Iterator[Line]:
    """Processes that end with the block; what they wrote is shown with a test that fails."""
    processes = Line(folder)
    try:
        yield processes
    finally:
        processes.end()
        print(processes.log())  # noqa: T201  # pytest captures it
