"""From the submit to the visible result on an idle system, one after the other.

Ours over HTTP: `POST /v1/jobs` with `Prefer: wait=10` on a kept connection, answered with the finished job. The peer's
in process, without HTTP: `delay()`, then `get()`, which asks Postgres for the result every `INTERVAL`. Both do the same
handler's work, with two worker processes.
"""

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection

from bench.measure import Comparison, Series, interleave, percentile
from bench.options import Options
from bench.servers import Servers
from bench.sides import our_dispatcher, our_worker, plain_worker
from bench.web import OURS, TEXT, api_key, serving, submit
from embedded.ports import LOOPBACK

INTERVAL = 0.001
"""Seconds between the peer's looks; its own default of half a second would measure nothing but itself."""
WAIT = 10


class NoResult(Exception):
    """An answer came without the result."""


def run(servers: Servers, options: Options) -> list[Comparison]:
    """Rounds of waits, ours and the peer's in turns; the median and the 95th percentile of each round."""
    key = api_key()
    with our_worker(servers), our_dispatcher(servers), plain_worker(servers), serving(servers, "api", OURS) as port:
        connection = HTTPConnection(LOOPBACK, port, timeout=WAIT + 5)
        tails: dict[str, list[float]] = {"ours": [], "peer": []}
        medians = interleave(
            {
                "ours": _repeatedly(lambda: _ours(connection, port, key), options.waits, tails["ours"]),
                "peer": _repeatedly(_peer, options.waits, tails["peer"]),
            },
            options.rounds,
        )
    ours, peer = "mainstay over HTTP", "celery in process"
    return [
        Comparison("submit to result, p50", "ms", Series(ours, medians["ours"].values),
                   Series(peer, medians["peer"].values), "≤ 1.0 ×"),
        Comparison("submit to result, p95", "ms", Series(ours, tails["ours"][1:]), Series(peer, tails["peer"][1:])),
    ]  # fmt: skip


def _repeatedly(once: Callable[[], None], times: int, tails: list[float]) -> Callable[[], float]:
    def measure() -> float:
        waits = []
        for _ in range(times):
            started = time.perf_counter()
            once()
            waits.append(1000 * (time.perf_counter() - started))
        tails.append(percentile(waits, 0.95))
        return percentile(waits, 0.5)

    return measure


def _ours(connection: HTTPConnection, port: int, key: str) -> None:
    request = submit(port, key)
    connection.request(request.method, request.path, request.body, {**dict(request.headers), "Prefer": f"wait={WAIT}"})
    answer = connection.getresponse()
    job = json.loads(answer.read())
    if answer.status != 200 or job["result"]["words"] != 3:
        raise NoResult(f"{answer.status}: {job}")


def _peer() -> None:
    from bench.plain import count  # noqa: PLC0415  # it reads the environment that the servers have just set

    result = count.delay(TEXT).get(timeout=WAIT, interval=INTERVAL)
    if result["words"] != 3:
        raise NoResult(str(result))
