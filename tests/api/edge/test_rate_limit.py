"""The rate of a key: kept over all processes, mostly from memory, and never at Redis's mercy."""

import os
import signal
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from api.edge import rate_limit
from api.edge.rate_limit import Grant, _gcra, _Purse
from embedded.valkey import Valkey
from tests.api.outage import REDIS, surroundings
from workers.wakeup.connections import redis_client

SLOW = {"MAINSTAY_RATE_LIMIT_PER_SECOND": "0.01"}  # A burst of one, then a call every hundred seconds.
FEW = {"MAINSTAY_RATE_LIMIT_PER_SECOND": "2"}  # A burst of ten.


def statuses(client: FlaskClient, calls: int, method: str = "GET") -> list[int]:
    path = "/v1/kinds" if method == "GET" else "/v1/jobs/bulk"
    return [client.open(path, method=method, json=None if method == "GET" else []).status_code for _ in range(calls)]


@pytest.fixture
def few(client: FlaskClient) -> Iterator[FlaskClient]:
    with surroundings(**FEW):
        yield client


def test_beyond_its_burst_a_key_is_told_when_to_come_back(few: FlaskClient) -> None:
    assert statuses(few, 10) == [200] * 10
    refused = few.get("/v1/kinds")
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit-Policy"] == '"read";q=10;w=5'
    assert refused.headers["RateLimit"] == '"read";r=0;t=5'


def test_answers_say_how_much_is_left(few: FlaskClient) -> None:
    standing = [few.get("/v1/kinds").headers["RateLimit"] for _ in range(3)]
    assert standing == ['"read";r=9;t=1', '"read";r=8;t=1', '"read";r=7;t=2']


def test_reading_and_writing_are_counted_apart(few: FlaskClient) -> None:
    assert set(statuses(few, 11)) == {200, 429}
    assert statuses(few, 10, "POST") == [200] * 10
    assert statuses(few, 1, "POST") == [429]


def test_all_processes_share_one_rate(few: FlaskClient) -> None:
    answers = []
    for _ in range(12):
        rate_limit.forget()  # Each call comes to a process that knows nothing.
        answers += statuses(few, 1)
    assert answers.count(200) == 10


def test_two_keys_do_not_share_a_rate() -> None:
    with surroundings(**SLOW), Flask("rates").test_request_context():
        first, second = uuid4(), uuid4()
        rate_limit.spend(first)
        rate_limit.spend(second)
        with pytest.raises(rate_limit.Problem):
            rate_limit.spend(first)


def test_a_refusal_is_remembered_without_asking_again(client: FlaskClient) -> None:
    with surroundings(**SLOW):
        assert statuses(client, 2) == [200, 429]
        redis_client(timeout=rate_limit.REDIS_SECONDS).close()
        before = redis_client().info("commandstats")
        assert statuses(client, 50) == [429] * 50
        after = redis_client().info("commandstats")
        assert before["cmdstat_evalsha"]["calls"] == after["cmdstat_evalsha"]["calls"]


def test_redis_is_asked_for_many_tokens_at_once(client: FlaskClient) -> None:
    with surroundings(MAINSTAY_RATE_LIMIT_PER_SECOND="1000"):
        statuses(client, 1)
        before = redis_client().info("commandstats")["cmdstat_evalsha"]["calls"]
        statuses(client, 90)
        asked = redis_client().info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert asked < 20


def test_without_redis_a_process_counts_alone(client: FlaskClient) -> None:
    with surroundings(**FEW, **REDIS):
        assert statuses(client, 11) == [200] * 10 + [429]


def test_a_frozen_redis_delays_one_call_by_its_deadline_and_no_other(client: FlaskClient, valkey: Valkey) -> None:
    with surroundings(**FEW):
        assert statuses(client, 1) == [200]
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            rate_limit._purses.clear()
            started = time.monotonic()
            assert statuses(client, 5) == [200] * 5
            assert time.monotonic() - started < rate_limit.REDIS_SECONDS + 0.5
        finally:
            os.kill(valkey.pid, signal.SIGCONT)


def test_calls_without_a_key_have_no_rate(client: FlaskClient) -> None:
    with surroundings(**SLOW):
        assert [client.get("/livez").status_code for _ in range(5)] == [200] * 5
    assert "RateLimit" not in client.get("/livez").headers


def test_tokens_that_were_not_spent_in_time_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    purse = _Purse("test", "read", rate=10, burst=50)
    grants = iter([Grant(3, 7, 0.0), Grant(0, 0, 2.0)])
    monkeypatch.setattr(_Purse, "_fetch", lambda _self, _now: next(grants))
    assert purse.take() == 0.0
    purse.spendable_until = 0.0
    assert purse.take() == 2.0


def test_memory_of_rates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_PURSES", 3)
    with surroundings(**REDIS), Flask("rates").test_request_context():
        for _ in range(10):
            rate_limit.spend(uuid4())
    assert len(rate_limit._purses) <= 3


@settings(deadline=None)  # other processes share this machine
@given(
    rate=st.floats(0.5, 500),
    burst=st.integers(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 20)), max_size=60),
)
def test_never_more_is_granted_than_the_burst_and_what_time_allows(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    now, due, granted = 0.0, 0.0, 0
    for passed, wanted in steps:
        now += passed
        due, grant = _gcra(max(due, now), now, rate, burst, wanted)
        granted += grant.tokens
        assert granted <= burst + rate * now + 0.01
        assert (grant.tokens == 0) == (grant.wait > 0)


@settings(deadline=None)  # other processes share this machine
@given(rate=st.floats(0.5, 500), burst=st.integers(1, 100), wanted=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_redis_counts_as_this_process_does(services: None, rate: float, burst: int, wanted: list[int]) -> None:
    name, due = f"mainstay:rate:test:{uuid4()}", 0.0
    breaker = rate_limit._Breaker()
    for number in wanted:
        theirs = breaker.ask(name, rate, burst, number)
        due, ours = _gcra(max(due, 0.0), 0.0, rate, burst, number)
        assert theirs is not None
        # Time passes between two questions to Redis, so it may be ahead by what the rate allows meanwhile.
        assert ours.tokens <= theirs.tokens <= number
