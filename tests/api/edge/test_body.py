"""Bodies: bounded, whole and strictly JSON, or refused before anything was done."""

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from api.edge import body
from api.edge.body import BODY_LIMIT, MAX_DEPTH, parse_json
from api.edge.errors import Problem
from models import Job
from models.session import transaction
from tests.api.live import serving
from tests.support.processes import eventually

JSON = "application/json"
JOB = b'{"kind": "text.count", "params": {"text": "one"}}'
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT
_JSON = st.recursive(
    _SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=50,
)


def number_of_jobs() -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


@settings(deadline=None)  # other processes share this machine
@given(_JSON)
def test_whatever_json_can_say_is_read_as_it_was_written(value: Any) -> None:
    assert parse_json(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"{} x", 400, "malformed_json"),
        (b"{'a': 1}", 400, "malformed_json"),
        (b'{"a": 1,}', 400, "malformed_json"),
        (b'{"a": 1, "a": 2}', 400, "malformed_json"),
        (b'[{"a": {"b": 1, "b": 1}}]', 400, "malformed_json"),
        (b'{"a": 1, "\\u0061": 2}', 400, "malformed_json"),
        (b'{"a": "\xff"}', 400, "malformed_json"),
        (b'{"a": "\xed\xa0\x80"}', 400, "malformed_json"),
        (b"\xef\xbb\xbf{}", 400, "malformed_json"),
        ('{"a": 1}'.encode("utf-16"), 400, "malformed_json"),
        (b'{"a": "tab\there"}', 400, "malformed_json"),
        (b"NaN", 400, "malformed_json"),
        (b"[-Infinity]", 400, "malformed_json"),
        (b"[1e999]", 400, "malformed_json"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), 400, "malformed_json"),
        (b"[" * 500_000, 400, "malformed_json"),
        (b'{"a":' * 100_000, 400, "malformed_json"),
        (b"[9223372036854775808]", 422, "invalid"),
        (b"[-9223372036854775809]", 422, "invalid"),
        (b"[" + b"9" * 100_000 + b"]", 422, "invalid"),
        (b'["\\u0000"]', 422, "invalid"),
        (b'{"\\u0000": 1}', 422, "invalid"),
        (b'["\\ud800"]', 422, "invalid"),
        (b'{"\\udfff": 1}', 422, "invalid"),
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes, status: int, code: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_json(raw)
    assert (refused.value.status, refused.value.code) == (status, code)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b"[9223372036854775807, -9223372036854775808]",
        b'["\\ud83d\\ude00"]',
        b' {"a": [1.5, true, null]} ',
    ],
)
def test_what_lies_just_within_the_limits_is_read(raw: bytes) -> None:
    assert parse_json(raw) == orjson.loads(raw)


def test_values_that_cannot_be_stored_are_pointed_at() -> None:
    with pytest.raises(Problem) as refused:
        parse_json(b'{"a": [1, "\\u0000"], "b/c": {"d": 9223372036854775808}, "\\u0000": 1}')
    assert {fault["pointer"] for fault in refused.value.errors or ()} == {"", "/a/1", "/b~1c/d"}


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_only_json_is_taken_as_json(client: FlaskClient, content_type: str | None) -> None:
    response = client.post("/v1/jobs", data=JOB, content_type=content_type)
    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")


def test_a_parameter_of_the_content_type_changes_nothing(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data=JOB, content_type="application/json; charset=utf-8").status_code == 202


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/bulk"])
def test_a_compressed_body_is_refused_by_the_name_of_its_header(client: FlaskClient, path: str) -> None:
    response = client.post(path, data=gzip.compress(JOB), headers={"Content-Encoding": "gzip"}, content_type=JSON)
    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in response.json["detail"]
    assert response.headers["Accept-Encoding"] == "identity"
    plain = client.post("/v1/jobs", data=JOB, headers={"Content-Encoding": "identity"}, content_type=JSON)
    assert plain.status_code == 202


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def server(services: None, log: Path) -> Iterator[str]:
    with serving(log, {"MAINSTAY_LOG_FORMAT": "json", "MAINSTAY_LOG_LEVEL": "INFO"}) as address:
        yield address


