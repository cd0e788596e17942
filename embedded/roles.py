"""Mainstay's processes on one machine: the name of each, its command, and how to tell that it works."""

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests

from embedded.ports import LOOPBACK, free_port, require_free

FLOWER_USER = "mainstay"


@dataclass(frozen=True)
class Ports:
    """Where each server of a run listens."""

    api: int
    flower: int
    payments: int
    control: int
    http: int

    @classmethod
    def choose(cls, api: int | None) -> "Ports":
        """Free ports; a port asked for by number that is not free is `PortTaken`."""
        chosen = require_free(api) if api else free_port()
        return cls(chosen, *(free_port() for _ in range(4)))


@dataclass(frozen=True)
class Role:
    """One process: its name, its command, how long it may take to stop (seconds), and whether it answers."""

    name: str
    command: tuple[str, ...]
    stop_within: float
    answers: Callable[[], bool]


@dataclass(frozen=True)
class Lane:
    """A queue and the pool that serves it."""

    queue: str
    pool: tuple[str, ...]

    @property
    def role(self) -> str:
        """The name of the lane's process."""
        return f"worker-{self.queue}"


LANES = (
    Lane("payments", ("-c", "2")),
    Lane("integrations", ("--pool", "threads", "-c", "32")),
    Lane("data", ("-c", "1")),
    Lane("default", ("-c", "2")),
)


def api(ports: Ports) -> Role:
    """The HTTP API."""
    # Whoever pressed Ctrl-C gets the prompt back before the last long poll would have ended.
    command = python("gunicorn", "--config", "api/gunicorn.conf.py", "--graceful-timeout", "8",
                     "--bind", f"{LOOPBACK}:{ports.api}", "api:create_app()")  # fmt: skip
    return Role("api", command, 12, lambda: responds(f"{url(ports.api)}/readyz"))


def dispatcher() -> Role:
    """The process that hands due jobs to the workers; whether it does shows only in jobs that move."""
    return Role("dispatcher", python("workers.dispatcher"), 15, lambda: True)


def worker(lane: Lane, is_answering: Callable[[str], bool]) -> Role:
    """The workers of one queue."""
    node = f"{lane.queue}@{socket.gethostname()}"
    command = celery("worker", "--without-gossip", "--without-mingle", "--heartbeat-interval", "10",
                     "-n", node, "-Q", lane.queue, *lane.pool)  # fmt: skip
    return Role(lane.role, command, 30, lambda: is_answering(node))


def flower(ports: Ports) -> Role:
    """The view of the living workers."""
    command = celery("flower", f"--address={LOOPBACK}", f"--port={ports.flower}")
    return Role("flower", command, 5, lambda: responds(f"{url(ports.flower)}/healthcheck"))


def sandbox(ports: Ports, data: Path) -> Role:
    """The pretend outside world."""
    command = python("sandbox", "--payments-port", str(ports.payments), "--control-port", str(ports.control),
                     "--http-port", str(ports.http), "--data", str(data))  # fmt: skip
    return Role("sandbox", command, 10, lambda: responds(f"{url(ports.http)}/calls"))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Run a module in this interpreter."""
    return (sys.executable, "-m", module, *arguments)


def celery(*arguments: str) -> tuple[str, ...]:
    """Run a command of Celery's for our application."""
    return python("celery", "-A", "workers.app", *arguments)


def url(port: int) -> str:
    """The address of a server on this machine."""
    return f"http://{LOOPBACK}:{port}"


def responds(address: str) -> bool:
    """Whether the address answers 200."""
    with requests.Session() as session:
        # A proxy named in the environment cannot reach our loopback.
        session.trust_env = False
        try:
            return session.get(address, timeout=5).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False
