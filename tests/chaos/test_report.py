"""The report of a chaos run: everything that was counted is in it, and nothing that went wrong can be overlooked."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.field import Recovery
from tests.chaos.invariants import Count, End
from tests.chaos.plan import LONG
from tests.chaos.report import show, table
from tests.chaos.run import Order, Verdict

GOOD = Verdict(
    order=Order(7, LONG),
    planned=Counter(kill_worker=3),
    happened=Counter(kill_worker=3),
    missed=[],
    unmeasured=[],
    recoveries=[Recovery("a killed worker's job runs again", 30.0, seconds) for seconds in (4.0, 8.0, 21.5)],
    counts=[Count("jobs without an end", 0, 0, [])],
    ends=[End("chaos.quick", "succeeded", "", 51234)],
    submitted=51234,
    effects=9000,
    charges=120,
    seconds=901.26,
)


def lines(verdict: Verdict) -> list[str]:
    """What is shown, without the spaces that make columns."""
    return [" ".join(line.split()) for line in show(verdict).splitlines()]


def test_a_run_that_kept_every_promise_has_passed_and_shows_its_numbers() -> None:
    shown = lines(GOOD)
    assert shown[-1] == "PASSED"
    assert "seed 7" in shown
    assert "kill_worker 3 3 OK" in shown
    assert "a killed worker's job runs again 3 30.0 8.0 21.5 OK" in shown
    assert "chaos.quick succeeded 51,234" in shown
    assert "jobs without an end 0 0 OK" in shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"counts": [Count("jobs without an end", 0, 2, ["a: waits", "b: waits"])]},
            "jobs without an end 0 2 VIOLATED",
        ),
        ({"counts": [Count("jobs without an end", 0, 2, ["a: waits", "b: waits"])]}, "b: waits"),
        ({"happened": Counter()}, "kill_worker 3 0 MISSING"),
        ({"happened": Counter(), "missed": ["kill_worker: none was left"]}, "kill_worker: none was left"),
        ({"unmeasured": ["kill_worker: was not measured"]}, "kill_worker: was not measured"),
        ({"recoveries": [Recovery("takeover", 5.0, 5.1)]}, "takeover 1 5.0 5.1 5.1 LATE"),
    ],
)
def test_what_went_wrong_is_said_and_fails_the_run(wrong: dict, said: str) -> None:
    shown = lines(replace(GOOD, **wrong))
    assert said in shown
    assert shown[-1] == "FAILED"


def test_a_repetition_that_was_in_vain_is_said_and_fails_nothing() -> None:
    shown = lines(replace(GOOD, happened=Counter(kill_worker=2), missed=["kill_worker: none was left"]))
    assert {"kill_worker 3 2 OK", "kill_worker: none was left"} <= set(shown)
    assert shown[-1] == "PASSED"


def test_numbers_stand_under_each_other() -> None:
    shown = table("Title", ("what", "how many"), [("few", 7), ("a great many", 1234567)])
    assert shown.splitlines() == [
        "Title",
        "-----------------------",
        "what           how many",
        "few                   7",
        "a great many  1,234,567",
    ]
