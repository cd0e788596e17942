"""gunicorn's worker classes under the load of single submits: why api/gunicorn.conf.py says what it says.

Two processes each. Threads are tried with three and with eight per process; what they cost in waiting clients does not
show here: a long poll holds a thread, and of greenlets there are as many as connections.
"""

from collections.abc import Callable
from contextlib import ExitStack

from bench.load import Request, load
from bench.measure import Comparison, Series, interleave
from bench.options import Options
from bench.servers import Servers
from bench.web import OURS, api_key, serving, submit

CLASSES = {
    "gevent": ("--worker-class", "gevent", "--workers", "2"),
    "sync": ("--worker-class", "sync", "--workers", "2"),
    "sync × 3": ("--worker-class", "sync", "--workers", "3"),
    "gthread, 3 threads": ("--worker-class", "gthread", "--workers", "2", "--threads", "3"),
    "gthread, 8 threads": ("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
}


def run(servers: Servers, options: Options) -> list[Comparison]:
    """All classes serve at once and are loaded in turns; gevent is ours, each other one a peer."""
    key = api_key()
    with ExitStack() as stack:
        requests = {
            name: submit(stack.enter_context(serving(servers, f"api-{index}", OURS, arguments)), key)
            for index, (name, arguments) in enumerate(CLASSES.items())
        }
        series = interleave({name: _side(servers, request, options) for name, request in requests.items()},
                            options.rounds)  # fmt: skip
    ours = series.pop("gevent")
    return [Comparison("single submits", "requests/s", ours, Series(name, one.values)) for name, one in series.items()]


def _side(servers: Servers, request: Request, options: Options) -> Callable[[], float]:
    def measure() -> float:
        servers.empty()
        return load(request, options.seconds).rate

    return measure
