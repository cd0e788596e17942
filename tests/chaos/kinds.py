"""The kinds of a chaos run: well-behaved ones, whose jobs must all end as they should, and some that misbehave.

Whoever succeeds returns its lease token, so that a result written by an attempt that had lost its job is recognised.
The well-behaved may try so often that no number of faults uses their attempts up.
"""

import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import requests
from pydantic import BaseModel

from tasks import Fail, Retry, handler
from tasks.backoff import Backoff
from workers.attempt.context import JobContext

PATIENT = 50
SOON = Backoff(base=timedelta(seconds=0.2), cap=timedelta(seconds=2))
SINK_TIMEOUT = (2, 5)
STEP_SECONDS = 0.05
STEADY_SECONDS = 3.0
STEPS_PER_CHECKPOINT = 5
MEGABYTE = 1024 * 1024


class Nothing(BaseModel, extra="forbid"):
    """No params."""


class Sink(BaseModel, extra="forbid"):
    """Where effects are counted: the address of `tests.chaos.sink`."""

    sink: str


class Span(BaseModel, extra="forbid"):
    """How long to take."""

    seconds: float = 30


class Until(BaseModel, extra="forbid"):
    """The number of the first attempt that may succeed."""

    until: int


class Noise(BaseModel, extra="forbid"):
    """How much to print."""

    megabytes: int = 100


def signed(context: JobContext, **more: Any) -> dict[str, Any]:
    """A result that says which attempt it comes from."""
    return {"token": str(context.token), **more}


@handler("chaos.quick", Nothing, max_attempts=PATIENT, backoff=SOON)
def quick(params: Nothing, context: JobContext) -> dict[str, Any]:
    """Do nothing."""
    return signed(context)


@handler("chaos.effect", Sink, max_attempts=PATIENT, backoff=SOON)
def effect(params: Sink, context: JobContext) -> dict[str, Any]:
    """Have an effect outside, under the job's idempotency key."""
    call = {"job": str(context.job_id), "attempt": context.attempt, "token": str(context.token)}
    try:
        status = _post(f"{params.sink}/effect", call, context.idempotency_key)
    except requests.RequestException as error:
        raise Retry("sink_unreachable", type(error).__name__) from None
    if status != 200:
        raise Retry("sink_failed", f"the sink answered {status}")
    return signed(context)


def _post(address: str, content: dict[str, Any], key: str) -> int:
    # A connection of its own for each call: one that is kept would be shared with what `chaos.fork` leaves behind.
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Idempotency-Key": key}
        return session.post(address, json=content, headers=headers, timeout=SINK_TIMEOUT).status_code


@handler("chaos.slow", Span, max_attempts=PATIENT, backoff=SOON)
def slow(params: Span, context: JobContext) -> dict[str, Any]:
    """Take some time in steps, go on where an earlier attempt had come to, and look up at every step."""
    steps = max(1, round(params.seconds / STEP_SECONDS))
    first = (context.checkpoint or {}).get("done", 0)
    for done in range(first, steps):
        context.check_cancelled()
        context.progress(done / steps)
        time.sleep(STEP_SECONDS)
        if (done + 1) % STEPS_PER_CHECKPOINT == 0:
            context.save_checkpoint({"done": done + 1})
    return signed(context, steps=steps)


@handler("chaos.steady", Nothing, max_attempts=PATIENT, backoff=SOON)
def steady(params: Nothing, context: JobContext) -> dict[str, Any]:
    """Take three seconds, every time anew."""
    deadline = time.monotonic() + STEADY_SECONDS
    while time.monotonic() < deadline:
        context.check_cancelled()
        time.sleep(STEP_SECONDS)
    return signed(context)


@handler("chaos.flaky", Until, max_attempts=PATIENT, backoff=SOON)
def flaky(params: Until, context: JobContext) -> dict[str, Any]:
    """Raise until the attempt that may succeed."""
    if context.attempt < params.until:
        raise RuntimeError(f"attempt {context.attempt} of {params.until}")
    return signed(context)


@handler("chaos.fail", Nothing, max_attempts=PATIENT, backoff=SOON)
def fail(params: Nothing, context: JobContext) -> None:
    """Give up at once."""
    raise Fail("chaos_fail", "this kind always fails")


@handler("chaos.parent", Sink, max_attempts=PATIENT, backoff=SOON)
def parent(params: Sink, context: JobContext) -> dict[str, Any]:
    """Enqueue two children, which exist if and only if this attempt is recorded."""
    children = [str(context.enqueue("chaos.effect", {"sink": params.sink})) for _ in range(2)]
    return signed(context, children=children)


@handler("chaos.poison", Nothing, max_attempts=PATIENT, backoff=SOON)
def poison(params: Nothing, context: JobContext) -> None:
    """Kill the process that performs it."""
    os.kill(os.getpid(), signal.SIGKILL)


@handler("chaos.memory", Nothing, max_attempts=3, backoff=SOON)
def memory(params: Nothing, context: JobContext) -> None:
    """Find no memory left."""
    raise MemoryError


@handler("chaos.stubborn", Span, max_attempts=1, timeout=timedelta(seconds=1), grace=timedelta(seconds=1))
def stubborn(params: Span, context: JobContext) -> dict[str, Any]:
    """Never look up, however long it is past the time-out."""
    time.sleep(params.seconds)
    return signed(context)


@handler("chaos.fork", Nothing, max_attempts=PATIENT, backoff=SOON)
def fork(params: Nothing, context: JobContext) -> dict[str, Any]:
    """Split the process in two, both of which come back from here as if each were the worker."""
    os.fork()
    return signed(context)


@handler("chaos.noisy", Noise, max_attempts=PATIENT, backoff=SOON)
def noisy(params: Noise, context: JobContext) -> dict[str, Any]:
    """Print more than anybody wants to read."""
    for _ in range(params.megabytes):
        sys.stdout.write("noise " * (MEGABYTE // 6) + "\n")
    return signed(context, megabytes=params.megabytes)


if os.environ.get("CHAOS_NEW_KIND") == "1":

    @handler("chaos.new", Nothing, max_attempts=PATIENT, backoff=SOON)
    def new(params: Nothing, context: JobContext) -> dict[str, Any]:
        """Be a kind that only workers of the new release know."""
        return signed(context)
