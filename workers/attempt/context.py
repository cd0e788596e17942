"""What a handler sees of the engine during one attempt: `tasks.Context`, made true."""

import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from threading import Lock
from typing import Any, cast
from uuid import UUID

import structlog
from structlog.typing import FilteringBoundLogger

from models import lease
from models.base import new_id
from models.lifecycle import Claim, NewJob
from models.session import statement
from tasks import Handler, Interrupted, LeaseLost
from tasks.discovery import handler_of
from workers.attempt.outcome import Attempted, storable
from workers.files import AppFiles
from workers.options import PARAMS_LIMIT, ChildOptions
from workers.wakeup.announce import announce

PROGRESS_INTERVAL = 1.0


class JobContext:
    """One attempt of one job. `interrupt` is called by the keeper; the handler meets it at its next check."""

    def __init__(self, claim: Claim, handler: Handler) -> None:
        self.job_id = claim.id
        self.app_id = claim.app_id
        self.kind = claim.kind
        self.attempt = claim.attempt
        self.max_attempts = claim.max_attempts
        self.idempotency_key = str(claim.id)
        self.checkpoint = claim.checkpoint
        self.token = claim.token
        self.handler = handler
        self.children: list[NewJob] = []
        self.started = time.monotonic()
        self.interrupted_at: float | None = None
        self.over = False
        """Whether the handler came back, in whichever way."""
        self._interruption: type[Interrupted] | None = None
        self._deadline_in = claim.deadline_in
        self._traceparent = claim.traceparent
        self._limit = handler.timeout if claim.deadline_in is None else min(handler.timeout, claim.deadline_in)
        self._progress_at = self.started
        self._lock = Lock()

    @cached_property
    def log(self) -> FilteringBoundLogger:
        """A logger that names the job in every line."""
        bound = structlog.get_logger().bind(job=str(self.job_id), kind=self.kind, attempt=self.attempt)
        return cast("FilteringBoundLogger", bound)

    @cached_property
    def files(self) -> AppFiles:
        """The files of the job's app."""
        return AppFiles(self.app_id, self.job_id)

    @property
    def elapsed(self) -> timedelta:
        """How long the attempt has been going on."""
        return timedelta(seconds=time.monotonic() - self.started)

    @property
    def interruption(self) -> type[Interrupted] | None:
        """Why the attempt should stop, if it should."""
        return self._interruption

    @property
    def timed_out(self) -> bool:
        """Whether the attempt has used up its time."""
        return self.elapsed >= self._limit

    def interrupt(self, reason: type[Interrupted]) -> None:
        """Ask the attempt to stop. The first reason stays, except that a lost lease overrides all others."""
        with self._lock:
            if self._interruption is None or reason is LeaseLost:
                self._interruption = reason
                self.interrupted_at = self.interrupted_at or time.monotonic()

    def attempted(self) -> Attempted:
        """The facts from which `workers.attempt.outcome` decides what follows."""
        left = None if self._deadline_in is None else self._deadline_in - self.elapsed
        return Attempted(
            self.job_id, self.token, self.attempt, self.max_attempts, self.handler.backoff, left
        )  # fmt: skip

    def check_cancelled(self) -> None:
        """See `tasks.Context.check_cancelled`."""
        if self._interruption is not None:
            raise self._interruption

    def remaining(self) -> timedelta:
        """See `tasks.Context.remaining`."""
        return max(timedelta(0), self._limit - self.elapsed)

    def progress(self, fraction: float, note: str = "") -> None:
        """See `tasks.Context.progress`."""
        self.check_cancelled()
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        with self._lock:
            if time.monotonic() - self._progress_at < PROGRESS_INTERVAL:
                return
            self._progress_at = time.monotonic()
        progress = {"fraction": fraction, "note": note}
        storable(progress)
        with statement() as session:
            ours = lease.save_progress(session, self.job_id, self.token, progress)
        self._require(ours)
        announce([self.job_id])

    def save_checkpoint(self, state: Mapping[str, Any], *, unsettled: bool = False) -> None:
        """See `tasks.Context.save_checkpoint`."""
        storable(dict(state))
        with statement() as session:
            ours = lease.save_checkpoint(session, self.job_id, self.token, state, unsettled=unsettled)
        self._require(ours)
        self.checkpoint = dict(state)

    def enqueue(self, kind: str, params: Mapping[str, Any], **options: Any) -> UUID:
        """See `tasks.Context.enqueue`. Raises `UnknownKind`, or a `ValueError` for params or options that do not do."""
        handler = handler_of(kind)
        encoded = storable(dict(params))
        if len(encoded) > PARAMS_LIMIT:
            raise ValueError(f"the params take {len(encoded)} bytes, more than {PARAMS_LIMIT}: put them into a file")
        handler.params.model_validate_json(encoded, strict=True)
        chosen = ChildOptions.model_validate(options)
        storable(chosen.labels)
        child = new_id()
        new = NewJob(
            kind=kind,
            params=dict(params),
            queue=chosen.queue or handler.queue,
            max_attempts=chosen.max_attempts or handler.max_attempts,
            priority=chosen.priority,
            run_at=chosen.run_at,
            expires_at=chosen.expires_at,
            deadline_at=chosen.deadline_at,
            labels=chosen.labels or {},
            parent_id=self.job_id,
            traceparent=self._traceparent,
            id=child,
        )
        self.children.append(new)
        return child

    def _require(self, ours: bool) -> None:  # noqa: FBT001  # the answer of the statement just made
        if not ours:
            self.interrupt(LeaseLost)
            raise LeaseLost
