"""The child: reads one query from its working folder, and writes progress and the answer as lines of JSON.

`{"progress": 0.4}` any number of times, then one of `{"result": …}`, `{"refused": {code, message}}`, `{"broken": …}`.
It ends when its standard input does: nobody waits for the answer then.
"""

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from clients.locked_duckdb import QUERY, Input, Limits, Output, Query, QueryRefused

OVERHEAD_BYTES = 1024**3
"""Address space for the interpreter, the engine's code, its threads' stacks and what it does not count."""
PROGRESS_SECONDS = 0.5


def main() -> None:
    """Answer one query. Ends by `_exit`: there is nothing to tidy, and an engine short of memory may not manage."""
    query = _read(Path(QUERY).read_text())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit(query)
    try:
        _say(_answer(query))
    except MemoryError:
        _say({"refused": {"code": "out_of_memory", "message": "the query needs more memory than a query may use"}})
    os._exit(0)


def _answer(query: Query) -> dict[str, Any]:
    # Imported under the limits, and not at all when the parent only looks at this module.
    from clients.locked_duckdb.engine import answer, opened  # noqa: PLC0415  # see above
    from clients.locked_duckdb.faults import EngineBroken  # noqa: PLC0415  # see above

    try:
        connection = opened(query)
        threading.Thread(target=_tell_progress, args=(connection,), daemon=True).start()
        return {"result": answer(connection, query)}
    except QueryRefused as refused:
        return {"refused": {"code": refused.code, "message": refused.message}}
    except EngineBroken as broken:
        return {"broken": str(broken)}


def _read(text: str) -> Query:
    said = json.loads(text)
    return Query(
        sql=said["sql"],
        inputs=tuple(Input(**source) for source in said["inputs"]),
        output=Output(**said["output"]) if said["output"] else None,
        scratch=said["scratch"],
        limits=Limits(**said["limits"]),
    )


def _limit(query: Query) -> None:
    space = query.limits.memory_bytes + OVERHEAD_BYTES
    # The engine keeps to its spill limit itself, and says so more clearly than a write that fails.
    written = max(2 * query.limits.spill_bytes, query.output.limit_bytes if query.output else 0)
    for kind, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _tell_progress(connection: Any) -> None:
    pause = threading.Event()
    while not pause.wait(PROGRESS_SECONDS):
        percent = connection.query_progress()
        if 0 < percent <= 100:
            _say({"progress": round(percent / 100, 3)})


def _say(message: dict[str, Any]) -> None:
    # One write per line: two threads speak, and half a line would be understood by nobody.
    left = memoryview(json.dumps(message).encode() + b"\n")
    with _SPEAKING:
        while left:
            left = left[os.write(1, left) :]


_SPEAKING = threading.Lock()

if __name__ == "__main__":
    main()
