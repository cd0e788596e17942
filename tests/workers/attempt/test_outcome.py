"""Every branch of what follows from how an attempt ended."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.attempt import Outcome
from models.job import State
from tasks import Cancel, Cancelled, Fail, Park, Retry, Snooze, TimedOut
from tasks.backoff import Backoff
from workers.attempt.outcome import MESSAGE_LIMIT, RESULT_LIMIT, Attempted, Stopping, raised, released, returned

JOB, TOKEN = UUID(int=1), UUID(int=2)


def attempted(attempt: int = 1, max_attempts: int = 3, deadline_in: timedelta | None = None) -> Attempted:
    backoff = Backoff(base=timedelta(seconds=10), factor=2, cap=timedelta(seconds=60), jitter=0)
    return Attempted(JOB, TOKEN, attempt, max_attempts, backoff, deadline_in)


def test_a_returned_object_is_success():
    ending = returned(attempted(), {"n": 1})
    assert (ending.outcome, ending.state, ending.result) == (Outcome.SUCCEEDED, State.SUCCEEDED, {"n": 1})


def test_returning_nothing_is_success_with_an_empty_result():
    assert returned(attempted(), None).result == {}


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"f": object()}, "result_not_json"),
        ({"f": 2**70}, "result_not_json"),
        ({"f": "\ud800"}, "result_not_json"),
        ({"f": ["a\0b"]}, "result_not_json"),
        ({"a\0b": 1}, "result_not_json"),
        ({"f": "x" * RESULT_LIMIT}, "result_too_large"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_job_for_good(result, code):
    ending = returned(attempted(), result)
    assert ending.state is State.FAILED
    assert ending.error["code"] == code
    assert ending.error["retryable"] is False


def test_a_backslash_before_u0000_is_not_a_nul():
    assert returned(attempted(), {"f": "\\u0000"}).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("exception", "outcome", "state", "code"),
    [
        (Fail("no_such_card", "no"), Outcome.FAILED, State.FAILED, "no_such_card"),
        (Cancel("not_wanted"), Outcome.CANCELLED, State.CANCELLED, "not_wanted"),
        (Park("unknown"), Outcome.PARKED, State.PARKED, "unknown"),
        (Retry("busy"), Outcome.FAILED, State.SCHEDULED, "busy"),
        (ValueError("secret"), Outcome.FAILED, State.SCHEDULED, "unexpected_error"),
        (SystemExit(1), Outcome.FAILED, State.SCHEDULED, "unexpected_error"),
        (MemoryError(), Outcome.FAILED, State.SCHEDULED, "unexpected_error"),
        (TimedOut(), Outcome.TIMED_OUT, State.SCHEDULED, "timed_out"),
    ],
)
def test_what_a_handler_raises_decides(exception, outcome, state, code):
    ending = raised(attempted(), exception)
    assert (ending.outcome, ending.state, ending.error["code"]) == (outcome, state, code)
    assert ending.spent


def test_a_cancelled_handler_ends_its_job_as_cancelled():
    ending = raised(attempted(), Cancelled())
    assert (ending.outcome, ending.state, ending.error) == (Outcome.CANCELLED, State.CANCELLED, None)


def test_the_text_of_an_unexpected_exception_is_for_operators_only():
    ending = raised(attempted(), ValueError("password=hunter2"))
    assert "hunter2" not in str(ending.error)
    assert "hunter2" in ending.traceback


@pytest.mark.parametrize("exception", [Retry("busy"), ValueError(), TimedOut()])
def test_the_last_attempt_fails_the_job(exception):
    ending = raised(attempted(attempt=3), exception)
    assert ending.state is State.FAILED
    assert ending.error["retryable"] is False
    assert ending.error["attempt"] == 3


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10), (2, 20)])
def test_waits_grow_with_the_attempts(attempt, delay):
    assert raised(attempted(attempt), Retry("busy")).delay == delay


def test_a_retry_after_is_the_least_wait():
    assert raised(attempted(), Retry("busy", after=timedelta(hours=1))).delay == 3600
    assert raised(attempted(), Retry("busy", after=timedelta(seconds=1))).delay == 10


def test_any_exception_may_carry_a_retry_after():
    error = ConnectionError()
    error.retry_after = timedelta(minutes=5)
    assert raised(attempted(), error).delay == 300
    error.retry_after = "soon"
    assert raised(attempted(), error).delay == 10


def test_a_retry_beyond_the_deadline_fails_now():
    ending = raised(attempted(deadline_in=timedelta(seconds=10)), Retry("busy"))
    assert (ending.state, ending.error["code"]) == (State.FAILED, "deadline_exceeded")
    assert raised(attempted(deadline_in=timedelta(seconds=11)), Retry("busy")).state is State.SCHEDULED


def test_a_snooze_spends_no_attempt():
    ending = raised(attempted(attempt=3), Snooze(timedelta(minutes=5)))
    assert (ending.outcome, ending.state, ending.delay, ending.spent) == (
        Outcome.SNOOZED, State.SCHEDULED, 300, False,
    )  # fmt: skip


def test_a_snooze_until_a_moment_waits_for_it():
    ending = raised(attempted(), Snooze(datetime.now(UTC) + timedelta(minutes=5)))
    assert 290 < ending.delay <= 300


def test_a_snooze_into_the_past_is_ready_at_once():
    ending = raised(attempted(), Snooze(datetime(2020, 1, 1, tzinfo=UTC)))
    assert (ending.state, ending.delay) == (State.READY, 0)


def test_a_stopping_worker_hands_the_job_back_unspent():
    ending = raised(attempted(), Stopping())
    assert (ending.outcome, ending.state, ending.spent) == (Outcome.RELEASED, State.READY, False)
    assert released(JOB, TOKEN).state is State.READY


def test_details_are_kept_where_they_are_json():
    assert raised(attempted(), Fail("x", details={"a": 1})).error["details"] == {"a": 1}
    assert "lost" in raised(attempted(), Fail("x", details={"a": object()})).error["details"]


def test_messages_are_made_storable():
    message = raised(attempted(), Fail("x", "a\0b\ud800" + "y" * 10_000)).error["message"]
    assert "\0" not in message
    assert len(message) == MESSAGE_LIMIT


def test_full_jitter_draws_between_nothing_and_the_planned_wait():
    backoff = Backoff(base=timedelta(seconds=100), jitter=None)
    facts = Attempted(JOB, TOKEN, 1, 3, backoff, None)
    delays = [raised(facts, Retry("x"), chance=random.Random(seed)).delay for seed in range(200)]
    assert min(delays) < 10
    assert 90 < max(delays) <= 100
