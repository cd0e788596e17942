"""The provider's idempotency layer, with the rules that Stripe documents for its v1 API.

A key belongs to an account and to one path with one set of parameters. Once an endpoint has begun to execute, its
answer (declines and 500s included) is stored and replayed; what was refused before that leaves the key unused. A day
later, by the books' clock, the key is forgotten, and the same request executes again.
"""

import hashlib
import json
from dataclasses import dataclass

from sandbox.books.bank import Bank
from sandbox.provider.wire import Form, ProviderError

KEY_LIMIT = 255
RETENTION_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Stored:
    """The answer that an earlier request with this key got."""

    status: int
    body: bytes
    request_id: str


class Keys:
    """The key table of one bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def begin(self, account: str, key: str, path: str, form: Form, request_id: str) -> Stored | None:
        """Take the key for this request, or return the stored answer; 409 while in use, 400 for other parameters."""
        if len(key) > KEY_LIMIT:
            raise ProviderError(400, "invalid_request_error", f"Keys have at most {KEY_LIMIT} characters.")
        fingerprint = _fingerprint(path, form)
        with self._bank.transaction():
            self._bank.rows(
                "DELETE FROM idempotency WHERE account = ? AND key = ? AND created < ? AND status IS NOT NULL",
                (account, key, self._bank.now() - RETENTION_SECONDS),
            )
            found = self._bank.rows(
                "SELECT fingerprint, request_id, status, body FROM idempotency WHERE account = ? AND key = ?",
                (account, key),
            )
            if not found:
                self._bank.rows(
                    "INSERT INTO idempotency (account, key, fingerprint, request_id, created) VALUES (?, ?, ?, ?, ?)",
                    (account, key, fingerprint, request_id, self._bank.now()),
                )
                return None
        before, first_request, status, body = found[0]
        if before != fingerprint:
            raise ProviderError(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used for the same endpoint and the same parameters.",
            )
        if status is None:
            raise ProviderError(
                409,
                "idempotency_error",
                "Another request with this idempotency key is in progress.",
                code="idempotency_key_in_use",
            )
        return Stored(status, body, first_request)

    def finish(self, account: str, key: str, status: int, body: bytes) -> None:
        """Store the answer; called in the transaction that has the effect, so that both happen or neither."""
        self._bank.rows(
            "UPDATE idempotency SET status = ?, body = ? WHERE account = ? AND key = ?",
            (status, body, account, key),
        )

    def release(self, account: str, key: str) -> None:
        """Forget a key whose request was refused before it was executed."""
        self._bank.rows("DELETE FROM idempotency WHERE account = ? AND key = ? AND status IS NULL", (account, key))

    def forget(self, account: str, key: str) -> None:
        """Forget a key before its time, with the answer that is stored under it."""
        self._bank.rows("DELETE FROM idempotency WHERE account = ? AND key = ? AND status IS NOT NULL", (account, key))


def _fingerprint(path: str, form: Form) -> str:
    return hashlib.sha256(f"{path}\n{json.dumps(form, sort_keys=True)}".encode()).hexdigest()
