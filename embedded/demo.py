"""Submit a real job of each family over HTTP, show them finishing, and say where to look."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from embedded import CannotRun
from embedded.board import ENDED, Board, answer
from embedded.client import Client
from embedded.environment import for_people
from embedded.examples import Example, examples
from embedded.home import Home
from embedded.installation import READY_DEADLINE, AlreadyRunning, Installation
from embedded.processes import wait_until

FINISH_DEADLINE = 60.0
ASK_EVERY = 0.2


class NotAsExpected(CannotRun):
    """A job of the demonstration ended otherwise than it must, or not in time."""


def demo(home: Home, port: int | None, say: Callable[[str], None]) -> None:
    """Run the jobs on the Mainstay that runs in the folder, or on one that lasts as long as they do."""
    installation = Installation(home, port, say)
    try:
        installation.start()
    except AlreadyRunning:
        if not wait_until(home.env_file.exists, READY_DEADLINE):
            raise
        say(f"Using the Mainstay that runs in {home.folder}.")
        _show(home)
        say(for_people(home.published()))
        return
    try:
        _show(home)
        say(for_people(home.published()))
    finally:
        installation.stop()
    say("Everything is stopped, the data is kept. `make up` runs it again and leaves it running.")


def _show(home: Home) -> None:
    values = home.published()
    console = Console()
    with Client(values["MAINSTAY_URL"], values["MAINSTAY_API_KEY"]) as client:
        pending = {
            client.submit(example.kind, example.params, example.headers)["id"]: example
            for example in examples(client, values["MAINSTAY_SANDBOX_URL"])
        }
        with Board(console) as board:
            finished = _follow(client, pending, board)
    _judge(finished)
    console.print(f"All {len(finished)} jobs ended as they must: every charge once, the declined card refused.")


def _follow(client: Client, pending: dict[str, Example], board: Board) -> list[tuple[Example, dict[str, Any]]]:
    """Show the jobs until the last has ended or time is up; each with its last known form."""
    last = time.monotonic() + FINISH_DEADLINE
    while True:
        seen = [(example, client.job(job_id)) for job_id, example in pending.items()]
        for example, job in seen:
            board.show(example.title, job)
        if all(job["state"] in ENDED for _, job in seen) or time.monotonic() > last:
            return seen
        time.sleep(ASK_EVERY)


def _judge(finished: list[tuple[Example, dict[str, Any]]]) -> None:
    wrong = [
        f"  {example.title}: job {job['id']} is {job['state']} ({answer(job) or 'no answer'}), "
        f"not {example.state}{f' with {example.code}' if example.code else ''}"
        for example, job in finished
        if not example.ended_as_expected(job)
    ]
    if wrong:
        raise NotAsExpected("Not as expected; the logs say more (.mainstay/logs):\n" + "\n".join(wrong))
