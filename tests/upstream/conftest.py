"""Each experiment has a Valkey of its own, because it is stopped, frozen and wiped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upstream.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A private Valkey, and no worker yet."""
    with Lab(tmp_path) as lab:
        yield lab
