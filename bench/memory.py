"""Whether the memory of our processes stays flat: resident memory per role while jobs go through.

No-op jobs come in over HTTP in bulk, and real processes take them on: the API, one dispatcher, one worker with two
children that are never replaced. At each mark all is waited for, then the whole process tree of each role is weighed.
Once with chunks as the engine sizes them, once with one job per message. What is compared is the last mark with the
second one: before that, libraries and caches still settle.

Celery's parent process keeps a timer of about half a KiB for each message until its hard limit would have come, 400
seconds here. With one job per message that shows as growth, which ends when those seconds are over.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection

import psutil  # type: ignore[import-untyped]  # it ships no types
from rich.console import Console
from rich.table import Table

from bench.measure import Comparison, Series
from bench.options import Options
from bench.servers import Servers, wait_for
from bench.sides import our_dispatcher, our_worker
from bench.throughput import LIVE, SINGLE, LostJobs
from bench.web import api_key, serving
from embedded.ports import LOOPBACK

ROLES = ("api", "dispatcher", "worker")
PAGE = 2_000
"""As many as the first mark of either leg, so that no later request is larger than those before it."""
FOR_EVER = ("--max-tasks-per-child", "1000000000", "--max-memory-per-child", "1000000000")
SAMPLES = 5
PAUSE = 0.3
"""Seconds between the samples of one mark."""
MEBIBYTE = 1024 * 1024
Weights = dict[str, list[float]]
"""MiB by role, one per mark."""


class ReplacedProcess(Exception):
    """A process ended while its memory was measured: what was weighed was not one life."""


def run(servers: Servers, options: Options) -> list[Comparison]:
    """Both legs, each with processes of its own."""
    key = api_key()
    return [
        *_leg(servers, key, "chunks", options.memory_jobs, {}),
        *_leg(servers, key, "one job per message", options.memory_single_jobs, SINGLE),
    ]


def _leg(servers: Servers, key: str, name: str, marks: Sequence[int], variables: Mapping[str, str]) -> list[Comparison]:
    servers.empty()
    weights: Weights = {role: [] for role in ROLES}
    with (
        our_worker(servers, FOR_EVER),
        our_dispatcher(servers, variables),
        serving(servers, "api", "bench.api:create_app()") as port,
    ):
        family = _family(servers)
        for before, mark in zip((0, *marks), marks, strict=False):
            _submit(port, key, mark - before)
            _wait(servers, mark)
            for role, weight in _weigh(servers).items():
                weights[role].append(weight)
        if _family(servers) != family:
            raise ReplacedProcess(f"before {family}, afterwards {_family(servers)}")
    _show(name, marks, weights)
    return [_comparison(f"{role}, {name}", marks, weights[role]) for role in ROLES]


def _comparison(measure: str, marks: Sequence[int], weights: Sequence[float]) -> Comparison:
    last, settled = (Series(f"after {marks[place]:,}", [weights[place]]) for place in (-1, 1))
    notes = {f"after {mark:,}": weight for mark, weight in zip(marks, weights, strict=True)}
    return Comparison(f"resident memory, {measure}", "MiB", last, settled, "≤ 1.1 ×", notes)


def _submit(port: int, key: str, jobs: int) -> None:
    """Hand jobs in, page by page. Each page has a connection of its own, so that all processes of the API see some."""
    for first in range(0, jobs, PAGE):
        _submit_page(port, key, min(PAGE, jobs - first))


def _submit_page(port: int, key: str, jobs: int) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps([{"kind": "bench.noop", "params": {}}] * jobs)
    with closing(HTTPConnection(LOOPBACK, port, timeout=60)) as connection:
        connection.request("POST", "/v1/jobs/bulk", body, headers)
        answer = connection.getresponse()
        items = json.loads(answer.read())["items"]
    if answer.status != 200 or any(item["status"] != 202 for item in items):
        raise LostJobs(f"{answer.status}: {items[:1]}")


def _wait(servers: Servers, jobs: int) -> None:
    """Until no job is live any more, all having succeeded."""
    with servers.connect("mainstay") as connection:
        connection.execute("SET enable_seqscan = off")
        wait_for(lambda: connection.execute(LIVE.encode()).fetchone() == (False,), look_every=0.2)
        found = connection.execute("SELECT count(*) FROM jobs WHERE state = 'succeeded'").fetchone()
    if found != (jobs,):
        raise LostJobs(f"{jobs} jobs were given and {found} have succeeded")


def _tree(servers: Servers, role: str) -> list[psutil.Process]:
    root = psutil.Process(servers.pids[role])
    return [root, *root.children(recursive=True)]


def _family(servers: Servers) -> dict[str, set[int]]:
    return {role: {process.pid for process in _tree(servers, role)} for role in ROLES}


def _weigh(servers: Servers) -> dict[str, float]:
    """The median of some samples, in which what has just ended settles."""
    samples = []
    for _ in range(SAMPLES):
        time.sleep(PAUSE)
        samples.append({role: sum(one.memory_info().rss for one in _tree(servers, role)) for role in ROLES})
    return {role: statistics.median(sample[role] for sample in samples) / MEBIBYTE for role in ROLES}


def _show(name: str, marks: Sequence[int], weights: Weights) -> None:
    table = Table(title=f"resident memory in MiB, {name}", title_justify="left")
    table.add_column("role")
    for mark in marks:
        table.add_column(f"after {mark:,}", justify="right")
    table.add_column(f"last / after {marks[1]:,}", justify="right")
    for role, values in weights.items():
        table.add_row(role, *(f"{value:.1f}" for value in values), f"{values[-1] / values[1]:.3f}")
    Console().print(table)
