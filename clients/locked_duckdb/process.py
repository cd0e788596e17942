"""The parent's side: start the child, watch it, and end it."""

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from clients.locked_duckdb import QUERY, Query, QueryRefused

WATCH_SECONDS = 0.1
_ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-sP", "-m", "clients.locked_duckdb")
"""Without the user's site and the working folder on its path: its modules are ours or installed."""


class QueryBroken(Exception):
    """The engine's process ended without an answer, or reported a fault of its own."""


def run(query: Query, watch: Callable[[float], None]) -> dict[str, Any]:
    """The answer of `engine.answer`, from a process of its own.

    `watch` is called with the fraction done, several times a second; what it raises ends the process and passes. Raises
    `QueryRefused`, or `QueryBroken`.
    """
    Path(query.scratch, QUERY).write_text(json.dumps(asdict(query)))
    with subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=query.scratch,
        env={"PYTHONPATH": str(_ROOT), "HOME": query.scratch, "LC_ALL": "C.UTF-8"},
        # Nothing is ever written to its input, which only tells the child that we are there. A signal to the worker's
        # group is the worker's to act on.
        start_new_session=True,
    ) as child:
        assert child.stdout is not None  # it is a pipe
        try:
            return _listen(child, child.stdout, watch)
        finally:
            child.kill()


def _listen(child: subprocess.Popen[bytes], pipe: IO[bytes], watch: Callable[[float], None]) -> dict[str, Any]:
    done = 0.0
    for line in _lines(pipe):
        said = json.loads(line) if line else {}
        if "result" in said:
            result: dict[str, Any] = said["result"]
            return result
        if "refused" in said:
            raise QueryRefused(**said["refused"])
        if "broken" in said:
            raise QueryBroken(said["broken"])
        done = max(done, said.get("progress", done))
        watch(done)
    raise QueryBroken(f"the process ended with {child.wait()}")


def _lines(pipe: IO[bytes]) -> Iterator[bytes]:
    """Whole lines as they come, and an empty one whenever there is none to be had."""
    waiting = b""
    while True:
        if not select.select([pipe], [], [], WATCH_SECONDS)[0]:
            yield b""
            continue
        read = pipe.read1()  # type: ignore[attr-defined]  # a buffered reader, which IO does not say
        if not read:
            return
        *lines, waiting = (waiting + read).split(b"\n")
        yield from lines
