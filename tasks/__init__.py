"""What a handler is: the function that performs one kind of job, and the words in which it answers.

One file per kind in this folder, nothing to register elsewhere. A handler returns a JSON object, or raises one of the
words below; any other exception means *try again later*.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from pydantic import BaseModel
from structlog.typing import FilteringBoundLogger

from tasks.backoff import DEFAULT_BACKOFF, Backoff
from tasks.files import Files

QUEUES = ("payments", "integrations", "data", "default")


class Word(Exception):
    """A handler's way to say how its attempt ended, other than by returning a result."""

    def __init__(self, code: str, message: str = "", details: Mapping[str, Any] | None = None) -> None:
        """`code` is stable and machine-readable; `message` and `details` are shown to the app: no secrets."""
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.details = dict(details or {})


class Fail(Word):
    """The job cannot succeed, however often it is tried: it ends as `failed`."""


class Cancel(Word):
    """The work is no longer wanted: the job ends as `cancelled`."""


class Park(Word):
    """The outcome is unknown or a person is needed: the job rests as `parked` until someone decides."""


class Retry(Word):
    """An expected, passing failure: try again after `after`, or after the kind's backoff when that is longer."""

    def __init__(
        self,
        code: str,
        message: str = "",
        details: Mapping[str, Any] | None = None,
        *,
        after: timedelta | None = None,
    ) -> None:
        super().__init__(code, message, details)
        self.retry_after = after


class Snooze(Exception):
    """Not now: the job waits until `until` (a moment with time zone, or a span from now) and spends no attempt."""

    def __init__(self, until: datetime | timedelta) -> None:
        super().__init__(f"snoozed until {until}")
        self.until = until


class Interrupted(BaseException):
    """The engine wants the handler to stop now. Handlers let it pass; a `finally` may tidy up.

    It is no `Exception`, so that a handler's own `except Exception` does not swallow it.
    """


class Cancelled(Interrupted):
    """Someone asked for the job to be cancelled."""


class TimedOut(Interrupted):
    """The attempt has used up its time limit."""


class LeaseLost(Interrupted):
    """Another attempt may hold the job now: whatever this one still does is not recorded."""


class Context(Protocol):
    """What a handler may ask of the engine while it performs one attempt. Safe to use from several threads."""

    job_id: UUID
    app_id: UUID
    kind: str
    attempt: int
    """1 for the first try; a snoozed or lost attempt is counted again under its number."""
    max_attempts: int
    idempotency_key: str
    """The same over all attempts of this job: what to send to a third party that can deduplicate."""
    checkpoint: dict[str, Any] | None
    """What an earlier attempt saved last, or None."""

    @property
    def log(self) -> FilteringBoundLogger:
        """Logs with the job's id, kind and attempt in every line."""

    @property
    def files(self) -> Files:
        """The files of the job's app."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Show how far the work is (0 to 1). Written at most once a second; raises what `check_cancelled` raises."""

    def save_checkpoint(self, state: Mapping[str, Any], *, unsettled: bool = False) -> None:
        """Commit `state` before returning: the next attempt finds it. Raises `LeaseLost` if the job is not ours.

        `unsettled` says that from here on something may happen elsewhere that cannot be taken back (money may move).
        Until a later checkpoint or the handler's own ending says otherwise, whatever else ends the job (its attempts,
        its deadline, a wish to cancel, lost workers) parks it instead of calling it failed or cancelled.
        """

    def check_cancelled(self) -> None:
        """Raise `Cancelled`, `TimedOut` or `LeaseLost` when the attempt should stop. Cheap: call it in loops."""

    def remaining(self) -> timedelta:
        """The time left for this attempt; never negative. Pass it down as a time-out to whatever waits."""

    def enqueue(  # noqa: PLR0913  # as much as an app can say of a job
        self,
        kind: str,
        params: Mapping[str, Any],
        *,
        queue: str | None = None,
        max_attempts: int | None = None,
        priority: int = 0,
        run_at: datetime | None = None,
        expires_at: datetime | None = None,
        deadline_at: datetime | None = None,
        labels: dict[str, str] | None = None,
    ) -> UUID:
        """Add a child job, written in the transaction that records this attempt's success, or not at all.

        The options mean what they mean to an app that submits a job; moments carry a time zone. Raises `ValueError` at
        the call for whatever could not be written then. A child has no unique key: whether that is free shows only when
        the attempt has ended, and nobody is left to answer.
        """


Perform: TypeAlias = Callable[[Any, Context], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Handler:
    """One kind of job: its name, its params model, and how the engine is to treat it."""

    kind: str
    params: type[BaseModel]
    perform: Perform
    queue: str
    max_attempts: int
    timeout: timedelta
    """After this the handler is interrupted; `timeout + grace` later its process is killed."""
    grace: timedelta
    """How long an interrupted handler may take to stop."""
    backoff: Backoff
    chunk: bool
    """Whether its jobs may share a message (and so a process, one after the other)."""
    idempotency_required: bool
    description: str = field(default="")


HANDLERS: dict[str, Handler] = {}


class DuplicateKind(Exception):
    """Two handlers claim the same kind; a kind has exactly one."""


def handler(  # noqa: PLR0913  # each is a fact of the kind
    kind: str,
    params: type[BaseModel],
    *,
    queue: str = "default",
    max_attempts: int = 5,
    timeout: timedelta = timedelta(minutes=5),
    grace: timedelta = timedelta(seconds=10),
    backoff: Backoff = DEFAULT_BACKOFF,
    chunk: bool = True,
    idempotency_required: bool = False,
) -> Callable[[Perform], Perform]:
    """Declare the decorated function to be the handler of `kind` (`noun.verb`, stable for ever).

    The first line of its module's docstring, after the kind, describes it in the catalogue.
    """
    if queue not in QUEUES:
        raise ValueError(f"{kind}: queue must be one of {', '.join(QUEUES)}, not {queue!r}")

    def register(perform: Perform) -> Perform:
        if kind in HANDLERS and HANDLERS[kind].perform.__module__ != perform.__module__:
            raise DuplicateKind(f"{kind} is declared in {HANDLERS[kind].perform.__module__} and {perform.__module__}")
        HANDLERS[kind] = Handler(
            kind, params, perform, queue, max_attempts, timeout, grace, backoff, chunk, idempotency_required,
            _describe(kind, perform),
        )  # fmt: skip
        return perform

    return register


def _describe(kind: str, perform: Perform) -> str:
    text = perform.__globals__.get("__doc__") or perform.__doc__ or ""
    first = text.strip().split("\n\n")[0].replace("\n", " ")
    return first.removeprefix(f"{kind}:").strip()
