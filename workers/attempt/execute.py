"""Execute: claim the jobs of one message, perform them one after the other, record how each ended."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from models.lifecycle import Claim, Ending, Hint
from tasks import Fail, Handler, LeaseLost
from tasks.discovery import handler_of
from workers.attempt import observe, stopping
from workers.attempt.chunk import Chunk, Done
from workers.attempt.claim import claim_all, in_hand
from workers.attempt.context import JobContext
from workers.attempt.keeper import Keeper
from workers.attempt.outcome import Stopping, raised, released, returned
from workers.attempt.record import flush, flush_all

log = structlog.get_logger()


def execute(keeper: Keeper, hints: Sequence[Hint]) -> list[Ending]:
    """Perform what of `hints` can still be claimed, and return how that ended.

    Void hints are dropped silently: a message decides nothing.
    """
    with in_hand(hints):
        claims, since = claim_all(hints, keeper.presence.name)
        return _perform_all(keeper, Chunk(claims, since), handler_of(claims[0].kind)) if claims else []


def _perform_all(keeper: Keeper, chunk: Chunk, handler: Handler) -> list[Ending]:
    endings: list[Ending] = []
    seconds = 0.0
    with keeper.watching(chunk):
        while not (keeper.lapsed or stopping.at_once()) and (claim := chunk.begin()) is not None:
            started = time.monotonic()
            endings.append(_perform(chunk, claim, handler))
            seconds += time.monotonic() - started
            if chunk.flush_due():
                _flush_or_wait(chunk)
        chunk.release()
        flush_all(chunk)
    observe.note(handler.kind, len(endings), seconds)
    return endings


def _flush_or_wait(chunk: Chunk) -> None:
    try:
        flush(chunk)
    except SQLAlchemyError as error:
        log.warning("recording_delayed", error=type(error).__name__)


def _perform(chunk: Chunk, claim: Claim, handler: Handler) -> Ending:
    context = JobContext(claim, handler)
    chunk.perform(context)
    ending = _attempt(context, claim, handler)
    context.over = True
    chunk.end(Done(ending, claim.app_id, tuple(context.children)))
    return ending


def _attempt(context: JobContext, claim: Claim, handler: Handler) -> Ending:
    """How the attempt ended.

    One that stopped because it lost its job hands it back, should it still be ours: after an outage of Postgres nobody
    may have taken it, and then its worker is not to be counted as lost.
    """
    try:
        params = _params(handler, claim)
        context.check_cancelled()
        return returned(context.attempted(), _handle(handler, params, context))
    except LeaseLost:
        context.log.warning("lease_lost")
        return released(claim.id, claim.token)
    except BaseException as exception:  # noqa: BLE001  # whatever a handler raises ends its attempt, not the worker
        told_to_end = isinstance(exception, SystemExit) and stopping.at_once()
        return _raised(context, Stopping() if told_to_end else exception)


def _handle(handler: Handler, params: object, context: JobContext) -> Mapping[str, Any] | None:
    """What the handler returns.

    A handler that forks may come back in its child as well. Nothing here belongs to that one, neither the attempt nor
    the connections nor the pool's pipes: it ends on the spot.
    """
    process = os.getpid()
    try:
        return handler.perform(params, context)
    finally:
        if os.getpid() != process:
            os._exit(0)


def _raised(context: JobContext, exception: BaseException) -> Ending:
    """An ending that makes no sense, such as a snooze until a moment without a zone, is an error like any other."""
    try:
        return raised(context.attempted(), exception)
    except Exception as fault:  # noqa: BLE001  # still the handler's; its neighbours' endings are in our hands
        return raised(context.attempted(), fault)


def _params(handler: Handler, claim: Claim) -> object:
    """The params as the handler's model, read as the API read them; what was valid at its time may be so no more."""
    try:
        return handler.params.model_validate_json(orjson.dumps(claim.params), strict=True)
    except ValueError as error:
        raise Fail("params_invalid", "the stored params no longer validate") from error
