"""Shows jobs finishing: a live table on a terminal, one line for each change of state anywhere else."""

import json
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

ENDED = ("succeeded", "failed", "cancelled", "expired", "parked")
COLOURS = {"succeeded": "green", "failed": "red", "running": "yellow", "parked": "magenta"}
ANSWER_WIDTH = 70
OTHER_COLUMNS_WIDTH = 74


class Board:
    """One row per job, in the order in which they were submitted; a context manager around the showing."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown yet."""
        self._console = console
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}
        self._live = Live(console=console, refresh_per_second=10) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, title: str, job: dict[str, Any]) -> None:
        """Show the job as it is now."""
        _, before = self._rows.get(job["id"], (title, {}))
        self._rows[job["id"]] = (title, job)
        if self._live:
            self._live.update(self._table())
        elif any(before.get(name) != job[name] for name in ("state", "attempt")):
            self._console.print(
                f"{job['id']}  {job['kind']:<15} {title:<24} {job['state']:<10} "
                f"attempt {job['attempt']}  {answer(job)}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )

    def _table(self) -> Table:
        table = Table("kind", "what", "state", "attempt", "answer", box=SIMPLE, pad_edge=False)
        room = max(self._console.width - OTHER_COLUMNS_WIDTH, 10)
        for title, job in self._rows.values():
            state = Text(job["state"], COLOURS.get(job["state"], ""))
            # As Text: what a job answers may look like markup.
            table.add_row(job["kind"], title, state, str(job["attempt"]), Text(answer(job)[:room]))
        return table


def answer(job: dict[str, Any]) -> str:
    """What the job answered, in short; empty while there is nothing."""
    if job["error"]:
        return f"{job['error']['code']}: {job['error']['message']}"[:ANSWER_WIDTH]
    if job["result"] is not None:
        return json.dumps(job["result"], ensure_ascii=False)[:ANSWER_WIDTH]
    return ""
