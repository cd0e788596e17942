"""The API: killed as a whole, and struck between what it stores and what it answers."""

import signal
from functools import partial

from tests.chaos import points
from tests.chaos.faults import Course, fault
from tests.chaos.faults.workers import strike
from tests.chaos.field import Field


@fault("api")
def kill_api(field: Field) -> Course:
    """kill -9 of the API and all its processes, in the middle of requests."""
    api = field.fleet.members["api"]
    api.signal_all(signal.SIGKILL)
    yield from field.until(lambda: not api.alive, 5, "the API did not die")
    yield from field.until(lambda: api.alive, 10, "the API was not started again")


@fault("api")
def restart_api(field: Field) -> Course:
    """SIGTERM: what it has begun is answered, then it ends and is started again."""
    api = field.fleet.members["api"]
    api.signal(signal.SIGTERM)
    yield from field.until(lambda: not api.alive, 20, "the API did not stop")


@fault("api")
def freeze_api(field: Field) -> Course:
    """SIGSTOP of the API: clients give up, send again, and some requests are then done twice over."""
    api = field.fleet.members["api"]
    api.signal_all(signal.SIGSTOP)
    yield field.scale.freeze
    api.signal_all(signal.SIGCONT)


for _point in points.IN_API:
    fault(f"point {_point}", name=f"kill_api_{_point}")(partial(strike, _point, points.KILL))
