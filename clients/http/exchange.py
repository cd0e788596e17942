"""One request and its answer on the wire: what was sent, and a deadline that a slow server cannot stretch.

The time-outs of `requests` are per read, so a server that sends a byte now and then holds a call for ever.
One thread watches the deadlines of all exchanges and shuts down the socket of one that is late. That alone is
not enough: `http.client` takes the end of such a stream for the end of an answer, so whoever reads must ask
`expired` afterwards.
"""

import contextlib
import math
import os
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from time import monotonic


class Exchange:
    """The state of one exchange, shared with the watchdog: the lock decides who was first."""

    def __init__(self, deadline: float, *, fresh: bool) -> None:
        """`deadline` by the monotonic clock; `fresh` forbids a connection that an earlier exchange left."""
        self.deadline = deadline
        self.fresh = fresh
        self.connected = False
        """A connection was opened for this exchange; otherwise one was reused."""
        self.sent = False
        """At least one byte of the request was handed to the socket, so the far side may have acted on it."""
        self.answered = False
        """The head of the answer has arrived."""
        self.expired = False
        self.peer: str | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Seconds to the deadline, never quite 0: a socket takes 0 for *do not block*."""
        return max(self.deadline - monotonic(), 0.001)

    def sending_on(self, sock: socket.socket) -> None:
        """From here on the request counts as sent, and the watchdog may shut `sock` down."""
        with self._lock:
            self.sent = True
            self._socket = sock
            if self.expired:
                _shut_down(sock)

    def let_go(self) -> None:
        """Take the socket out of the watchdog's reach, before another exchange may use it."""
        with self._lock:
            self._socket = None

    def expire(self) -> None:
        """Mark the exchange as late and wake whoever waits on its socket."""
        with self._lock:
            self.expired = True
            if self._socket is not None:
                _shut_down(self._socket)


def _shut_down(sock: socket.socket) -> None:
    # Not sock.shutdown(): SSLSocket's own drops its TLS state under the thread that is reading through it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Watchdog:
    """One thread for all exchanges of a process, asleep until the nearest deadline."""

    def __init__(self) -> None:
        self._watched: set[Exchange] = set()
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._started = False

    @contextlib.contextmanager
    def watch(self, exchange: Exchange) -> Iterator[None]:
        """Expire `exchange` if the block is still running at its deadline."""
        with self._changed:
            self._start()
            self._watched.add(exchange)
            if exchange.deadline < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.discard(exchange)

    def _start(self) -> None:
        if not self._started:
            threading.Thread(target=self._run, name="http-watchdog", daemon=True).start()
            self._started = True

    def _run(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for late in [exchange for exchange in self._watched if exchange.deadline <= now]:
                    self._watched.discard(late)
                    late.expire()
                self._wakes_at = min((exchange.deadline for exchange in self._watched), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


_watchdog = Watchdog()
_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def _renew_watchdog() -> None:
    global _watchdog  # noqa: PLW0603 - a forked child inherits the object, perhaps locked, but not its thread
    _watchdog = Watchdog()


os.register_at_fork(after_in_child=_renew_watchdog)


def current() -> Exchange | None:
    """The exchange that the calling thread is performing, if any."""
    return _current.get()


@contextlib.contextmanager
def perform(exchange: Exchange) -> Iterator[Exchange]:
    """Make `exchange` the calling thread's own and watch its deadline while the block runs."""
    token = _current.set(exchange)
    try:
        with _watchdog.watch(exchange):
            yield exchange
    finally:
        _current.reset(token)
