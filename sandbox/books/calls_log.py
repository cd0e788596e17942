"""The log of calls, by which tests know what the provider was asked, what it answered, and which faults struck."""

from typing import Any, NamedTuple

from sandbox.books.bank import Bank

CALL_FIELDS = (
    "seq", "at", "account", "endpoint", "path", "idempotency_key", "request_id", "status", "error", "replayed",
)  # fmt: skip
STRIKE_FIELDS = ("seq", "at", "fault", "struck", "request_id")
PAGE = 1000


class Asked(NamedTuple):
    """What the provider was asked, and by whom."""

    account: str
    endpoint: str
    path: str
    idempotency_key: str | None
    request_id: str


def log_call(bank: Bank, asked: Asked) -> int:
    """Note a call before anything comes of it; its number."""
    return int(
        bank.rows(
            "INSERT INTO call (at, account, endpoint, path, idempotency_key, request_id) VALUES (?, ?, ?, ?, ?, ?)"
            " RETURNING seq",
            (bank.now(), *asked),
        )[0][0]
    )


def log_answer(bank: Bank, number: int, status: int, error: str | None, *, replayed: bool) -> None:
    """Note what a call came to; what a fault then makes of the answer on its way is not noted here."""
    bank.rows(
        "INSERT INTO answer (call, status, error, replayed) VALUES (?, ?, ?, ?)", (number, status, error, replayed)
    )


def log_strike(bank: Bank, fault: str, struck: str, request_id: str | None) -> None:
    """Note that a fault struck an endpoint or an event type."""
    bank.rows(
        "INSERT INTO strike (at, fault, struck, request_id) VALUES (?, ?, ?, ?)",
        (bank.now(), fault, struck, request_id),
    )


def calls(bank: Bank, after: int) -> list[dict[str, Any]]:
    """The calls after number `after`, oldest first, with their answers where they have one."""
    rows = bank.rows(
        "SELECT seq, at, account, endpoint, path, idempotency_key, request_id, status, error, replayed"
        " FROM call LEFT JOIN answer ON answer.call = call.seq WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, PAGE),
    )
    return [dict(zip(CALL_FIELDS, row, strict=True)) for row in rows]


def strikes(bank: Bank, after: int) -> list[dict[str, Any]]:
    """The strikes after number `after`, oldest first."""
    rows = bank.rows(
        "SELECT seq, at, fault, struck, request_id FROM strike WHERE seq > ? ORDER BY seq LIMIT ?", (after, PAGE)
    )
    return [dict(zip(STRIKE_FIELDS, row, strict=True)) for row in rows]


def counts(bank: Bank) -> dict[str, int]:
    """How often each endpoint was called."""
    return dict(bank.rows("SELECT endpoint, count(*) FROM call GROUP BY endpoint"))
