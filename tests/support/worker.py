"""A real worker's application that knows the tests' kinds."""

import tests.support.kinds  # noqa: F401  # declares them before each kind gets its Celery task
from workers.app import app

__all__ = ["app"]
