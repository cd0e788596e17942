"""The faulty HTTP server that `http.request` is tried against: it echoes, fails, stalls, resets and floods on demand.

Every request is logged; `GET /calls` reads the log and `DELETE /calls` empties it.
"""

import gzip
import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from sandbox.server import Behaviour, Reply, Request, Reset, Stream, json_reply

LOG_LENGTH = 10_000
BYTES_LIMIT = 1024**3
BLOCK = bytes(range(256)) * 256
Query = dict[str, str]


class Echo:
    """The application: one method per path, found by the path's first segment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._failed: Counter[str] = Counter()
        self._routes: dict[str, Callable[[Request, Query, str], Behaviour]] = {
            "echo": self._echo,
            "status": self._status,
            "flaky": self._flaky,
            "slow": self._slow,
            "drip": self._drip,
            "reset": lambda *_: Reset(),
            "redirect": self._redirect,
            "bytes": self._bytes,
            "gzip-bomb": self._gzip_bomb,
            "retry-after": self._retry_after,
        }

    def __call__(self, request: Request) -> Behaviour:
        # Whatever follows the second segment is ignored, so that `/status/503` can serve as a base address too.
        name, rest = [*request.path.split("/")[1:3], ""][:2]
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if name == "calls":
            return self._calls(request, query)
        self._record(request)
        route = self._routes.get(name)
        if route is None:
            return json_reply(404, {"error": "no such path", "paths": sorted(self._routes)})
        try:
            return route(request, query, rest)
        except ValueError as error:
            return json_reply(400, {"error": str(error)})

    def _record(self, request: Request) -> None:
        call = {
            "at": time.time(),
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "idempotency_key": request.headers.get("Idempotency-Key"),
            "job_id": request.headers.get("X-Job-Id"),
            "job_attempt": request.headers.get("X-Job-Attempt"),
            "body_sha256": hashlib.sha256(request.body).hexdigest(),
        }
        with self._lock:
            self._log.append(call)

    def _calls(self, request: Request, query: Query) -> Reply:
        """The log, oldest first, or only the calls of `?path=`."""
        with self._lock:
            if request.method == "DELETE":
                self._log.clear()
            items = [call for call in self._log if query.get("path", call["path"]) == call["path"]]
        return json_reply(200, {"items": items})

    def _echo(self, request: Request, query: Query, _: str) -> Reply:
        return json_reply(
            200,
            {
                "method": request.method,
                "path": request.path,
                "query": query,
                "headers": dict(request.headers.items()),
                "body": request.body.decode("utf-8", "replace"),
            },
        )

    def _status(self, _: Request, __: Query, rest: str) -> Reply:
        status = int(rest)
        if not 200 <= status <= 599:
            raise ValueError("a status must be between 200 and 599")
        return json_reply(status, {"status": status})

    def _flaky(self, _: Request, query: Query, __: str) -> Reply:
        """Fail the first `fail` calls with this `key`, answer the rest with 200."""
        key, fail, status = query.get("key", ""), int(query.get("fail", 1)), int(query.get("status", 503))
        with self._lock:
            failing = self._failed[key] < fail
            self._failed[key] += failing
            failed = self._failed[key]
        return json_reply(status if failing else 200, {"key": key, "failed": failed})

    def _slow(self, _: Request, query: Query, __: str) -> Reply:
        time.sleep(int(query.get("ms", 1000)) / 1000)
        return json_reply(200, {"slept_ms": int(query.get("ms", 1000))})

    def _drip(self, _: Request, query: Query, __: str) -> Stream:
        """`bytes` single bytes, `ms` apart: each one arrives in time, the whole never does."""
        count, pause = int(query.get("bytes", 60)), int(query.get("ms", 300)) / 1000
        return Stream(200, _dripping(count, pause), count, {"Content-Type": "text/plain"})

    def _redirect(self, _: Request, query: Query, __: str) -> Reply:
        return Reply(int(query.get("status", 302)), headers={"Location": query.get("to", "/echo")})

    def _bytes(self, _: Request, __: Query, rest: str) -> Stream:
        count = int(rest)
        if not 0 <= count <= BYTES_LIMIT:
            raise ValueError(f"at most {BYTES_LIMIT} bytes")
        return Stream(200, _blocks(count), count, {"Content-Type": "application/octet-stream"})

    def _gzip_bomb(self, _: Request, query: Query, __: str) -> Reply:
        """A small body that unpacks to `mib` MiB of zeros."""
        return Reply(
            200,
            _bomb(min(int(query.get("mib", 256)), 1024)),
            {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"},
        )

    def _retry_after(self, _: Request, query: Query, __: str) -> Reply:
        headers = {"Retry-After": query.get("s", "1")}
        return json_reply(int(query.get("status", 429)), {"error": "slow down"}, headers)


def _dripping(count: int, pause: float) -> Iterator[bytes]:
    for _ in range(count):
        yield b"."
        time.sleep(pause)


def _blocks(count: int) -> Iterator[bytes]:
    while count > 0:
        yield BLOCK[:count]
        count -= len(BLOCK)


@cache
def _bomb(mib: int) -> bytes:
    # Gzip members may be concatenated: one packed MiB, repeated, unpacks to all of them.
    return gzip.compress(bytes(1024 * 1024), mtime=0) * mib
