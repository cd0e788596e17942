"""A real dispatcher that knows the tests' kinds."""

import tests.support.kinds  # noqa: F401  # declares them
import workers.dispatcher.__main__  # noqa: F401  # runs it
