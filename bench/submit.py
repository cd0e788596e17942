"""Submits over HTTP per second: one by one against Flask with `task.delay()`, and thousands at once.

Both applications run under api/gunicorn.conf.py. No worker runs: what is measured is acceptance. Ours answers after the
job's row is committed to disk. The peer is measured twice: as it ships, answering once Redis has the message in memory,
and with the append-only file synced at every write, which is the same promise as ours. /livez tells how far client and
server come without any work, and the share of a core that the client took is in the notes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from redis import Redis

from bench.load import CONNECTIONS, Request, load
from bench.measure import Comparison, Series, interleave
from bench.options import Options
from bench.servers import Servers, wait_for
from bench.web import OURS, PEER, api_key, bulk, livez, plain_submit, serving, submit
from settings import get_settings

BULK = 5_000
BULK_CONNECTIONS = 2
REACH = "≥ 20,000"


def run(servers: Servers, options: Options) -> list[Comparison]:
    """Both servers at once, loaded in turns."""
    key = api_key()
    with serving(servers, "api", OURS) as ours, serving(servers, "plain-web", PEER) as peer:
        cases = {
            "mainstay": _Case(submit(ours, key)),
            "flask + delay()": _Case(plain_submit(peer)),
            "flask + delay(), synced": _Case(plain_submit(peer), synced=True),
            "/livez": _Case(livez(ours)),
            "array": _Case(bulk(ours, key, BULK, "application/json"), BULK, BULK_CONNECTIONS),
            "lines": _Case(bulk(ours, key, BULK, "application/x-ndjson"), BULK, BULK_CONNECTIONS),
        }
        series = interleave({name: _side(servers, case, options) for name, case in cases.items()}, options.rounds)
    notes = {"client_cores": {name: case.client_cores for name, case in cases.items()}}
    return [
        Comparison("single submits", "requests/s", series["mainstay"], series["flask + delay()"], "≥ 3 ×", notes),
        Comparison("single submits", "requests/s", series["mainstay"], series["flask + delay(), synced"]),
        Comparison("the server alone", "requests/s", series["/livez"]),
        Comparison(f"bulk of {BULK:,}", "jobs/s", Series("JSON array", series["array"].values), None, REACH),
        Comparison(f"bulk of {BULK:,}", "jobs/s", Series("NDJSON", series["lines"].values), None, REACH),
    ]


@dataclass(frozen=True)
class _Case:
    """One request, how many jobs it carries, and how it is sent."""

    request: Request
    jobs: int = 1
    connections: int = CONNECTIONS
    synced: bool = False
    """Whether Valkey is to write every command to disk before it answers."""
    client_cores: list[float] = field(default_factory=list)


def _side(servers: Servers, case: _Case, options: Options) -> Callable[[], float]:
    """Requests, or jobs, per second, each round beginning with empty tables and queues."""

    def measure() -> float:
        servers.empty()
        with _synced() if case.synced else nullcontext():
            measured = load(case.request, options.seconds, case.connections)
        case.client_cores.append(round(measured.client_cpu, 3))
        return measured.rate * case.jobs

    return measure


@contextmanager
def _synced() -> Iterator[None]:
    """Have Valkey sync its append-only file at every write, as it does not by default."""
    with Redis.from_url(get_settings().redis_url.get_secret_value(), decode_responses=True) as redis:
        redis.config_set("appendfsync", "always")
        redis.config_set("appendonly", "yes")
        wait_for(lambda: not _rewriting(redis))
        try:
            yield
        finally:
            redis.config_set("appendonly", "no")


def _rewriting(redis: Redis) -> bool:
    persistence = redis.info("persistence")
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])
