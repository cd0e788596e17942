"""What the provider has put down to do later: let a hold expire, settle a refund, undo what a 500 had hidden."""

import json
from dataclasses import dataclass
from typing import Any

from sandbox.books.bank import Bank


@dataclass(frozen=True)
class Errand:
    """One thing to do with `subject` for `account`, no earlier than `at`."""

    seq: int
    at: float
    account: str
    name: str
    subject: str
    details: dict[str, Any]


def put_down(bank: Bank, at: float, account: str, name: str, subject: str, **details: Any) -> None:
    """Remember an errand, in the transaction that gives the reason for it."""
    bank.rows(
        "INSERT INTO errand (at, account, name, subject, details) VALUES (?, ?, ?, ?, ?)",
        (at, account, name, subject, json.dumps(details)),
    )
    bank.alarm.set()


def first(bank: Bank) -> Errand | None:
    """The errand that comes next."""
    found = bank.rows("SELECT seq, at, account, name, subject, details FROM errand ORDER BY at, seq LIMIT 1")
    if not found:
        return None
    seq, at, account, name, subject, details = found[0]
    return Errand(seq, at, account, name, subject, json.loads(details))


def strike_out(bank: Bank, errand: Errand) -> None:
    """Forget an errand, in the transaction that has done it."""
    bank.rows("DELETE FROM errand WHERE seq = ?", (errand.seq,))
