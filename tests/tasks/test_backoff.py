"""The wait before the next attempt."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tasks.backoff import Backoff

SECOND = timedelta(seconds=1)


def test_it_grows_by_its_factor_up_to_its_cap():
    backoff = Backoff(base=5 * SECOND, factor=3, cap=100 * SECOND)
    assert [backoff.planned(n) / SECOND for n in (1, 2, 3, 4, 5, 1000)] == [5, 15, 45, 100, 100, 100]


@given(attempt=st.integers(1, 10_000), jitter=st.none() | st.floats(0, 1), floor=st.integers(0, 10_000))
def test_a_wait_is_never_shorter_than_its_floor_nor_longer_than_its_spread(attempt, jitter, floor):
    backoff = Backoff(jitter=jitter)
    wait = backoff.wait(attempt, floor=floor * SECOND)
    assert wait >= floor * SECOND
    assert wait <= max(floor * SECOND, backoff.planned(attempt) * (2 if jitter is not None else 1))
