"""The faulty HTTP server, over a real wire."""

import http.client
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from tests.sandbox.process import Sandbox


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_it_tells_what_it_was_sent(sandbox: Sandbox, method: str) -> None:
    reply = requests.request(method, f"{sandbox.http}/echo?a=1", data="hellö".encode(), headers={"X-A": "b"}, timeout=5)
    told = reply.json()
    assert (told["method"], told["query"], told["headers"]["X-A"], told["body"]) == (method, {"a": "1"}, "b", "hellö")


def test_a_connection_is_kept_alive(sandbox: Sandbox) -> None:
    connection = http.client.HTTPConnection(urlsplit(sandbox.http).netloc, timeout=5)
    sockets = set()
    for path in ("/echo", "/status/204", "/status/503", "/bytes/70000", "/retry-after?s=2"):
        connection.request("GET", path)
        connection.getresponse().read()
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1
    assert sockets != {None}


@pytest.mark.parametrize("status", [200, 204, 404, 429, 503])
def test_it_answers_with_the_status_that_was_asked_for(sandbox: Sandbox, status: int) -> None:
    assert requests.get(f"{sandbox.http}/status/{status}", timeout=5).status_code == status


@pytest.mark.parametrize("path", ["/status/abc", "/status/99", "/bytes/-1", "/flaky?fail=x", "/slow?ms=soon"])
def test_nonsense_is_answered_with_400(sandbox: Sandbox, path: str) -> None:
    assert requests.get(sandbox.http + path, timeout=5).status_code == 400


def test_flaky_fails_as_often_as_asked_and_then_works(sandbox: Sandbox) -> None:
    url = f"{sandbox.http}/flaky?key={uuid4()}&fail=2&status=502"
    assert [requests.post(url, timeout=5).status_code for _ in range(4)] == [502, 502, 200, 200]


def test_slow_and_drip_outlast_a_read_time_out(sandbox: Sandbox) -> None:
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{sandbox.http}/slow?ms=2000", timeout=0.2)
    assert requests.get(f"{sandbox.http}/drip?bytes=6&ms=100", timeout=0.4).text == "......"


def test_reset_breaks_the_connection(sandbox: Sandbox) -> None:
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.post(f"{sandbox.http}/reset", timeout=5)


def test_redirect_points_where_it_was_told_to(sandbox: Sandbox) -> None:
    reply = requests.get(f"{sandbox.http}/redirect?to=/echo", allow_redirects=False, timeout=5)
    assert (reply.status_code, reply.headers["Location"]) == (302, "/echo")


def test_a_small_gzip_body_unpacks_to_a_large_one(sandbox: Sandbox) -> None:
    reply = requests.get(f"{sandbox.http}/gzip-bomb?mib=4", timeout=5)
    assert (len(reply.content), int(reply.headers["Content-Length"]) < 10_000) == (4 * 1024 * 1024, True)


def test_retry_after_says_how_long_to_wait(sandbox: Sandbox) -> None:
    reply = requests.get(f"{sandbox.http}/retry-after?s=7", timeout=5)
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "7")


def test_the_call_log_shows_the_idempotency_keys(sandbox: Sandbox) -> None:
    path = f"/echo/{uuid4()}"
    for _ in range(2):
        requests.post(sandbox.http + path, headers={"Idempotency-Key": "job-1", "X-Job-Attempt": "2"}, timeout=5)
    calls = requests.get(f"{sandbox.http}/calls?path={path}", timeout=5).json()["items"]
    assert [(call["idempotency_key"], call["job_attempt"]) for call in calls] == [("job-1", "2")] * 2


def test_an_oversized_body_is_refused_unread(sandbox: Sandbox) -> None:
    connection = http.client.HTTPConnection(urlsplit(sandbox.http).netloc, timeout=5)
    connection.putrequest("POST", "/echo")
    connection.putheader("Content-Length", str(1024**3))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
