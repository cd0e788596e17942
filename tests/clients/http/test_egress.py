"""The guard against hostile URLs and hostile DNS; every socket here stays on loopback."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from urllib3.exceptions import HTTPError

from clients.http.addresses import EgressPolicy
from clients.http.egress import Blocked, Guard, RefusedURL, check_url

OPEN = EgressPolicy.parse(["127.0.0.0/8", "::1/128"])


def answers(*rounds: list[str]) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver that answers each look-up with the next of `rounds`."""
    left = iter(rounds)

    def resolve(_host: str, port: int, **_options: Any) -> list[tuple[Any, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in next(left)]

    return resolve


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f.1", "0177.1", "2130706433", "0x7f000001", "0", "①②⑦.⓪.⓪.①"),
        *("localhost", "::1", "::", "::ffff:127.0.0.1", "0:0:0:0:0:ffff:7f00:1", "fe80::1%1"),
    ],
)
def test_every_spelling_of_a_local_address_ends_at_the_same_check(host: str) -> None:
    with pytest.raises(Blocked):
        Guard(EgressPolicy()).connect(host, 80, 5)


@pytest.mark.parametrize("host", ["127.0.0.1.", "localhost.", "::1%lo"])
def test_a_local_address_in_disguise_is_blocked_or_unknown_to_the_resolver(host: str) -> None:
    with pytest.raises((Blocked, socket.gaierror)):
        Guard(EgressPolicy()).connect(host, 80, 5)


def test_the_checked_address_is_dialled_without_a_second_look_up(port: int) -> None:
    guard = Guard(OPEN, answers(["127.0.0.1"], ["10.0.0.1"]))
    with guard.connect("rebinding.test", port, 5) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)
    with pytest.raises(Blocked, match=r"10\.0\.0\.1"):
        guard.connect("rebinding.test", port, 5)


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
def test_a_name_with_one_denied_address_is_refused_whole(
    listener: socket.socket, port: int, addresses: list[str]
) -> None:
    with pytest.raises(Blocked):
        Guard(OPEN, answers(addresses)).connect("mixed.test", port, 5)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_resolver_that_answers_with_a_name_is_blocked() -> None:
    with pytest.raises(Blocked, match="no address"):
        Guard(OPEN, answers(["localhost"])).connect("odd.test", 80, 5)


def test_a_name_without_addresses_is_a_failed_look_up() -> None:
    with pytest.raises(socket.gaierror):
        Guard(OPEN, answers([])).connect("empty.test", 80, 5)


def test_the_next_address_is_tried_when_the_first_refuses(port: int) -> None:
    with Guard(OPEN, answers(["::1", "127.0.0.1"])).connect("two.test", port, 5) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    answer = threading.Event()

    def stuck(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        answer.wait(10)
        return []

    try:
        with pytest.raises(socket.gaierror, match="in time"):
            Guard(OPEN, stuck).connect("slow.test", 80, 0.05)
    finally:
        answer.set()


def test_a_block_is_no_connection_error() -> None:
    assert not issubclass(Blocked, OSError | requests.RequestException | HTTPError)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/", "file:///etc/passwd", "gopher://host/", "//host/", "host/path", "", "javascript:1"),
        *("http://user@host/", "http://user:password@host/", "http://@host/", "http://a@b@host/"),
        *(
            "http:///path",
            "http://",
            "http://host:0/",
            "http://host:99999/",
            "http://host:x/",
            "http://[::1/",
        ),
        *(
            "http://host\\@other/",
            "http://ho st/",
            "http://host/\r\nX: 1",
            "http://host/\t",
            "http://host/\x7f",
        ),
        *("http://[fe80::1%25eth0]/", "http://%31%32%37.0.0.1/", "http://a..b/", f"http://{'a' * 64}.test/"),
        *(f"http://{'a.' * 127}test/", "http://host/" + "a" * 8_192),
    ],
)
def test_a_url_that_no_job_may_call_is_refused(url: str) -> None:
    with pytest.raises(RefusedURL):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://host", "HTTPS://Host.test:8443/a?b=c@d#e", "http://[2001:db8::1]:80/", "https://bücher.test/ä"],
)
def test_a_plain_url_passes(url: str) -> None:
    check_url(url)