class Wire:
    """One raw connection to the server, with the key of an app."""

    def __init__(self, address: str, authorization: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.head = (
            "POST /v1/jobs HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Authorization: {authorization}\r\n"
        ).encode()

    def post(self, headers: bytes, content: bytes) -> None:
        self.socket.sendall(self.head + headers + b"\r\n\r\n" + content)

    def answer(self) -> tuple[int, bytes]:
        """The status and the body; 0 when the connection was closed without an answer."""
        received = b""
        while piece := self.socket.recv(65536):
            received += piece
        self.socket.close()
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body


@pytest.fixture
def wire(server: str, client: FlaskClient) -> Wire:
    return Wire(server, client.environ_base["HTTP_AUTHORIZATION"])


def chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


def test_ten_megabytes_are_refused_and_the_caller_gets_to_read_it(wire: Wire) -> None:
    content = b'"' + b"x" * 10_000_000 + b'"'
    wire.post(b"Content-Length: %d" % len(content), content)
    status, answer = wire.answer()
    assert (status, orjson.loads(answer)["code"]) == (413, "too_large")


def test_ten_megabytes_without_a_length_are_refused_as_well(wire: Wire) -> None:
    wire.post(b"Transfer-Encoding: chunked", chunked(b'"' + b"x" * 10_000_000 + b'"'))
    status, answer = wire.answer()
    assert (status, orjson.loads(answer)["code"]) == (413, "too_large")


def test_a_length_above_the_limit_is_refused_before_anything_is_read(client: FlaskClient) -> None:
    response = client.post("/v1/jobs", data=b"x" * (BODY_LIMIT + 1), content_type="application/json")
    assert (response.status_code, response.json["code"]) == (413, "too_large")


def test_a_body_without_a_length_is_accepted(wire: Wire) -> None:
    wire.post(b"Transfer-Encoding: chunked", chunked(JOB))
    assert wire.answer()[0] == 202


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        # What was sent is whole JSON by itself: only its announced end is missing.
        (b"Content-Length: 100", JOB),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b" % (len(JOB), JOB)),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(JOB), JOB)),
        (b"Transfer-Encoding: chunked", b"zz\r\n" + JOB),
    ],
)
def test_a_caller_that_hangs_up_within_the_body_leaves_nothing_behind(wire: Wire, headers: bytes, part: bytes) -> None:
    wire.post(headers, part)
    wire.socket.shutdown(socket.SHUT_WR)
    status, answer = wire.answer()
    assert (status, orjson.loads(answer)["code"]) == (400, "incomplete_body")
    assert number_of_jobs() == 0


def test_a_connection_that_is_reset_within_the_body_leaves_nothing_behind(
    wire: Wire, server: str, client: FlaskClient
) -> None:
    wire.post(b"Content-Length: 100", JOB)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.socket.close()
    after = Wire(server, client.environ_base["HTTP_AUTHORIZATION"])
    after.post(b"Content-Length: %d" % len(JOB), JOB)
    assert after.answer()[0] == 202
    assert number_of_jobs() == 1


@pytest.mark.parametrize("sent", [b"", JOB[:10]])
def test_a_caller_that_falls_silent_is_not_waited_for(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(body, "READ_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb", buffering=0) as stream:
        theirs.sendall(sent)
        environment = {"gunicorn.socket": ours, "wsgi.input": stream, "CONTENT_LENGTH": str(len(JOB))}
        response = client.post("/v1/jobs", content_type="application/json", environ_overrides=environment)
        assert ours.gettimeout() is None
    assert (response.status_code, response.json["code"]) == (408, "body_too_slow")
    assert response.headers["Connection"] == "close"


def test_a_caller_that_trickles_is_not_waited_for(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "READ_SECONDS", 1e-9)
    response = client.post("/v1/jobs", data=JOB, content_type="application/json")
    assert (response.status_code, response.json["code"]) == (408, "body_too_slow")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"NONSENSE", 400),
        (b"GET / HTTP/9.9", 400),
        (b"GET /v1/jobs?\xff HTTP/1.1", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 9000, 431),
    ],
)
def test_what_is_no_http_is_refused_by_the_server_in_the_same_form(
    wire: Wire, log: Path, request_line: bytes, status: int
) -> None:
    wire.socket.sendall(request_line + b"\r\nHost: test\r\n\r\n")
    answered, body = wire.answer()
    problem = orjson.loads(body)
    assert (answered, problem["status"], problem["type"]) == (status, status, f"/problems/{problem['code']}")
    line = eventually(lambda: [line for line in log.read_text().splitlines() if problem["request_id"] in line])[0]
    assert orjson.loads(line)["event"] == "request_refused"
    assert UUID(problem["request_id"])


def test_a_refusal_leaves_a_line_under_its_request_id(wire: Wire, log: Path) -> None:
    wire.post(b"X-Request-Id: find-me\r\nContent-Length: 18", b'{"kind": "secret"}')
    assert wire.answer()[0] == 422
    line = eventually(lambda: [line for line in log.read_text().splitlines() if "find-me" in line])[0]
    logged = orjson.loads(line)
    assert (logged["event"], logged["level"], logged["code"]) == ("request_refused", "info", "invalid")
    assert (logged["status"], logged["method"], logged["path"]) == (422, "POST", "/v1/jobs")
    assert "secret" not in line


def test_the_server_opens_no_control_socket_and_logs_json(server: str, tmp_path: Path) -> None:
    with serving(
        tmp_path / "log", {"MAINSTAY_LOG_FORMAT": "json", "MAINSTAY_LOG_LEVEL": "INFO", "HOME": str(tmp_path)}
    ):
        lines = [orjson.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["role"] for line in lines} == {"api"}
    assert not (tmp_path / ".gunicorn").exists()
