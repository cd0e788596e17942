"""The versions that this suite was written for are those that are installed and locked."""

import re
from importlib.metadata import version

import pytest

from tests.support.processes import ROOT

WRITTEN_FOR = {"celery": "5.7.0", "kombu": "5.7.0", "billiard": "4.3.2", "redis": "8.1.0"}
"""Raise these after an upgrade, when all the folder's tests have passed with it."""


@pytest.mark.parametrize("package", WRITTEN_FOR)
def test_the_experiments_are_made_with_what_is_locked(package: str) -> None:
    locked = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert (version(package), locked[1]) == (WRITTEN_FOR[package], WRITTEN_FOR[package])
