"""Durable no-op jobs per second, from the row (ours) or the publish (the peer's) to the recorded result.

Ours: the jobs are written in one transaction, and the clock starts just before it commits, because then the dispatcher
may begin; it stops when no job is live any more. Once with chunks as the engine sizes them, once with one job per
message. The peer: plain Celery with its database result backend in the same Postgres; the clock starts before the first
publish and stops at the last result row. Both have two worker processes, task events on and no Flower; fsync and
synchronous_commit are on.
"""

import time
from uuid import UUID

import psycopg

from bench.measure import Comparison, Series, interleave
from bench.options import Options
from bench.servers import Servers, wait_for
from bench.sides import our_dispatcher, our_worker, plain_worker
from models.session import transaction
from workers.keys import create
from workers.queue import NewJob, enqueue
from workers.wakeup import doorbell

LIVE = """
    SELECT EXISTS (SELECT FROM jobs WHERE queue = 'default' AND state = 'ready')
        OR EXISTS (SELECT FROM jobs WHERE queue = 'default' AND state IN ('dispatched', 'running'))
"""
PAGE = 5_000
SINGLE = {"MAINSTAY_MAX_CHUNK": "1"}


class LostJobs(Exception):
    """Not every job has its result: there is nothing to compare."""


def run(servers: Servers, options: Options) -> list[Comparison]:
    """Three sides in turns: our chunks, one job per message, plain Celery."""
    app_id = _app()
    with our_worker(servers), plain_worker(servers):
        sides = {
            "chunks": lambda: _ours(servers, app_id, options.jobs, {}),
            "celery": lambda: _plain(servers, options.plain_jobs),
            "single": lambda: _ours(servers, app_id, options.plain_jobs, SINGLE),
        }
        series = interleave(sides, options.rounds)
    return [
        _comparison("no-op jobs, chunks by the engine", series["chunks"], series["celery"], "≥ 10,000 and ≥ 25 ×"),
        _comparison("no-op jobs, one per message", series["single"], series["celery"], "≥ 1.0 ×"),
    ]


def _comparison(measure: str, ours: Series, peer: Series, reach: str) -> Comparison:
    return Comparison(measure, "jobs/s", Series("mainstay", ours.values), Series("celery", peer.values), reach)


def _app() -> UUID:
    with transaction() as session:
        return create(session, "bench", "bench", ["jobs:write"]).row.app_id


def _ours(servers: Servers, app_id: UUID, jobs: int, variables: dict[str, str]) -> float:
    servers.empty()
    with servers.connect("mainstay") as connection, our_dispatcher(servers, variables):
        connection.execute("SET enable_seqscan = off")
        started = _write(app_id, jobs)
        wait_for(lambda: connection.execute(LIVE.encode()).fetchone() == (False,))
        seconds = time.perf_counter() - started
        _require(connection, "SELECT count(*) FROM jobs JOIN attempts ON job_id = jobs.id WHERE state = outcome", jobs)
    return jobs / seconds


def _write(app_id: UUID, jobs: int) -> float:
    """Returns the moment just before the commit."""
    new = NewJob("bench.noop", {}, "default", max_attempts=5)
    with transaction() as session:
        for first in range(0, jobs, PAGE):
            enqueue(session, app_id, [new] * min(PAGE, jobs - first))
        started = time.perf_counter()
    doorbell.ring(("default",))
    return started


def _plain(servers: Servers, jobs: int) -> float:
    from bench.plain import noop  # noqa: PLC0415  # it reads the environment that the servers have just set

    servers.empty()
    with servers.connect("plain") as connection:
        started = time.perf_counter()
        for _ in range(jobs):
            noop.delay()
        wait_for(lambda: connection.execute("SELECT count(*) FROM celery_taskmeta").fetchone() == (jobs,))
        seconds = time.perf_counter() - started
        _require(connection, "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'", jobs)
    return jobs / seconds


def _require(connection: psycopg.Connection[tuple[int]], query: str, jobs: int) -> None:
    found = connection.execute(query.encode()).fetchone()
    if found != (jobs,):
        raise LostJobs(f"{jobs} jobs were given and {found} have their result")
