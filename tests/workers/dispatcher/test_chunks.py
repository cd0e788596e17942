"""Dividing ready jobs into messages."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.dispatcher.chunks import TARGET, Candidate, divide, fitting, rounds


def jobs(*kinds: str, alone: bool = False) -> list[Candidate]:
    return [Candidate(UUID(int=number), kind, alone) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("seconds", "size"), [(None, 1), (10.0, 1), (0.05, 1), (0.0073, 10), (0.0006, 107), (0.0, 500)]
)
def test_a_chunk_holds_about_75_ms_of_work(seconds, size):
    assert fitting(seconds, 500) == size


def test_a_kind_that_nobody_has_observed_yet_travels_one_by_one():
    assert [load.ids for load in divide(jobs("a", "a"), {}, 1, 10)] == [(UUID(int=0),), (UUID(int=1),)]


def test_a_message_carries_one_kind():
    loads = divide(jobs("a", "b", "a", "b"), {"a": 10, "b": 10}, 1, 10)
    assert [(load.kind, len(load.ids)) for load in loads] == [("a", 2), ("b", 2)]


def test_few_jobs_are_spread_over_all_slots():
    loads = divide(jobs(*"aaaaaaaa"), {"a": 500}, 4, 10)
    assert [len(load.ids) for load in loads] == [2, 2, 2, 2]


def test_few_jobs_are_not_spread_over_more_messages_than_there_is_room_for():
    loads = divide(jobs(*"aaaaaaaa"), {"a": 500}, 4, 1)
    assert [len(load.ids) for load in loads] == [8]


def test_there_are_never_more_messages_than_room():
    assert len(divide(jobs(*"aaaaaaaa"), {"a": 1}, 1, 3)) == 3


def test_a_full_room_still_fills_open_messages():
    loads = divide(jobs("a", "b", "c", "a", "b"), {"a": 5, "b": 5, "c": 5}, 1, 2)
    assert [(load.kind, len(load.ids)) for load in loads] == [("a", 2), ("b", 2)]


def test_a_job_that_travels_alone_shares_with_nobody():
    lone = Candidate(UUID(int=9), "a", alone=True)
    loads = divide([*jobs("a", "a"), lone, *jobs("a")], {"a": 500}, 1, 10)
    assert (UUID(int=9),) in [load.ids for load in loads]


@given(
    candidates=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
    size=st.integers(1, 20),
    slots=st.integers(1, 8),
    room=st.integers(1, 20),
)
def test_nothing_is_sent_twice_or_mixed(candidates, size, slots, room):
    given_jobs = [Candidate(UUID(int=number), kind, alone) for number, (kind, alone) in enumerate(candidates)]
    kinds = {job.id: job.kind for job in given_jobs}
    loads = divide(given_jobs, dict.fromkeys("abc", size), slots, room)
    sent = [job_id for load in loads for job_id in load.ids]
    assert len(sent) == len(set(sent))
    assert len(loads) <= room
    assert all(kinds[job_id] == load.kind for load in loads for job_id in load.ids)
    assert all(len(load.ids) <= size for load in loads)
    if given_jobs:
        assert given_jobs[0].id in sent


@pytest.mark.parametrize(
    ("messages", "number"), [([], 2), ([TARGET], 2), ([3600.0], 2), ([0.0], 16), ([0.0, TARGET], 2), ([0.012], 10)]
)
def test_the_lighter_the_messages_the_more_of_them_may_wait(messages, number):
    assert rounds(messages, least=2, most=16) == number
