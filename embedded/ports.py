"""Ports on the loopback interface: find a free one, or say that one is taken."""

import random
import socket

from embedded import CannotRun

LOOPBACK = "127.0.0.1"

# Below the range that Linux and macOS hand to outgoing connections, so that a port which is free now is not
# taken by one of our own clients before its server has started.
CANDIDATES = range(20_000, 32_000)


class PortTaken(CannotRun):
    """A port that was asked for by number is in use."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} on {LOOPBACK} is taken: stop the program that listens there or choose another port."
        )
        self.port = port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections that linger after a close do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port on which nothing listens."""
    for port in random.SystemRandom().sample(CANDIDATES, 200):
        if is_free(port):
            return port
    raise CannotRun(
        f"No free port found on {LOOPBACK} from {CANDIDATES.start} to {CANDIDATES.stop}: close some programs."
    )


def require_free(port: int) -> int:
    """The same port, or `PortTaken`."""
    if not is_free(port):
        raise PortTaken(port)
    return port
