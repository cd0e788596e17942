"""A private PostgreSQL 18 in a folder: made on first use, loopback only, durable, gone when its starter is.

The folder holds `cluster` (Postgres's own data), `password`, `lock` and, unless it goes elsewhere, the log.
Whoever holds the lock owns the folder; a server that runs in it without the lock was left over by a killed
run, and is stopped before ours starts.
"""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from embedded import CannotRun
from embedded.cluster import DATABASE, ROLE, Cluster, program
from embedded.folder import FolderLock
from embedded.ports import LOOPBACK, free_port, require_free
from embedded.processes import StartFailed, await_start, end, end_leftover, spawn

START_DEADLINE = 60.0
STOP_DEADLINE = 30.0

OPTIONS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """One server over one folder; a context manager that starts and stops it."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """Nothing runs yet. Without a port a free one is chosen at the first start, and kept from then on."""
        self.data_dir = data_dir.resolve()
        self.log = log.resolve() if log else self.data_dir / "postgres.log"
        self.port = port
        self.options = {**OPTIONS, **(options or {})}
        self._cluster = Cluster(self.data_dir, self.log)
        self._lock = FolderLock(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the server's database, in SQLAlchemy's form."""
        return f"postgresql+psycopg://{ROLE}:{self._cluster.password()}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise CannotRun(f"The Postgres of {self.data_dir} is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server that was started is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Make the cluster if need be, end what a killed run left over, return once queries are accepted."""
        self._lock.take()
        try:
            self._cluster.prepare()
            self._end_leftover()
            self._process = self._launch()
        except BaseException:
            self._lock.release()
            raise

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server: fast writes a checkpoint, immediate leaves recovery to the next start."""
        if self._process is not None:
            end(self._process, signal.SIGINT if mode == "fast" else signal.SIGQUIT, STOP_DEADLINE)
            self._process = None
        self._lock.release()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self._cluster.data / "postmaster.pid"

    def _end_leftover(self) -> None:
        try:
            pid = int(self._pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        end_leftover(pid, str(self._cluster.data), signal.SIGINT, STOP_DEADLINE)
        # Postgres itself would take any living process with that number for the server and refuse to start.
        # Its second guard, the shared memory that surviving sessions hold, does not need the file.
        self._pid_file.unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        last = time.monotonic() + START_DEADLINE
        while True:
            port = free_port() if self.port is None else require_free(self.port)
            try:
                process = self._attempt(port)
            except StartFailed as failure:
                lost_race = self.port is None and "could not bind" in failure.written
                # Sessions of a server that was killed take a moment to notice it and let go.
                busy = "pre-existing shared memory block" in failure.written
                if not (lost_race or busy) or time.monotonic() > last:
                    raise
                time.sleep(0.1)
            else:
                self.port = port
                return process

    def _attempt(self, port: int) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in {**self.options, "port": str(port)}.items()]
        self.log.touch()
        written_from = self.log.stat().st_size
        process = spawn(
            [program("postgres"), "-D", str(self._cluster.data), *settings],
            log=self.log,
            cwd=self.data_dir,
            death_signal=signal.SIGINT,
            account=self._cluster.account,
        )
        await_start(process, lambda: self._is_ready(process.pid), START_DEADLINE, self.log, written_from)
        return process

    def _is_ready(self, pid: int) -> bool:
        try:
            first, *others = self._pid_file.read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return False
        return int(first) == pid and any(line.strip() == "ready" for line in others)
