"""The processes of both sides: our worker and dispatcher, and the peer's worker."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.servers import Servers
from embedded.roles import python

SLOTS = 2
WORKER = ("--without-gossip", "--without-mingle", "-c", str(SLOTS), "--task-events")
"""The same for both: two processes, and the events that Flower would show."""


@contextmanager
def our_worker(servers: Servers, arguments: Sequence[str] = ()) -> Iterator[None]:
    """The worker of the queue `default`, once both of its children have reported."""
    program = python(
        "celery", "-A", "bench.engine", "worker", *WORKER, "--heartbeat-interval", "10", "-Q", "default",
        "-n", f"default@{socket.gethostname()}", *arguments,
    )  # fmt: skip
    with servers.connect("mainstay") as connection:

        def ready() -> bool:
            row = connection.execute("SELECT count(*) FROM workers").fetchone()
            return row == (SLOTS,)

        with servers.running("worker", program, ready):
            yield


@contextmanager
def our_dispatcher(servers: Servers, variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """A dispatcher, once it holds all queues."""
    with servers.connect("mainstay") as connection:

        def ready() -> bool:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchone()
            return row is not None and row[0] >= 4

        with servers.running("dispatcher", python("bench.engine"), ready, variables):
            yield


@contextmanager
def plain_worker(servers: Servers) -> Iterator[None]:
    """The peer's worker, once it answers."""
    from bench.plain import app  # noqa: PLC0415  # it reads the environment that the servers have just set

    program = python("celery", "-A", "bench.plain", "worker", *WORKER, "-n", "plain@%h")
    with servers.running(
        "plain-worker", program, lambda: bool(app.control.broadcast("ping", reply=True, timeout=5, limit=1))
    ):
        yield
