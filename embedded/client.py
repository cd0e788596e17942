"""The demonstration's way to the API: plain HTTP with a key, as any app would use it."""

from collections.abc import Mapping
from typing import Any, Self

import requests

from embedded import CannotRun

TIMEOUT = 30.0


class Refused(CannotRun):
    """The API answered with a problem."""

    def __init__(self, method: str, path: str, answer: requests.Response) -> None:
        super().__init__(f"{method} {path} was answered with {answer.status_code}: {answer.text[:2000]}")


class Client:
    """One key at one address; a context manager that closes its connections."""

    def __init__(self, address: str, key: str) -> None:
        """No connection is opened yet."""
        self._address = address
        self._session = requests.Session()
        # A proxy named in the environment cannot reach our loopback, and a .netrc must not replace the key.
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {key}"
        # After a refusal the server is stopped, and would wait for a connection that the error still holds.
        self._session.headers["Connection"] = "close"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def submit(self, kind: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Submit a job; it as it was accepted."""
        return self._ask("POST", "/v1/jobs", json={"kind": kind, "params": params}, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        return self._ask("GET", f"/v1/jobs/{job_id}")

    def upload(self, name: str, content: bytes, content_type: str) -> dict[str, Any]:
        """Upload a file; what the API keeps about it."""
        return self._ask(
            "POST", "/v1/files", params={"name": name}, data=content, headers={"Content-Type": content_type}
        )

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._session.request(method, self._address + path, timeout=TIMEOUT, **arguments)
        except requests.RequestException as error:
            raise CannotRun(f"{method} {self._address}{path} was not answered: {error}") from None
        if not answer.ok:
            raise Refused(method, path, answer)
        content: dict[str, Any] = answer.json()
        return content
