"""The command line, run in this process."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from cli import main

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run `mainstay` with these words."""

    def run(*words: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(main, words, input=answer)

    return run
