"""Stripe's signature scheme: HMAC-SHA256 over the time and the raw body, once for every secret that is still valid.

The time is the wall's, not the books': who verifies compares it with a clock that nobody has moved.
"""

import hashlib
import hmac
import secrets
import time

from sandbox.books.bank import Bank, new_id

HOUR = 3600


def new_secret() -> str:
    """A signing secret as the provider makes them."""
    return new_id("whsec_", 32)


def keep_secret(bank: Bank, endpoint_id: str, secret: str) -> None:
    """From now on, sign what goes to the endpoint with `secret` too."""
    bank.rows("INSERT INTO signing_secret (endpoint, secret) VALUES (?, ?)", (endpoint_id, secret))


def expire_secrets(bank: Bank, endpoint_id: str, at: float) -> None:
    """Let the endpoint's secrets of today be valid until `at` and no longer."""
    bank.rows(
        "UPDATE signing_secret SET expires = ? WHERE endpoint = ? AND (expires IS NULL OR expires > ?)",
        (at, endpoint_id, at),
    )


def secrets_of(bank: Bank, endpoint_id: str) -> list[str]:
    """The secrets that are valid now, the newest first."""
    found = bank.rows(
        "SELECT secret FROM signing_secret WHERE endpoint = ? AND (expires IS NULL OR expires > ?) ORDER BY rowid DESC",
        (endpoint_id, bank.now()),
    )
    return [secret for (secret,) in found]


def header(keys: list[str], body: bytes, fault: str = "good") -> str:
    """The `Stripe-Signature` of a body; a faulty one is made with a foreign secret, or far from now."""
    at = int(time.time()) + {"old": -HOUR, "future": HOUR}.get(fault, 0)
    if fault == "bad":
        keys = [new_secret() for _ in keys]
    signed = ",".join(f"v1={_sign(key, at, body)}" for key in keys)
    # Test-mode deliveries also carry a signature of a scheme that nobody may accept.
    return f"t={at},{signed},v0={secrets.token_hex(32)}"


def _sign(key: str, at: int, body: bytes) -> str:
    return hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
