"""One guarded call against servers that stall, drip, cut, lie and reset, on real sockets."""

import gzip
import hashlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests

from clients.http import exchange
from clients.http.addresses import EgressPolicy
from clients.http.answer import KEEP_AT_MOST, READ_AT_MOST
from clients.http.call import Lost, NotSent, Request, Timeouts, Untrusted, send
from clients.http.egress import Blocked, RefusedURL
from clients.http.exchange import Exchange
from clients.http.transport import GuardedAdapter

OPEN = EgressPolicy.parse(["127.0.0.0/8"])
QUICK = Timeouts(connect=timedelta(seconds=0.3), read=timedelta(seconds=0.3), total=timedelta(seconds=5))
HURRIED = Timeouts(connect=timedelta(seconds=2), read=timedelta(seconds=2), total=timedelta(seconds=0.4))
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


@pytest.fixture
def adapter(resolver: Any) -> Iterator[GuardedAdapter]:
    context = ssl.create_default_context(cafile=Path(__file__).parents[1] / "tls" / "authority.pem")
    adapter = GuardedAdapter(OPEN, resolver=resolver, tls=context)
    yield adapter
    adapter.close()


def get(url: str) -> Request:
    return Request(method="GET", url=url)


def post(url: str) -> Request:
    return Request(method="POST", url=url, body=b"pay")


def always(*parts: bytes) -> Callable[[Any], None]:
    """A script that gives every request the same answer and keeps the connection."""

    def script(peer: Any) -> None:
        while peer.read_request():
            peer.send(*parts)

    return script


def once(*parts: bytes) -> Callable[[Any], None]:
    """A script that answers one request and closes."""

    def script(peer: Any) -> None:
        peer.read_request()
        peer.send(*parts)

    return script


def reset(peer: Any) -> None:
    peer.read_request()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(peer: Any) -> None:
    peer.read_request()
    peer.read_request()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_answer_comes_with_its_body_its_digest_and_its_harmless_headers(serve: Any, adapter: Any) -> None:
    server = serve(
        always(
            OK,
            b"Content-Length: 5\r\nX-Request-Id: r1\r\nSet-Cookie: session=1\r\nWWW-Authenticate: Basic\r\n\r\nhello",
        )
    )
    answer = send(get(server.url("/a?b=c")), adapter)
    assert (answer.status, answer.body, answer.size, answer.truncated) == (200, b"hello", 5, False)
    assert answer.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert answer.headers == {"content-length": "5", "x-request-id": "r1"}
    assert answer.peer == "127.0.0.1"
    assert server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


def test_the_host_header_keeps_the_name_of_the_url(serve: Any, adapter: Any) -> None:
    server = serve(always(EMPTY))
    send(get(server.url()), adapter)
    assert f"Host: server.test:{server.port}".encode() in server.requests[0].split(b"\r\n")


def test_a_request_that_never_left_is_tried_three_times_and_says_so(adapter: Any, resolver: Any) -> None:
    with pytest.raises(NotSent) as caught:
        send(post(f"http://server.test:{free_port()}/"), adapter)
    assert caught.value.reason == "connect"
    assert len(resolver.asked) == 3


