"""Uploads and downloads through the real server, whose streams end in ways that a test client's do not."""

import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from sqlalchemy import func, select

from models import File
from models.session import transaction
from settings import get_settings
from tests.api.live import serving


@pytest.fixture
def session(client: FlaskClient) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = client.environ_base["HTTP_AUTHORIZATION"]
    return session


@pytest.fixture
def server(client: FlaskClient, tmp_path: Path) -> Iterator[str]:
    for path in stored():
        path.unlink()
    with serving(tmp_path / "log") as address:
        yield address


def stored() -> list[Path]:
    return [path for path in get_settings().files_dir.rglob("*") if path.is_file()]


def rows() -> int:
    with transaction() as session:
        return int(session.scalar(select(func.count()).select_from(File)) or 0)


def await_that(condition: Any) -> None:
    until = monotonic() + 20
    while not condition() and monotonic() < until:
        sleep(0.02)
    assert condition()


def test_a_chunked_upload_comes_back_byte_for_byte(server: str, session: requests.Session) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(100)]
    answer = session.post(f"{server}/v1/files?name=a.bin", data=iter(pieces))
    assert answer.status_code == 201, answer.text
    assert answer.json()["sha256"] == sha256(b"".join(pieces)).hexdigest()
    content = f"{server}/v1/files/{answer.json()['id']}/content"
    assert session.get(content).content == b"".join(pieces)
    assert session.get(content, headers={"Range": "bytes=99999-100000"}).content == b"\0\1"
    session.close()


def test_a_multipart_upload_is_taken_too(server: str, session: requests.Session) -> None:
    answer = session.post(f"{server}/v1/files", files={"file": ("a.csv", b"id\n1\n" * 100_000, "text/csv")})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["name"], answer.json()["bytes"]) == ("a.csv", 500_000)
    session.close()


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"Content-Length: 1000000", b"x" * 500_000), (b"Transfer-Encoding: chunked", b"F4240\r\n" + b"x" * 500_000)],
    ids=["with a length", "chunked"],
)
def test_a_caller_that_hangs_up_midway_leaves_neither_row_nor_bytes(
    server: str, session: requests.Session, head: bytes, body: bytes
) -> None:
    address = urlsplit(server)
    assert address.hostname is not None
    authorization = str(session.headers["Authorization"]).encode()
    request = b"POST /v1/files?name=a HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n%s\r\n\r\n%s" % (
        authorization, head, body,
    )  # fmt: skip
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request)
        await_that(stored)
    await_that(lambda: not stored())
    assert rows() == 0
    session.close()


def test_the_server_stays_up_and_answers_while_a_slow_upload_goes_on(server: str, session: requests.Session) -> None:
    address = urlsplit(server)
    assert address.hostname is not None
    authorization = str(session.headers["Authorization"]).encode()
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /v1/files?name=a HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\nContent-Length: 10\r\n\r\n12345"
            % authorization
        )
        await_that(stored)
        assert session.get(f"{server}/v1/files").json() == {"items": [], "next_cursor": None}
        connection.sendall(b"67890")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert rows() == 1
    session.close()
