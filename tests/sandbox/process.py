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

    def arm(self, fault: str, endpoint: str | None, **options: Any) -> None:
        order = {"fault": fault, "endpoint": endpoint, **options}
        requests.post(f"{self.control}/faults", json=order, timeout=10).raise_for_status()

    def disarm(self) -> None:
        requests.delete(f"{self.control}/faults", timeout=10).raise_for_status()

    def now(self) -> float:
        """What time it is at the provider."""
        return float(self._get("/clock")["now"])

    def advance(self, seconds: float) -> None:
        """Move the provider's clock ahead; what becomes due on the way is done when this returns."""
        reply = requests.post(f"{self.control}/clock", json={"advance": seconds}, timeout=60)
        reply.raise_for_status()

    def act(self, action: str, object_id: str, amount: int | None = None) -> dict[str, Any]:
        """Do something at the provider's dashboard."""
        order = {"action": action, "object": object_id, **({"amount": amount} if amount else {})}
        reply = requests.post(f"{self.control}/actions", json=order, timeout=10)
        reply.raise_for_status()
        shown: dict[str, Any] = reply.json()
        return shown

    def register(self, api_key: str, url: str, secret: str, **options: Any) -> str:
        """Have the account's events sent to `url`, signed with `secret`; the endpoint's id."""
        order = {"api_key": api_key, "url": url, "secret": secret, **options}
        reply = requests.put(f"{self.control}/webhook_endpoints", json=order, timeout=10)
        reply.raise_for_status()
        return str(reply.json()["id"])

    def roll(self, endpoint_id: str, expires_in: float) -> str:
        """A new signing secret; the old one is valid for another `expires_in` seconds."""
        url = f"{self.control}/webhook_endpoints/{endpoint_id}/roll"
        reply = requests.post(url, json={"expires_in": expires_in}, timeout=10)
        reply.raise_for_status()
        return str(reply.json()["secret"])

    def strikes(self, after: int = 0) -> list[dict[str, Any]]:
        """Which faults struck what, oldest first."""
        items: list[dict[str, Any]] = self._get("/strikes", after=after)["items"]
        return items

    def deliveries(self, event_id: str) -> list[dict[str, Any]]:
        """What has become of an event's deliveries, oldest first."""
        columns = "seq, endpoint, due, state, attempts, status"
        rows = self.books(f"SELECT {columns} FROM delivery WHERE event = ? ORDER BY seq", event_id)
        return [dict(zip(columns.split(", "), row, strict=True)) for row in rows]

    def last_call(self) -> int:
        return int(self.books("SELECT coalesce(max(seq), 0) FROM call")[0][0])

    def calls(self, after: int) -> list[dict[str, Any]]:
        """The provider's calls after number `after`, oldest first."""
        items: list[dict[str, Any]] = self._get("/calls", after=after)["items"]
        return items

    def _get(self, path: str, **query: Any) -> Any:
        reply = requests.get(f"{self.control}{path}", params=query, timeout=10)
        reply.raise_for_status()
        return reply.json()

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
