"""The table of outcomes, row by row."""

from datetime import UTC, datetime, timedelta

import pytest

from clients.http.outcome import RETRY_AFTER_CAP, Failure, Outcome, classify, may_repeat, retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        *((status, Outcome.SUCCESS) for status in (200, 201, 202, 204, 206, 299)),
        *((status, Outcome.TRANSIENT) for status in (408, 425, 429)),
        *((status, Outcome.PERMANENT) for status in (300, 301, 302, 304, 307, 308)),
        *((status, Outcome.PERMANENT) for status in (400, 401, 403, 404, 409, 410, 422, 451, 499)),
        *((status, Outcome.PERMANENT) for status in (501, 505, 101)),
        (Failure.NOT_SENT, Outcome.TRANSIENT),
        (Failure.TLS, Outcome.PERMANENT),
        (Failure.BLOCKED, Outcome.BLOCKED),
        (Failure.LOST, Outcome.AMBIGUOUS),
    ],
)
def test_most_endings_mean_the_same_for_every_method(method: str, ending: int | Failure, outcome: Outcome) -> None:
    assert classify(method, ending) is outcome


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize(
    ("methods", "outcome"),
    [
        (("GET", "HEAD", "OPTIONS", "PUT", "DELETE"), Outcome.TRANSIENT),
        (("POST", "PATCH"), Outcome.AMBIGUOUS),
    ],
)
def test_a_server_error_is_ambiguous_only_where_a_repeat_could_act_twice(
    status: int, methods: tuple[str, ...], outcome: Outcome
) -> None:
    assert {classify(method, status) for method in methods} == {outcome}


@pytest.mark.parametrize(
    ("method", "keyed", "retry_unsafe", "repeatable"),
    [
        ("GET", False, False, True),
        ("PUT", False, False, True),
        ("DELETE", False, False, True),
        ("POST", False, False, False),
        ("PATCH", False, False, False),
        ("POST", True, False, True),
        ("PATCH", False, True, True),
    ],
)
def test_an_ambiguous_call_is_repeated_only_where_that_is_safe_or_asked_for(
    method: str, keyed: bool, retry_unsafe: bool, repeatable: bool
) -> None:
    assert may_repeat(method, keyed=keyed, retry_unsafe=retry_unsafe) is repeatable


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("0", timedelta(0)),
        (" 120 ", timedelta(minutes=2)),
        ("21600", RETRY_AFTER_CAP),
        ("21601", RETRY_AFTER_CAP),
        ("999999999999", RETRY_AFTER_CAP),
        ("Sun, 01 Mar 2026 12:01:30 GMT", timedelta(seconds=90)),
        ("Sunday, 01-Mar-26 12:01:30 GMT", timedelta(seconds=90)),
        ("Sun, 01 Mar 2026 12:01:30 -0000", timedelta(seconds=90)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", timedelta(0)),
        ("Sun, 01 Mar 2099 12:00:00 GMT", RETRY_AFTER_CAP),
        *((junk, None) for junk in (None, "", "soon", "-1", "1.5", "1e3", "9" * 13, "٣", "Sun, 99 Mar 2026 12:00:00")),
    ],
)
def test_a_retry_after_header_is_read_as_seconds_or_as_a_date(header: str | None, wait: timedelta | None) -> None:
    assert retry_after(header, NOW) == wait
