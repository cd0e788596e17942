"""The sandbox as a running process, for every test that needs an outside world."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

ROOT = Path(__file__).parents[2]


class Sandbox:
    """A sandbox and what a test may do to it: arm faults, read counts, look into the provider's own books."""

    def __init__(self, data: Path, process: subprocess.Popen[str], ports: dict[str, int]) -> None:
        self.data = data
        self.process = process
        self.payments = f"http://127.0.0.1:{ports['payments_port']}"
        self.control = f"http://127.0.0.1:{ports['control_port']}"
        self.http = f"http://127.0.0.1:{ports['http_port']}"

    def new_key(self) -> str:
        """An API key nobody has used: each is an account of its own, so tests do not see each other."""
        return f"sk_test_{uuid4().hex}"

    def arm(self, fault: str, endpoint: str, **options: Any) -> None:
        order = {"fault": fault, "endpoint": endpoint, **options}
        requests.post(f"{self.control}/faults", json=order, timeout=10).raise_for_status()

    def disarm(self) -> None:
        requests.delete(f"{self.control}/faults", timeout=10).raise_for_status()

    def last_call(self) -> int:
        return int(self.books("SELECT coalesce(max(seq), 0) FROM call")[0][0])

    def calls(self, after: int) -> list[dict[str, Any]]:
        """The provider's calls after number `after`, oldest first."""
        reply = requests.get(f"{self.control}/calls", params={"after": after}, timeout=10)
        items: list[dict[str, Any]] = reply.json()["items"]
        return items

    def books(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the provider's file itself: the truth that no reply can bend."""
        with closing(sqlite3.connect(f"file:{self.data}/payments.sqlite3?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()


@contextmanager
def running_sandbox(data: Path) -> Iterator[Sandbox]:
    """Start a sandbox on free ports; stop it, whatever happens."""
    command = [sys.executable, "-m", "sandbox", "--data", str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Sandbox(data, process, json.loads(process.stdout.readline()))
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
            process.wait(timeout=10)
