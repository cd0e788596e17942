"""The web servers of both sides, under the same gunicorn settings; only the application differs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.load import Request
from bench.servers import Servers
from embedded.ports import LOOPBACK, free_port
from embedded.roles import python, responds, url
from models.session import transaction
from workers.keys import APP_SCOPES, create

KIND = "text.count"
TEXT = "one two three"


@contextmanager
def serving(servers: Servers, name: str, application: str, arguments: Sequence[str] = ()) -> Iterator[int]:
    """Serve an application as the API is served, but for `arguments`; yields its port."""
    port = free_port()
    program = python(
        "gunicorn", "--config", "api/gunicorn.conf.py", "--bind", f"{LOOPBACK}:{port}", *arguments, application
    )  # fmt: skip
    with servers.running(name, program, lambda: responds(f"{url(port)}/livez")):
        yield port


OURS = "api:create_app()"
PEER = "bench.plain_web:create_app()"


def api_key() -> str:
    """A key of an app of its own that may do all that apps may."""
    with transaction() as session:
        return create(session, "bench", "bench", APP_SCOPES).secret


def submit(port: int, key: str) -> Request:
    """One job for us."""
    body = f'{{"kind": "{KIND}", "params": {{"text": "{TEXT}"}}}}'.encode()
    return Request(port, "POST", "/v1/jobs", 202, body, _headers(key, "application/json"))


def plain_submit(port: int) -> Request:
    """The same for the peer."""
    body = f'{{"text": "{TEXT}"}}'.encode()
    return Request(port, "POST", "/jobs", 202, body, (("Content-Type", "application/json"),))


def bulk(port: int, key: str, jobs: int, content_type: str) -> Request:
    """Many jobs at once, as an array or as lines."""
    job = f'{{"kind": "{KIND}", "params": {{"text": "{TEXT}"}}}}'
    body = "\n".join([job] * jobs) if "ndjson" in content_type else "[" + ",".join([job] * jobs) + "]"
    return Request(port, "POST", "/v1/jobs/bulk", 200, body.encode(), _headers(key, content_type))


def livez(port: int) -> Request:
    """What costs a server next to nothing: the most that client and server can do."""
    return Request(port, "GET", "/livez", 200)


def _headers(key: str, content_type: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {key}"), ("Content-Type", content_type))
