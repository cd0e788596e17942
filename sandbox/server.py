"""A small HTTP/1.1 server that can also misbehave on purpose: hang, reset, or answer in drips."""

import json
import select
import socket
import socketserver
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

BODY_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `path` is without its query, `headers` looks names up in any case."""

    method: str
    path: str
    query: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A whole answer, sent at once with its length."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """An answer whose parts are sent as they come; without `length` the end of the connection ends it."""

    status: int
    parts: Iterable[bytes]
    length: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """An answer that breaks off after `sent` bytes of the body that its head has announced."""

    reply: Reply
    sent: int


@dataclass(frozen=True)
class Hang:
    """No answer: hold the connection until the client goes away, at most `seconds`."""

    seconds: float = 120.0


@dataclass(frozen=True)
class Reset:
    """No answer: a TCP reset."""


Behaviour = Reply | Stream | Cut | Hang | Reset
Application = Callable[[Request], Behaviour]


def json_reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """`content` as a JSON answer."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Reply(status, body, {"Content-Type": "application/json", **(headers or {})})


class Server(socketserver.ThreadingTCPServer):
    """One thread per connection, kept alive between requests."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    # The default of 5 makes a burst of new connections wait for SYN retries of a second.
    request_queue_size = 512

    def __init__(self, application: Application, host: str, port: int) -> None:
        self.application = application
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game; anything else is a fault of ours and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    timeout = 300
    # Buffered and without Nagle: head and body leave in one packet, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._send(Reply(411, headers={"Connection": "close"}))
        elif int(length) > BODY_LIMIT:
            self._send(Reply(413, headers={"Connection": "close"}))
        else:
            url = urlsplit(self.path)
            request = Request(self.command, url.path, url.query, self.headers, self.rfile.read(int(length)))
            self._behave(self.server.application(request))

    # The names are http.server's.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _behave(self, behaviour: Behaviour) -> None:
        match behaviour:
            case Reply():
                self._send(behaviour)
            case Stream():
                self._stream(behaviour)
            case Cut(reply, sent):
                self.close_connection = True
                self._head(reply.status, reply.headers, len(reply.body))
                self.wfile.write(reply.body[:sent])
            case Hang(seconds):
                self._hang(seconds)
            case Reset():
                self._reset()

    def _send(self, reply: Reply) -> None:
        bodiless = reply.status in {204, 304} or reply.status < 200
        self._head(reply.status, reply.headers, None if bodiless else len(reply.body))
        if not bodiless and self.command != "HEAD":
            self.wfile.write(reply.body)

    def _stream(self, stream: Stream) -> None:
        self.close_connection = stream.length is None
        self._head(stream.status, stream.headers, stream.length)
        for part in () if self.command == "HEAD" else stream.parts:
            self.wfile.write(part)
            self.wfile.flush()

    def _head(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _hang(self, seconds: float) -> None:
        self.close_connection = True
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], left)
            if readable and not self.connection.recv(65536):
                return

    def _reset(self) -> None:
        self.close_connection = True
        # A zero linger makes the close a reset. The file objects on top would keep the socket open, so its descriptor
        # is taken away from them.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def version_string(self) -> str:
        return "sandbox"

    def log_message(self, *_: Any) -> None:
        """Silence: the sandbox's calls are read from its call log."""
