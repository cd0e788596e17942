"""The entry point of a dispatcher under test: `python -m tests.chaos.dispatcher`."""

import tests.chaos.kinds  # noqa: F401  # declares them
from tests.chaos import points, sabotage

points.install_in_dispatcher()
sabotage.install()

import workers.dispatcher.__main__  # noqa: E402, F401  # runs it
