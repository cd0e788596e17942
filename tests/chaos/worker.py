"""The entry point of a worker under test: `celery -A tests.chaos.worker worker`."""

from tests.chaos import clock

clock.install()  # before anything reads the time

import tests.chaos.kinds  # noqa: E402, F401  # declares them before each kind gets its Celery task
from tests.chaos import points, sabotage  # noqa: E402
from workers.app import app  # noqa: E402

points.install_in_worker()
sabotage.install()

__all__ = ["app"]
