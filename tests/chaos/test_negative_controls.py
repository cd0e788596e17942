"""The harness finds out what is broken: without one of the engine's guards, the count that is for it is not zero."""

import re

import pytest

from tests.chaos.controls import CONTROLS
from tests.support.chaos import chaos


@pytest.mark.parametrize("name", CONTROLS)
def test_a_missing_guard_is_found_out(name: str):
    status, said = chaos("--control", name, "--seed", "1")
    assert status == 1, said
    assert re.search(rf"^{CONTROLS[name].betrayed_by} .* VIOLATED$", said, re.MULTILINE), said
