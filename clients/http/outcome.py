"""What the end of a call means for its job: pure functions over the status, or over how none came."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
IDEMPOTENT = SAFE | {"PUT", "DELETE"}
"""RFC 9110, 9.2.2: performing it twice is as good as once."""

RETRY_AFTER_CAP = timedelta(hours=6)


class Outcome(StrEnum):
    """The five ways a call can end."""

    SUCCESS = "success"
    TRANSIENT = "transient"
    """It did not happen, and may later: try again."""
    PERMANENT = "permanent"
    AMBIGUOUS = "ambiguous"
    """It may have happened: see `may_repeat`."""
    BLOCKED = "blocked"


class Failure(StrEnum):
    """How a call ended without an answer."""

    NOT_SENT = "not_sent"
    """No byte of the request left: DNS, connecting, or the TLS handshake failed."""
    TLS = "tls"
    """The server's certificate did not verify; nothing was sent."""
    BLOCKED = "blocked"
    LOST = "lost"
    """Sent at least in part, and no whole answer came back."""


_WITHOUT_ANSWER = {
    Failure.NOT_SENT: Outcome.TRANSIENT,
    Failure.TLS: Outcome.PERMANENT,
    Failure.BLOCKED: Outcome.BLOCKED,
    Failure.LOST: Outcome.AMBIGUOUS,
}


def classify(method: str, ending: int | Failure) -> Outcome:
    """The class of a call that ended with a status, or without one.

    A server error on a method that is not idempotent is ambiguous: the server may have failed after it acted.
    A status outside the known ones counts as its class does (RFC 9110, 15), so 599 is a server error.
    """
    if isinstance(ending, Failure):
        return _WITHOUT_ANSWER[ending]
    if 200 <= ending < 300:
        return Outcome.SUCCESS
    if ending in (408, 425, 429):
        return Outcome.TRANSIENT
    if ending >= 500 and ending not in (501, 505):
        return Outcome.TRANSIENT if method in IDEMPOTENT else Outcome.AMBIGUOUS
    return Outcome.PERMANENT


def may_repeat(method: str, *, keyed: bool, retry_unsafe: bool) -> bool:
    """Whether a call whose outcome is ambiguous may be made again: idempotent, keyed, or the job says so."""
    return method in IDEMPOTENT or keyed or retry_unsafe


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """The wait that a `Retry-After` asks for (seconds or an HTTP date), 0 to 6 hours; None if unreadable."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return min(timedelta(seconds=int(text)), RETRY_AFTER_CAP)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # An HTTP date is in GMT; one written with -0000 comes back without a zone.
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), RETRY_AFTER_CAP)
