"""Kinds that misbehave on purpose, for the tests with real processes."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text

from models.session import transaction
from tasks import Context, handler


class File(BaseModel):
    """A file that tells the test what a handler did; handlers append one line per event."""

    path: Path
    seconds: float = 0


def note(params: File, context: Context, event: str) -> None:
    """Append one line, in one write."""
    with params.path.open("a") as file:
        file.write(f"{event} {context.job_id} {context.attempt} {os.getpid()}\n")


@handler("flow.work", File)
def work(params: File, context: Context) -> dict[str, Any]:
    """Begin, take some time, checking as it goes, and end."""
    note(params, context, "begin")
    deadline = time.monotonic() + params.seconds
    while time.monotonic() < deadline:
        context.check_cancelled()
        time.sleep(0.02)
    note(params, context, "end")
    return {"pid": os.getpid()}


@handler("flow.stubborn", File, timeout=timedelta(seconds=1), grace=timedelta(seconds=1), max_attempts=2)
def stubborn(params: File, context: Context) -> None:
    """Never look up."""
    note(params, context, "begin")
    time.sleep(params.seconds)


@handler("flow.deaf", File, grace=timedelta(seconds=1))
def deaf(params: File, context: Context) -> None:
    """Take a long time that is still within the limit, and never look up."""
    note(params, context, "begin")
    time.sleep(params.seconds)


@handler("flow.poison", File)
def poison(params: File, context: Context) -> None:
    """Kill the process that performs it."""
    note(params, context, "begin")
    os.kill(os.getpid(), signal.SIGKILL)


@handler("flow.count", File)
def count(params: File, context: Context) -> None:
    """Be quick."""
    note(params, context, "end")


@handler("flow.fork", File)
def fork(params: File, context: Context) -> dict[str, Any]:
    """Fork, and let the child come back as well."""
    if not os.fork():
        note(params, context, "child")
        return {"pid": os.getpid()}
    note(params, context, "end")
    return {"pid": os.getpid()}


@handler("flow.look", File)
def look(params: File, context: Context) -> dict[str, Any]:
    """Count the transactions that were open before the handler began and still are."""
    with transaction() as session:
        begun = session.scalar(text("SELECT now()"))
    time.sleep(params.seconds)
    with transaction() as session:
        open_ever_since = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start < :begun"
        )
        return {"open": session.scalar(open_ever_since, {"begun": begun})}
