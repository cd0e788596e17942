"""The outside world of a chaos run, which counts effects: `python -m tests.chaos.sink --port P --file F`.

`POST /effect` appends one line of JSON to the file before it is answered, so that what a caller was told is on record
whatever happens to either of them. `POST /trouble` with `{"mode", "seconds"}` makes it answer badly for a while:
`unavailable` is a 503 without an effect; with `hang` and `reset` the effect happens and its answer is lost.
It imports nothing of the engine.
"""

import argparse
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
MODES = ("unavailable", "hang", "reset")


@dataclass(frozen=True, slots=True)
class Effect:
    """One call, as it arrived: `key` from its header, the rest as the caller says it."""

    key: str
    job: str
    attempt: int
    token: str
    at: float
    """Seconds of the wall clock."""
    monotonic: float


def read_effects(file: Path) -> list[Effect]:
    """All effects so far, in the order in which they happened."""
    if not file.exists():
        return []
    with file.open() as lines:
        return [Effect(**json.loads(line)) for line in lines]


class Sink(ThreadingHTTPServer):
    """The server: the open file, and the trouble it is to make."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, file: Path) -> None:
        super().__init__((LOOPBACK, port), _Call)
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._trouble: tuple[str, float] = ("", 0.0)

    def append(self, effect: Effect) -> None:
        """In one write, which the system does not mix with another's."""
        os.write(self._file, json.dumps(asdict(effect)).encode() + b"\n")

    def make_trouble(self, mode: str, seconds: float) -> None:
        """From now on, for so many seconds, and instead of any earlier trouble."""
        self._trouble = (mode, time.monotonic() + seconds)

    def trouble(self) -> tuple[str, float]:
        """The mode to answer in, and the seconds that are left of it; `("", 0.0)` when all is well."""
        mode, until = self._trouble
        left = until - time.monotonic()
        return (mode, left) if left > 0 else ("", 0.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers are killed all the time; anything but their hanging up is a fault of ours and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Call(BaseHTTPRequestHandler):
    server: Sink
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Say that the sink is there."""
        self._answer(200)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path:
            case "/effect":
                self._effect(content)
            case "/trouble":
                self._trouble(content)
            case _:
                self._answer(404)

    def _effect(self, content: Mapping[str, Any]) -> None:
        mode, left = self.server.trouble()
        if mode == "unavailable":
            self._answer(503)
            return
        self.server.append(
            Effect(self.headers["Idempotency-Key"], **content, at=time.time(), monotonic=time.monotonic())
        )
        if mode == "hang":
            time.sleep(left)
        if mode:
            self._reset()
        else:
            self._answer(200)

    def _trouble(self, content: Mapping[str, Any]) -> None:
        if content["mode"] in MODES:
            self.server.make_trouble(content["mode"], content["seconds"])
            self._answer(204)
        else:
            self._answer(400)

    def _answer(self, status: int) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reset(self) -> None:
        self.close_connection = True
        # Closed with a linger of zero, a connection is reset; detached, because the files on top would hold it open.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def log_message(self, *_: Any) -> None:
        """Silence: the file says it all."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.sink", description="Counts the effects of jobs.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    Sink(arguments.port, arguments.file).serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
