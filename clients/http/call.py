"""One guarded HTTP call: a whole answer, or a failure that says whether the far side may have acted.

`NotSent` is a promise: no byte of the request left this machine. It rests on a flag that is set before the
first byte is handed to the socket, not on the class of the error: urllib3 reports a slow TLS handshake as a
read time-out.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import ClassVar

import requests
from requests.exceptions import ReadTimeout
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay, wait_random
from urllib3.exceptions import HTTPError, NameResolutionError, ReadTimeoutError

from clients.http import exchange
from clients.http.answer import Answer, read
from clients.http.egress import RefusedURL, check_url
from clients.http.exchange import Exchange
from clients.http.outcome import IDEMPOTENT, Failure
from clients.http.transport import GuardedAdapter

_OURS = {"User-Agent": "mainstay", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to send. Redirects are not followed: a 3xx is an answer like any other."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a call may take: to connect, between two reads, and in all."""

    connect: timedelta = timedelta(seconds=5)
    read: timedelta = timedelta(seconds=15)
    total: timedelta = timedelta(seconds=30)

    def per_socket(self) -> tuple[float, float]:
        """As requests wants them: seconds to connect, and seconds per read."""
        return self.connect.total_seconds(), self.read.total_seconds()


class CallFailed(Exception):
    """The call ended without a whole answer. The text is for operators: it may name addresses."""

    failure: ClassVar[Failure]

    def __init__(self, reason: str, message: str) -> None:
        """`reason` is one word for logs: dns, connect, connect_timeout, read_timeout, total_timeout ..."""
        super().__init__(message)
        self.reason = reason

    @property
    def timed_out(self) -> bool:
        """Whether it was time that ran out."""
        return self.reason.endswith("timeout")


class NotSent(CallFailed):
    """The request never left: repeating it is always safe."""

    failure = Failure.NOT_SENT


class Untrusted(CallFailed):
    """The server's certificate did not verify; nothing was sent."""

    failure = Failure.TLS


class Lost(CallFailed):
    """The request was sent, at least in part, and no whole answer came back: the far side may have acted."""

    failure = Failure.LOST


class _Stale(Lost):
    """A kept-alive connection turned out to be closed; an idempotent request may go out on a new one."""


def send(request: Request, adapter: GuardedAdapter, timeouts: Timeouts = Timeouts()) -> Answer:
    """Make one call. Raises RefusedURL, Blocked, NotSent, Untrusted or Lost; safe to use from many threads.

    A request that never left is tried again at once, twice at most and within a second. A request that is not
    idempotent always gets a connection of its own: on a kept-alive one that the server closes at that moment
    it would be lost, and nobody could tell whether it had been performed.
    """
    prepared = _prepare(request)
    started = monotonic()
    tries = Retrying(
        retry=retry_if_exception_type((NotSent, _Stale)),
        stop=stop_after_attempt(3) | stop_before_delay(1.0),
        wait=wait_random(0.1, 0.3),
        reraise=True,
    )
    for attempt in tries:
        with attempt:
            fresh = request.method not in IDEMPOTENT or attempt.retry_state.attempt_number > 1
            this = Exchange(started + timeouts.total.total_seconds(), fresh=fresh)
            return _perform(prepared, adapter, timeouts, this, started)
    raise AssertionError("unreachable: the last try returns or raises")


def _prepare(request: Request) -> requests.PreparedRequest:
    check_url(request.url)
    headers = {**_OURS, **request.headers}
    try:
        return requests.Request(request.method, request.url, headers, data=request.body).prepare()
    except (requests.RequestException, ValueError) as error:
        raise RefusedURL(f"no request can be made of this: {error}") from error


def _perform(
    prepared: requests.PreparedRequest,
    adapter: GuardedAdapter,
    timeouts: Timeouts,
    this: Exchange,
    started: float,
) -> Answer:
    with exchange.perform(this):
        try:
            with closing(adapter.send(prepared, stream=True, timeout=timeouts.per_socket())) as response:
                fields = read(response.raw)
        except (requests.RequestException, HTTPError) as error:
            raise _failed(this, error) from error
    # A stream that the watchdog ended can look like a whole answer.
    if this.expired:
        raise Lost("total_timeout", "no whole answer arrived in the time allowed")
    return Answer(**fields, elapsed=timedelta(seconds=monotonic() - started), peer=this.peer)


def _failed(this: Exchange, error: Exception) -> CallFailed:
    causes = tuple(_causes(error))
    if not this.sent:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return Untrusted("certificate", str(error))
        return NotSent(_why_not_sent(this, causes), str(error))
    if this.expired:
        return Lost("total_timeout", str(error))
    if any(isinstance(cause, ReadTimeout | ReadTimeoutError) for cause in causes):
        return Lost("read_timeout", str(error))
    if not this.connected and not this.answered and not this.fresh:
        return _Stale("stale_connection", str(error))
    return Lost("connection_lost", str(error))


def _why_not_sent(this: Exchange, causes: tuple[BaseException, ...]) -> str:
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "dns"
    # Not by urllib3's ConnectTimeoutError: there a refused connection counts as one.
    if this.expired or any(isinstance(cause, TimeoutError) for cause in causes):
        return "connect_timeout"
    return "connect"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
