"""Promise: whatever part of Mainstay dies, no accepted job is lost and no job is ended twice."""

from tests.support.chaos import chaos


def test_every_fault_happens_and_no_promise_is_broken():
    status, said = chaos("--scale", "landing", "--seed", "1")
    assert status == 0, said
    assert "VIOLATED" not in said
    assert "MISSING" not in said