def test_a_server_that_is_back_at_the_second_try_is_reached(serve: Any) -> None:
    server, asked = serve(always(EMPTY)), []

    def recovering(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    assert send(post(server.url()), GuardedAdapter(OPEN, resolver=recovering)).status == 200
    assert len(server.requests) == 1


def test_an_unknown_name_was_never_sent_to() -> None:
    def unknown(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.raises(NotSent) as caught:
        send(post("http://nowhere.test/"), GuardedAdapter(OPEN, resolver=unknown))
    assert caught.value.reason == "dns"
    assert not caught.value.timed_out


def test_a_connection_that_nobody_accepts_was_never_sent_on(adapter: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with pytest.raises(NotSent) as caught:
            send(post(f"http://server.test:{full.getsockname()[1]}/"), adapter, QUICK)
        for filler in fillers:
            filler.close()
    assert caught.value.reason == "connect_timeout"
    assert caught.value.timed_out


def test_a_blocked_address_is_reported_as_it_is_and_not_tried_again(serve: Any, resolver: Any) -> None:
    server = serve(always(EMPTY))
    with pytest.raises(Blocked) as caught:
        send(get(server.url()), GuardedAdapter(EgressPolicy(), resolver=resolver))
    assert caught.value.__cause__ is None
    assert len(resolver.asked) == 1
    assert server.connections == 0


def test_a_certificate_for_the_name_is_accepted(serve: Any, adapter: Any) -> None:
    assert send(get(serve(always(EMPTY), certificate="valid.pem").url()), adapter).status == 200


def test_an_expired_certificate_is_refused(serve: Any, adapter: Any) -> None:
    server = serve(always(EMPTY), certificate="expired.pem")
    with pytest.raises(Untrusted, match="expired"):
        send(get(server.url()), adapter)
    assert server.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(serve: Any, resolver: Any) -> None:
    server = serve(always(EMPTY), certificate="valid.pem")
    with pytest.raises(Untrusted):
        send(get(server.url()), GuardedAdapter(OPEN, resolver=resolver))
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(serve: Any, adapter: Any) -> None:
    server = serve(always(EMPTY), certificate="valid.pem")
    with pytest.raises(Untrusted, match="other"):
        send(get(server.url().replace("server.test", "other.test")), adapter)
    assert server.requests == []


def test_verification_cannot_be_switched_off_by_the_caller(serve: Any, resolver: Any) -> None:
    server = serve(always(EMPTY), certificate="valid.pem")
    session = requests.Session()
    session.mount("https://", GuardedAdapter(OPEN, resolver=resolver))
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url(), verify=False)
    session.close()


def test_a_proxy_cannot_be_switched_on_by_the_caller(serve: Any, adapter: Any) -> None:
    server, proxy = serve(always(EMPTY)), serve(always(EMPTY))
    session = requests.Session()
    session.mount("http://", adapter)
    session.get(server.url(), proxies={"http": f"http://127.0.0.1:{proxy.port}"})
    assert (len(server.requests), proxy.connections) == (1, 0)


def test_a_tls_handshake_that_hangs_was_never_sent(serve: Any, adapter: Any) -> None:
    server = serve(lambda peer: peer.drip(b"", 0.05))
    with pytest.raises(NotSent) as caught:
        send(post(server.url().replace("http:", "https:")), adapter, QUICK)
    assert caught.value.reason == "connect_timeout"


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_tls_handshake_that_fails_was_never_sent(serve: Any, adapter: Any, farewell: bytes) -> None:
    server = serve(lambda peer: peer.send(farewell))
    with pytest.raises(NotSent) as caught:
        send(post(server.url().replace("http:", "https:")), adapter)
    assert caught.value.reason == "connect"


def test_a_server_that_does_not_answer_may_have_acted(serve: Any, adapter: Any) -> None:
    server = serve(silent)
    with pytest.raises(Lost) as caught:
        send(post(server.url()), adapter, QUICK)
    assert caught.value.reason == "read_timeout"
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reset_after_sending_is_not_repeated(serve: Any, adapter: Any, method: str) -> None:
    server = serve(reset)
    with pytest.raises(Lost) as caught:
        send(Request(method=method, url=server.url()), adapter)
    assert caught.value.reason == "connection_lost"
    assert len(server.requests) == 1


@pytest.mark.parametrize("certificate", [None, "valid.pem"])
@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"", b"H"),
        (OK, b"X-Drip: 1\r\n"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"."),
        (OK + b"\r\n", b"."),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["status", "headers", "body", "endless body", "chunks", "interim answers"],
)
def test_a_drip_is_cut_off_at_the_total_and_never_taken_for_an_answer(
    serve: Any, adapter: Any, head: bytes, part: bytes, certificate: str | None
) -> None:
    def script(peer: Any) -> None:
        peer.read_request()
        peer.send(head)
        peer.drip(part, 0.02)

    server = serve(script, certificate=certificate)
    started = monotonic()
    with pytest.raises(Lost) as caught:
        send(get(server.url()), adapter, HURRIED)
    assert monotonic() - started < HURRIED.read.total_seconds()
    assert caught.value.reason == "total_timeout"


def test_a_cut_off_connection_is_not_used_again(serve: Any, adapter: Any) -> None:
    def script(peer: Any) -> None:
        if b"/slow" in peer.read_request():
            peer.send(OK + b"Content-Length: 9\r\n\r\n")
            peer.drip(b"", 0.05)
        peer.send(EMPTY)

    server = serve(script)
    with pytest.raises(Lost):
        send(get(server.url("/slow")), adapter, HURRIED)
    assert send(get(server.url()), adapter).status == 200
    assert server.connections == 2


def test_a_deadline_that_passes_after_the_answer_leaves_the_kept_connection_alone(serve: Any, adapter: Any) -> None:
    server = serve(always(EMPTY))
    prepared = requests.Request("GET", server.url()).prepare()
    with exchange.perform(Exchange(monotonic() + 60, fresh=False)) as finished:
        assert adapter.send(prepared, stream=True).content == b""
        finished.expire()
    assert send(get(server.url()), adapter).status == 200
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"nonsense\r\n\r\n",
        OK + b"Content-Length: 100\r\n\r\nshort",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
        OK + b"X: 1\r\n" * 200 + b"\r\n",
        OK + b"X: " + b"1" * 70_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_answer_that_is_not_whole_is_no_answer(serve: Any, adapter: Any, answer: bytes) -> None:
    server = serve(once(answer))
    with pytest.raises(Lost) as caught:
        send(post(server.url()), adapter)
    assert caught.value.reason == "connection_lost"
    assert len(server.requests) == 1


def test_bytes_after_an_answer_do_not_reach_the_next_job(serve: Any, adapter: Any) -> None:
    def script(peer: Any) -> None:
        peer.read_request()
        peer.send(OK, b"Content-Length: 2\r\n\r\nok", OK, b"Content-Length: 6\r\n\r\npoison")
        peer.read_request()
        peer.send(OK, b"Content-Length: 2\r\n\r\nok")

    server = serve(script)
    assert [send(get(server.url()), adapter).body for _ in range(2)] == [b"ok", b"ok"]


