"""How the API is served: `gunicorn -c api/gunicorn.conf.py`.

gevent workers, because a long poll or a stream then costs a greenlet and not a thread. Each worker loads the
application after gevent has patched it (no preload), and opens its own connections.
"""

# ruff: noqa: N999  # the name is gunicorn's own convention

import json
import os
import sys
from typing import Any
from uuid import uuid4

import gunicorn.util  # type: ignore[import-untyped]  # it ships no types
import structlog
from gunicorn.glogging import Logger  # type: ignore[import-untyped]  # as above

from logs import configure_logging
from settings import SettingsError, get_settings

log = structlog.get_logger()

try:
    get_settings()
except SettingsError as error:
    sys.exit(str(error))


class Logs(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's own lines, in the form of all others."""

    def setup(self, cfg: Any) -> None:
        """Set up anew, also after gunicorn reloaded its configuration."""
        super().setup(cfg)
        configure_logging("api")


def write_problem(sock: Any, status: int, reason: str, _message: str) -> None:
    """Refuse what is no HTTP request with a problem document; gunicorn's own page is HTML and quotes the input."""
    request_id = uuid4().hex
    code = {414: "uri_too_long", 431: "header_fields_too_large"}.get(status, "malformed_request")
    problem = {
        "type": f"/problems/{code}", "title": reason, "status": status, "detail": "this is not a request we can read",
        "instance": "", "code": code, "request_id": request_id,
    }  # fmt: skip
    log.info("request_refused", status=status, code=code, request_id=request_id)
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    gunicorn.util.write_nonblock(sock, head.encode() + body)


gunicorn.util.write_error = write_problem

wsgi_app = "api:create_app()"
bind = os.environ.get("MAINSTAY_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = os.environ.get("MAINSTAY_WORKER_CLASS", "gevent")
worker_connections = 1000
"""Open connections per worker: long polls and streams count, each a greenlet."""
backlog = 1024
timeout = 60
"""A worker whose loop has not turned for so long is replaced; gevent's own heartbeat keeps a busy one alive."""
graceful_timeout = 30
"""Longer than the longest wait (25 s), so that a restart cuts off no long poll."""
keepalive = 10
limit_request_line = 8190
limit_request_fields = 64
accesslog = None
loglevel = get_settings().log_level.lower()
errorlog = "-"
logger_class = Logs
control_socket_disable = True
preload_app = False
