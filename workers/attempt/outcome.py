"""What follows from how an attempt ended: pure, so that every branch can be read and tested without a database."""

import random
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

import tasks
from models.attempt import Outcome
from models.job import State
from models.lifecycle import Ending
from tasks.backoff import Backoff

RESULT_LIMIT = 256 * 1024
"""Bytes of JSON that a row may hold as its result."""
MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 16_384


class Stopping(tasks.Interrupted):
    """The worker is shutting down and hands its jobs back."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """What is known of an attempt when it ends, besides how."""

    id: UUID
    token: UUID
    attempt: int
    max_attempts: int
    backoff: Backoff
    deadline_in: timedelta | None
    """From now; negative when it has passed."""


def returned(attempted: Attempted, result: Mapping[str, Any] | None) -> Ending:
    """The handler came back: success, unless its result is not JSON or does not fit into a row."""
    try:
        size = len(storable(result))
    except ValueError as error:
        return _failed(attempted, Outcome.FAILED, _error(attempted, "result_not_json", str(error)))
    if size > RESULT_LIMIT:
        message = f"the result has {size} bytes, more than {RESULT_LIMIT}: save it as a file and return its id"
        return _failed(attempted, Outcome.FAILED, _error(attempted, "result_too_large", message))
    return Ending(attempted.id, attempted.token, Outcome.SUCCEEDED, State.SUCCEEDED, result=result or {})


def raised(  # noqa: PLR0911  # one return for each way to end
    attempted: Attempted, exception: BaseException, *, chance: random.Random | None = None
) -> Ending:
    """The handler raised: its own word where it gave one, else another attempt while there are attempts left."""
    match exception:
        case tasks.Snooze(until=until):
            return _later(attempted, Outcome.SNOOZED, _seconds_until(until), spent=False)
        case Stopping():
            return _later(attempted, Outcome.RELEASED, 0, spent=False)
        case tasks.Fail():
            return _failed(attempted, Outcome.FAILED, _of(attempted, exception))
        case tasks.Cancel():
            return _ended(attempted, Outcome.CANCELLED, State.CANCELLED, _of(attempted, exception))
        case tasks.Cancelled():
            return replace(_ended(attempted, Outcome.CANCELLED, State.CANCELLED, None), presumed=True)
        case tasks.Park():
            return _ended(attempted, Outcome.PARKED, State.PARKED, _of(attempted, exception))
        case tasks.Retry():
            return _again(attempted, Outcome.FAILED, _of(attempted, exception, retryable=True), exception, chance)
        case tasks.TimedOut():
            error = _error(attempted, "timed_out", "the attempt took longer than its time limit", retryable=True)
            return _again(attempted, Outcome.TIMED_OUT, error, exception, chance)
        case _:
            # The text of an exception that nobody meant for the app may quote anything: operators read it in the
            # attempt's traceback, the app gets the class.
            error = _error(attempted, "unexpected_error", type(exception).__name__, retryable=True)
            return _again(attempted, Outcome.FAILED, error, exception, chance, traceback=_format(exception))


def unrecordable(ending: Ending, fault: Exception) -> Ending:
    """What is recorded instead of an ending that Postgres refuses, for instance because of a child job in it."""
    error = {"code": "not_recordable", "message": "how the attempt ended could not be stored", "retryable": False}
    return Ending(
        ending.id, ending.token, Outcome.FAILED, State.FAILED, error=error, traceback=_format(fault), presumed=True
    )


def storable(value: Any) -> bytes:
    """The JSON of `value`. Raises `ValueError` for what Postgres cannot hold: it refuses NUL inside strings."""
    try:
        encoded = orjson.dumps(value)
    except TypeError as error:
        raise ValueError(str(error)) from None
    if b"\\u0000" in encoded and "\0" in _strings(orjson.loads(encoded)):
        raise ValueError("a string in it contains a NUL character")
    return encoded


def _strings(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(_strings(part) for item in value.items() for part in item)
    if isinstance(value, list):
        return "".join(_strings(part) for part in value)
    return value if isinstance(value, str) else ""


def _text(message: str) -> str:
    """`message` as Postgres can hold it."""
    return message.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def released(job_id: UUID, token: UUID) -> Ending:
    """The job goes back as if it had not been claimed: it was not begun, or its attempt is not to count."""
    return Ending(job_id, token, Outcome.RELEASED, State.READY, spent=False)


def _again(  # noqa: PLR0913  # the facts of one ending
    attempted: Attempted,
    outcome: Outcome,
    error: dict[str, Any],
    exception: BaseException,
    chance: random.Random | None,
    traceback: str | None = None,
) -> Ending:
    if attempted.attempt >= attempted.max_attempts:
        return replace(_failed(attempted, outcome, error, traceback), presumed=True)
    floor = getattr(exception, "retry_after", None)
    floor = floor if isinstance(floor, timedelta) else timedelta(0)
    wait = attempted.backoff.wait(attempted.attempt, floor=floor, chance=chance)
    if attempted.deadline_in is not None and wait >= attempted.deadline_in:
        late = _error(attempted, "deadline_exceeded", f"no time left for another attempt after: {error['message']}")
        return replace(_failed(attempted, outcome, late, traceback), presumed=True)
    return Ending(
        attempted.id, attempted.token, outcome, State.SCHEDULED,
        error=error, traceback=traceback, delay=wait.total_seconds(),
    )  # fmt: skip


def _later(attempted: Attempted, outcome: Outcome, seconds: float, *, spent: bool) -> Ending:
    state = State.SCHEDULED if seconds > 0 else State.READY
    return Ending(attempted.id, attempted.token, outcome, state, delay=max(0.0, seconds), spent=spent)


def _failed(attempted: Attempted, outcome: Outcome, error: Mapping[str, Any], traceback: str | None = None) -> Ending:
    return _ended(attempted, outcome, State.FAILED, {**error, "retryable": False}, traceback)


def _ended(
    attempted: Attempted,
    outcome: Outcome,
    state: State,
    error: Mapping[str, Any] | None,
    traceback: str | None = None,
) -> Ending:
    return Ending(attempted.id, attempted.token, outcome, state, error=error, traceback=traceback)


def _of(attempted: Attempted, word: tasks.Word, *, retryable: bool = False) -> dict[str, Any]:
    error = _error(attempted, word.code, word.message, retryable=retryable)
    if not word.details:
        return error
    try:
        storable(word.details)
    except ValueError as fault:
        return {**error, "details": {"lost": _text(str(fault))}}
    return {**error, "details": word.details}


def _error(attempted: Attempted, code: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    message = _text(message)[:MESSAGE_LIMIT]
    return {"code": code, "message": message, "retryable": retryable, "attempt": attempted.attempt}


def _seconds_until(until: datetime | timedelta) -> float:
    if isinstance(until, timedelta):
        return until.total_seconds()
    return (until - datetime.now(UTC)).total_seconds()


def _format(exception: BaseException) -> str:
    return _text("".join(traceback.format_exception(exception, limit=-20))[-TRACEBACK_LIMIT:])
