"""The egress guard: which URLs a job may name, and a dialler that reaches only what the policy admits.

The check happens where the socket is opened, on the address that is then dialled: no second look-up can
change it (DNS rebinding), and every spelling of a host ends at the same place, whatever a parser made of it.
"""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from clients.http.addresses import Address, EgressPolicy

Resolver: TypeAlias = Callable[..., list[tuple[Any, ...]]]

MAX_URL = 8_192
MAX_HOST = 253


class Blocked(Exception):
    """The egress policy does not admit this address.

    Neither an OSError nor a RequestException, so that urllib3 and requests pass it on as it is and no code
    that retries connection errors takes it for one. Its text is for operators: it names the address.
    """


class RefusedURL(ValueError):
    """This is not a URL that a job may call."""


def check_url(url: str) -> None:
    """Raise `RefusedURL` unless `url` is an http(s) URL with a host, and without a user name or trickery."""
    if len(url) > MAX_URL:
        raise RefusedURL(f"the URL is longer than {MAX_URL} characters")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise RefusedURL("the URL contains white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        host.encode("idna")
    except ValueError:
        raise RefusedURL("the URL cannot be read: check its host and port") from None
    if parts.scheme not in ("http", "https"):
        raise RefusedURL("the URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise RefusedURL("the URL must not contain a user name or password")
    if not host or len(host) > MAX_HOST or "%" in host or port == 0:
        raise RefusedURL("the URL's host or port is missing, too long, escaped, with a zone, or 0")


class Guard:
    """Opens sockets for one policy; the resolver is a parameter so that tests can be a hostile DNS."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver = socket.getaddrinfo) -> None:
        self._policy = policy
        self._resolver = resolver

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Resolve, check, dial; each within `seconds`. Raises Blocked, gaierror, or the last dial's OSError.

        A name with one address that is not admitted is refused whole: otherwise the answer would hang on the
        order of a list that a stranger sends.
        """
        addresses = self._admitted(host, port, self._resolve(host, port, seconds))
        failure: OSError = socket.gaierror(socket.EAI_NODATA, "the name has no address")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return _dial(address, port, seconds / left)
            except OSError as error:
                failure = error
        raise failure

    def _admitted(self, host: str, port: int, addresses: list[Address]) -> list[Address]:
        for address in addresses:
            if not self._policy.admits(address, port):
                raise Blocked(f"{host} port {port} is at {address}, which the egress policy does not admit")
        return addresses

    def _resolve(self, host: str, port: int, seconds: float) -> list[Address]:
        # getaddrinfo knows no time-out and may take half a minute; its thread then ends by itself, unheard.
        found: Future[list[tuple[Any, ...]]] = Future()

        def look_up() -> None:
            try:
                found.set_result(self._resolver(host, port, type=socket.SOCK_STREAM))
            except BaseException as error:  # noqa: BLE001 - raised again by result(), in the thread that asked
                found.set_exception(error)

        threading.Thread(target=look_up, name="http-resolver", daemon=True).start()
        try:
            answers = found.result(seconds)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the name was not resolved in time") from None
        return list(dict.fromkeys(_address(host, answer[4][0]) for answer in answers))


def _address(host: str, text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Blocked(f"{host} resolved to {text!r}, which is no address") from None


def _dial(address: Address, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds)
        sock.connect((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
