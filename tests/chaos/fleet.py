"""The fleet: Mainstay as real processes beside its servers and its outside world, and what a supervisor would do.

Processes are started by the main thread only: Linux ties them to the thread that started them.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Self

import psutil
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine

from embedded import CannotRun
from embedded.ports import LOOPBACK, free_port
from embedded.postgres import Postgres
from embedded.processes import end, spawn, wait_until
from embedded.roles import responds
from embedded.valkey import Valkey
from settings import get_settings
from tests.chaos import clock, points, sabotage
from tests.support.environment import ENVIRONMENT

ROOT = Path(__file__).parents[2]
DISK = 1024
"""Mebibytes of the disk that Postgres may fill."""
RESTART_AFTER = 0.5
STOP_DEADLINE = 40.0
BOOT_DEADLINE = 60.0


class Member:
    """One process that is started again, as a supervisor would, whenever it is found dead."""

    def __init__(self, name: str, arguments: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = dict(environment)
        self._arguments = arguments
        self._log = log
        self._process: Popen[bytes] | None = None
        self._dead_since: float | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        self._process = spawn(
            [sys.executable, "-m", *self._arguments],
            log=self._log, cwd=ROOT, env={**os.environ, **self.environment}, death_signal=signal.SIGKILL,
        )  # fmt: skip
        self._dead_since = None

    def look(self) -> None:
        """Start it again when it has been dead for a moment."""
        if self.alive:
            return
        self._dead_since = self._dead_since or time.monotonic()
        if time.monotonic() - self._dead_since >= RESTART_AFTER:
            self.start()

    def signal(self, number: int) -> None:
        """Send a signal to the process alone; none to one that is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def children(self) -> list[int]:
        """The processes that it started and that live."""
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        return []

    def stop(self) -> None:
        if self._process is not None:
            self.signal_all(signal.SIGCONT)
            end(self._process, signal.SIGTERM, STOP_DEADLINE)


class Fleet:
    """All of it; a context manager. `disk` is the folder of a small file system for Postgres, if there is one."""

    def __init__(self, folder: Path, environment: Mapping[str, str], disk: Path | None) -> None:
        self.folder = folder
        self.disk = disk
        options = {"max_wal_size": "128MB", "shared_buffers": "128MB"}
        self.postgres = Postgres((disk or folder) / "postgres", options=options, log=folder / "postgres.log")
        self.valkey = Valkey(folder / "valkey")
        self.points = points.Points(folder / "points")
        self._environment = {
            **ENVIRONMENT,
            points.FOLDER: str(folder / "points"),
            "MAINSTAY_FILES_DIR": str(folder / "files"),
            "MAINSTAY_LOG_LEVEL": "INFO",
            "EGRESS_ALLOW_CIDRS": f"{LOOPBACK}/32",
            "MAINSTAY_STRIPE_API_KEY": "sk_test_chaos",
            **environment,
        }
        self.members: dict[str, Member] = {}
        self.held = set[str]()
        """The names of servers and members that a fault keeps down for now."""
        self.effects = folder / "effects.jsonl"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for member in self.members.values():
            member.signal_all(signal.SIGCONT)
            member.signal_all(signal.SIGKILL)
        self.valkey.stop()
        self.postgres.stop("immediate")

    @property
    def workers(self) -> list[Member]:
        return [member for name, member in self.members.items() if name.startswith("worker")]

    @property
    def dispatchers(self) -> list[Member]:
        return [member for name, member in self.members.items() if name.startswith("dispatcher")]

    def look(self) -> None:
        """Start again what died and is not held down by a fault."""
        for name, server in (("postgres", self.postgres), ("valkey", self.valkey)):
            if name not in self.held and not server.running:
                with suppress(CannotRun):
                    server.start()
        for name, member in list(self.members.items()):
            if name not in self.held:
                member.look()

    def heal(self) -> None:
        """End every fault: nothing is frozen, nothing is held down."""
        self.held.clear()
        for member in self.members.values():
            member.signal_all(signal.SIGCONT)
        self.look()

    def add(self, name: str, *arguments: str, **environment: str) -> Member:
        """Start another member."""
        log = self.folder / f"{name}.log"
        member = Member(name, arguments, log, {**self._environment, **environment})
        self.members[name] = member
        member.start()
        return member

    def add_worker(self, name: str, queue: str, *options: str, **environment: str) -> Member:
        """Start another worker of a queue."""
        return self.add(
            name, "celery", "-A", "tests.chaos.worker", "worker", "--without-gossip", "--without-mingle",
            "--heartbeat-interval", "10", "-n", f"{name}@%h", "-Q", queue, *options, **environment,
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Stop a member for good."""
        self.members.pop(name).stop()

    def pids(self, server: Postgres | Valkey) -> Iterator[int]:
        """The processes of a server."""
        yield server.pid
        with suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(server.pid).children(recursive=True))

    def _start(self) -> None:
        self.postgres.start()
        self.valkey.start()
        api, payments, control, sink = (free_port() for _ in range(4))
        self.api_url, self.sink_url = f"http://{LOOPBACK}:{api}", f"http://{LOOPBACK}:{sink}"
        self.control_url = f"http://{LOOPBACK}:{control}"
        self._environment |= {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "MAINSTAY_STRIPE_API_BASE": f"http://{LOOPBACK}:{payments}",
        }
        self._migrate()
        self.engine = create_engine(self.postgres.url, poolclass=NullPool, connect_args={"connect_timeout": 3})
        self.add("sink", "tests.chaos.sink", "--port", str(sink), "--file", str(self.effects))
        self.add("sandbox", "sandbox", "--payments-port", str(payments), "--control-port", str(control),
                 "--http-port", str(free_port()), "--data", str(self.folder / "sandbox"))  # fmt: skip
        self.add("api", "gunicorn", "--config", "api/gunicorn.conf.py", "--graceful-timeout", "5",
                 "--bind", f"{LOOPBACK}:{api}", "tests.chaos.api:create_app()", CHAOS_NEW_KIND="1")  # fmt: skip
        for number in (1, 2):
            self.add(f"dispatcher-{number}", "tests.chaos.dispatcher", CHAOS_NEW_KIND="1")
        self.add_worker("worker-1", "default", "-c", "4")
        self.add_worker("worker-2", "default", "-c", "4")
        self.add_worker("worker-threads", "integrations", "--pool", "threads", "-c", "8")
        self.add_worker("worker-payments", "payments", "-c", "1")
        assert wait_until(lambda: responds(f"{self.api_url}/readyz"), BOOT_DEADLINE), "the API did not start"

    def _migrate(self) -> None:
        os.environ.update(self._environment)
        get_settings.cache_clear()
        config = Config(ROOT / "alembic.ini")
        config.set_main_option("script_location", str(ROOT / "migrations"))
        command.upgrade(config, "head")


def sabotaged(name: str | None) -> dict[str, str]:
    """The environment of a negative control."""
    return {sabotage.VARIABLE: name} if name else {}


def off_by(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is wrong."""
    return {clock.VARIABLE: str(seconds)}