def test_interim_answers_are_skipped(serve: Any, adapter: Any) -> None:
    server = serve(
        always(
            b"HTTP/1.1 102 Processing\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            OK,
            b"Content-Length: 2\r\n\r\nok",
        )
    )
    answers = [send(get(server.url()), adapter) for _ in range(2)]
    assert [(answer.status, answer.body, "link" in answer.headers) for answer in answers] == [(200, b"ok", False)] * 2


def test_a_decompression_bomb_is_not_unpacked(serve: Any, adapter: Any) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    server = serve(once(OK, b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb))
    answer = send(get(server.url()), adapter)
    assert answer.status == 200
    assert READ_AT_MOST < answer.size <= READ_AT_MOST + 64 * 1024
    assert (len(answer.body), answer.sha256, answer.truncated) == (KEEP_AT_MOST, None, True)


@pytest.mark.parametrize(
    ("size", "whole", "truncated"),
    [
        (0, True, False),
        (KEEP_AT_MOST, True, False),
        (KEEP_AT_MOST + 1, True, True),
        (READ_AT_MOST, True, True),
        (READ_AT_MOST + 1, False, True),
    ],
)
def test_a_body_is_kept_up_to_its_limits(serve: Any, adapter: Any, size: int, whole: bool, truncated: bool) -> None:
    body = b"x" * size
    server = serve(once(OK, b"Content-Length: %d\r\n\r\n" % size, body))
    answer = send(get(server.url()), adapter)
    assert answer.sha256 == (hashlib.sha256(body).hexdigest() if whole else None)
    assert answer.truncated is truncated
    assert answer.body == body[:KEEP_AT_MOST]


def test_a_redirect_is_an_answer_and_not_followed(serve: Any, adapter: Any) -> None:
    server = serve(always(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"))
    answer = send(get(server.url()), adapter)
    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/")
    assert len(server.requests) == 1


def test_idempotent_requests_share_a_connection_and_others_do_not(serve: Any, adapter: Any) -> None:
    server = serve(always(EMPTY))
    for _ in range(3):
        send(get(server.url()), adapter)
    assert server.connections == 1
    for _ in range(2):
        send(post(server.url()), adapter)
    assert server.connections == 3


def test_a_request_lost_on_a_kept_connection_goes_out_once_more(serve: Any, adapter: Any) -> None:
    def script(peer: Any) -> None:
        if peer.read_request():
            peer.send(EMPTY)
        peer.read_request()

    server = serve(script)
    assert [send(get(server.url(f"/{path}")), adapter).status for path in "ab"] == [200, 200]
    assert [request[:6] for request in server.requests] == [b"GET /a", b"GET /b", b"GET /b"]
    assert server.connections == 2


def test_one_jobs_cookies_are_not_sent_with_the_next(serve: Any, adapter: Any) -> None:
    server = serve(always(OK, b"Set-Cookie: session=1\r\nContent-Length: 0\r\n\r\n"))
    for _ in range(2):
        send(get(server.url()), adapter)
    assert not any(b"cookie" in request.lower() for request in server.requests)


def test_proxies_and_passwords_of_the_environment_are_ignored(
    serve: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, proxy = serve(always(EMPTY)), serve(always(EMPTY))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine server.test login user password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    send(get(server.url()), adapter)
    assert proxy.connections == 0
    assert b"authorization" not in server.requests[0].lower()


def test_a_large_upload_that_is_refused_early_still_has_its_answer(serve: Any, adapter: Any) -> None:
    def script(peer: Any) -> None:
        peer.sock.recv(1024)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.sock.recv(65_536):
            pass

    request = Request(method="PUT", url=serve(script).url(), body=bytes(2_000_000))
    assert send(request, adapter).status == 413


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://user:password@server.test/", {}),
        ("ftp://server.test/", {}),
        ("http://server.test/", {"X": "a\r\nY: b"}),
        ("http://server.test/", {"X\r\n": "a"}),
    ],
)
def test_what_cannot_be_a_request_is_refused_before_anything_is_looked_up(
    adapter: Any, resolver: Any, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(RefusedURL):
        send(Request(method="GET", url=url, headers=headers), adapter)
    assert resolver.asked == []


def test_many_threads_get_each_their_own_answer(serve: Any, adapter: Any) -> None:
    def script(peer: Any) -> None:
        while request := peer.read_request():
            path = re.split(rb" ", request)[1]
            peer.send(OK, b"Content-Length: %d\r\n\r\n" % len(path), path)

    server, together = serve(script), threading.Barrier(16)

    def call(worker: int) -> list[bytes]:
        together.wait(5)
        return [send(get(server.url(f"/{worker}/{number}")), adapter).body for number in range(8)]

    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(call, range(16)))
    assert bodies == [[b"/%d/%d" % (worker, number) for number in range(8)] for worker in range(16)]
    assert server.connections <= 16
