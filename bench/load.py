"""A load generator that costs little: a few processes with some connections each, over bare sockets, kept if possible.

The request's bytes are made once, and of an answer only its status and its length are read. How much processor time the
generator itself took is part of what it answers, so that a report can say whether the client was the bottleneck.
"""

import multiprocessing
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from embedded.ports import LOOPBACK

CLIENTS = 2
CONNECTIONS = 16
"""Requests under way at once, over all clients."""
TIMEOUT = 60.0


class UnexpectedAnswer(Exception):
    """The server did not answer as it should: its rate would mean nothing."""


@dataclass(frozen=True)
class Request:
    """One request, again and again."""

    port: int
    method: str
    path: str
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        headers = (("Host", f"{LOOPBACK}:{self.port}"), ("Content-Length", str(len(self.body))), *self.headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came of it: answers per second, and the client's processor seconds per second."""

    rate: float
    client_cpu: float


def load(request: Request, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Send `request` for `seconds` over `connections`, each sending its next as soon as it has its answer."""
    clients = min(CLIENTS, connections)
    shares = [connections // clients + (index < connections % clients) for index in range(clients)]
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for share in shares:
        ours, theirs = context.Pipe()
        process = context.Process(target=_client, args=(theirs, request, share, seconds))
        process.start()
        pipes.append(ours)
        processes.append(process)
    results = _together(pipes)
    for process in processes:
        process.join()
    return Load(sum(rate for rate, _ in results), sum(cpu for _, cpu in results))


def _together(pipes: Sequence[Connection]) -> list[tuple[float, float]]:
    """Have all clients begin at once, after all are ready."""
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send(None)
    results = [pipe.recv() for pipe in pipes]
    for result in results:
        if isinstance(result, str):
            raise UnexpectedAnswer(result)
    return results


def _client(pipe: Connection, request: Request, connections: int, seconds: float) -> None:
    try:
        with selectors.DefaultSelector() as selector:
            sessions = [_Session(request, selector) for _ in range(connections)]
            pipe.send(None)
            pipe.recv()
            pipe.send(_drive(sessions, selector, seconds))
    except (UnexpectedAnswer, OSError) as error:
        pipe.send(f"{request.method} {request.path}: {error}")


def _drive(sessions: Sequence["_Session"], selector: selectors.BaseSelector, seconds: float) -> tuple[float, float]:
    started = last = time.monotonic()
    cpu, answers = time.process_time(), 0
    for session in sessions:
        session.send()
    # The clock stops at an answer: of slow requests too few fit in to neglect the ones under way.
    while not answers or last - started < seconds:
        ready = selector.select(TIMEOUT)
        if not ready:
            raise UnexpectedAnswer(f"no answer within {TIMEOUT:.0f} s")
        if complete := sum(key.data.receive() for key, _ in ready):
            answers, last = answers + complete, time.monotonic()
    return answers / (last - started), (time.process_time() - cpu) / (last - started)


class _Session:
    """One connection with one request under way."""

    def __init__(self, request: Request, selector: selectors.BaseSelector) -> None:
        self._port = request.port
        self._request = request.encoded()
        self._status = f"HTTP/1.1 {request.status} ".encode()
        self._selector = selector
        self._answer = b""
        self._open()

    def send(self) -> None:
        self._socket.sendall(self._request)

    def receive(self) -> bool:
        """Read what there is; whether an answer is complete, after which the next request is already sent."""
        read = self._socket.recv(1 << 20)
        self._answer += read
        if not _is_complete(self._answer):
            if not read:
                raise UnexpectedAnswer("the server closed the connection")
            return False
        if not self._answer.startswith(self._status):
            raise UnexpectedAnswer(self._answer[:300].decode(errors="replace"))
        if b"\r\nconnection: close\r\n" in self._answer.lower():
            self._close()
            self._open()
        self._answer = b""
        self.send()
        return True

    def _open(self) -> None:
        self._socket = socket.create_connection((LOOPBACK, self._port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._socket, selectors.EVENT_READ, self)

    def _close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()


def _is_complete(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    place = head.find(b"\r\ncontent-length:")
    if place < 0:
        raise UnexpectedAnswer("an answer without its length")
    length = int(head[place + 17 :].split(b"\r\n", 1)[0])
    return len(answer) >= end + 4 + length
