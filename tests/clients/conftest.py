"""A server on loopback that speaks raw bytes, so that it can break every rule of HTTP."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

TLS = Path(__file__).parent / "tls"


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket, server: "Server") -> None:
        self.sock = sock
        self._server = server
        self._buffer = b""

    def read_request(self) -> bytes:
        """The next request, head and body; b"" when the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                return b""
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        fields = [line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:]]
        length = next((int(value) for name, value in fields if name == b"content-length"), 0)
        while len(rest) < length:
            if not self._receive():
                break
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[length:]
        request = head + b"\r\n\r\n" + rest[:length]
        self._server.requests.append(request)
        return request

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def drip(self, part: bytes, pause: float) -> None:
        """Send `part` again and again until the client goes away or the test ends."""
        while not self._server.stopping.wait(pause):
            self.sock.sendall(part)

    def _receive(self) -> bytes:
        received = self.sock.recv(65_536)
        self._buffer += received
        return received


Script: TypeAlias = Callable[[Peer], None]


class Server:
    """Runs `script` for each connection, in a thread; keeps every request as it came."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._script, self._tls = script, tls
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://server.test:{self.port}{path}"

    def close(self) -> None:
        self.stopping.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.append(sock)
        with contextlib.suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with sock:
                self._script(Peer(sock, self))


Serve: TypeAlias = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers: `serve(script)`, or `serve(script, certificate="valid.pem")` for TLS."""
    servers: list[Server] = []

    def start(script: Script, certificate: str | None = None) -> Server:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS / certificate)
        servers.append(Server(script, context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Loopback:
    """A resolver for which every name is 127.0.0.1; counts its look-ups."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_options: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        return [(0, 0, 0, "", ("127.0.0.1", port))]


@pytest.fixture
def resolver() -> Loopback:
    return Loopback()
