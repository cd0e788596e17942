"""The transport for `requests`: connections that the guard opens, a deadline can end, and all threads share.

Host header, SNI and the certificate check keep the name from the URL, because only the opening of the socket
differs. Proxies, `netrc` and CA variables of the environment are not read.
"""

import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from clients.http import exchange
from clients.http.addresses import EgressPolicy
from clients.http.egress import Guard, Resolver, check_url

# At most 20 x 32 idle connections: below the usual 1,024 open files of a process.
HOST_POOLS = 20
IDLE_PER_HOST = 32


class _FinalResponse(http.client.HTTPResponse):
    """Skips every interim answer (1xx), not only 100.

    http.client takes a 103 for the answer, and leaves the real one on the connection for the next job.
    """

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed leaves private methods out
        return version, http.client.CONTINUE if 100 <= status < 200 else status, reason


class _GuardedConnection(HTTPConnection):
    response_class = _FinalResponse

    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guard = guard

    def _new_conn(self) -> socket.socket:
        current = exchange.current()
        seconds = self.timeout if self.timeout is not None else 30.0
        if current is not None:
            seconds = min(seconds, current.remaining())
        sock = self._open(seconds)
        # The TLS handshake, which comes next, takes its own time-out from the socket.
        sock.settimeout(seconds if current is None else min(seconds, current.remaining()))
        if current is not None:
            current.connected = True
            current.peer = sock.getpeername()[0]
        return sock

    def _open(self, seconds: float) -> socket.socket:
        try:
            return self._guard.connect(self._dns_host.strip("[]"), self.port, seconds)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from error
        except OSError as error:
            raise NewConnectionError(self, f"connecting to {self.host} failed: {error}") from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if (current := exchange.current()) is not None:
            current.sending_on(self.sock)
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        if (current := exchange.current()) is not None:
            current.answered = True
        return response


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    pass


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        current = exchange.current()
        if current is not None and current.fresh:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if (current := exchange.current()) is not None:
            current.let_go()
        super()._put_conn(conn)


class _GuardedTLSPool(_GuardedPool, HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


@cache
def default_tls() -> ssl.SSLContext:
    """Certificates checked against the bundled authorities; loaded once, as that costs milliseconds."""
    return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)


class GuardedAdapter(HTTPAdapter):
    """The transport. Threads share it and its idle connections: one pool per scheme, host and port.

    Every request through it is verified and direct, whatever `verify`, `cert` and `proxies` say.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: Resolver = socket.getaddrinfo,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._guard = Guard(policy, resolver)
        super().__init__(pool_connections=HOST_POOLS, pool_maxsize=IDLE_PER_HOST)

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        super().init_poolmanager(*sizes, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_GuardedPool, guard=self._guard),
            "https": partial(_GuardedTLSPool, guard=self._guard),
        }

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, *_given: Any, **_options: Any
    ) -> Any:
        """Where to connect, as requests reads it from the URL; the TLS options are always ours."""
        host, _ = super().build_connection_pool_key_attributes(request, verify=True)
        tls = {"ssl_context": self._tls or default_tls()} if host["scheme"] == "https" else {}
        return host, tls

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the context verifies. requests would have each connection load the bundle anew."""

    def send(  # noqa: PLR0913  # the signature is HTTPAdapter's
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002, FBT002
        cert: Any = None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> requests.Response:
        """As HTTPAdapter.send, but raises RefusedURL or Blocked, and ignores `verify`, `cert`, `proxies`."""
        check_url(request.url or "")
        return super().send(request, stream=stream, timeout=timeout)


@cache
def adapter_for(policy: EgressPolicy) -> GuardedAdapter:
    """The process's one transport for `policy`, so that all jobs share its idle connections."""
    return GuardedAdapter(policy)


# Two processes that write to one inherited connection would read each other's answers.
os.register_at_fork(after_in_child=adapter_for.cache_clear)
