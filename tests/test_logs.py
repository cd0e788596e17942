"""Logs: one JSON line per event from every library, without secrets."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any
from uuid import uuid4

import pytest
import structlog
from celery.utils.log import get_task_logger

from logs import REDACTED, configure_logging, redact
from settings import get_settings
from workers.keys import written

VISA = "4242424242424242"


class Written:
    """What this process logs from here on, in place of its standard error."""

    def __init__(self) -> None:
        self.text = io.StringIO()

    def configure(self, log_format: str) -> None:
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(self.text):
            patch.setenv("MAINSTAY_LOG_FORMAT", log_format)
            patch.setenv("MAINSTAY_LOG_LEVEL", "INFO")
            get_settings.cache_clear()
            configure_logging("tests", lambda _logger, _method, event: {"request_id": "r-1", **event})
        get_settings.cache_clear()

    def __call__(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Written]:
    """The lines of this process, as JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = Written()
    written.configure("json")
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_an_event_is_one_json_line_with_its_fields(lines: Written) -> None:
    job_id = uuid4()
    structlog.get_logger().info("job_accepted", job_id=job_id, bytes=12, labels={"a": [1, None]})
    (line,) = lines()
    assert line["timestamp"].endswith("Z")
    assert {
        "event": "job_accepted", "level": "info", "role": "tests", "request_id": "r-1", "job_id": str(job_id),
        "bytes": 12, "labels": {"a": [1, None]},
    }.items() <= line.items()  # fmt: skip


def test_what_is_below_the_level_is_not_written(lines: Written) -> None:
    structlog.get_logger().debug("detail")
    logging.getLogger("anything").debug("detail")
    assert lines() == []


@pytest.mark.parametrize(
    "name", ["celery", "kombu.connection", "gunicorn.error", "werkzeug", "sqlalchemy.engine", "of.some.library"]
)
def test_lines_of_libraries_take_the_same_way(lines: Written, name: str) -> None:
    logging.getLogger(name).warning("from %s", "outside")
    (line,) = lines()
    assert (line["event"], line["logger"], line["role"]) == ("from outside", name, "tests")


def test_a_logger_that_was_set_up_by_its_library_is_taken_over(lines: Written) -> None:
    logger = logging.getLogger("gunicorn.error")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.propagate = False
    lines.configure("json")
    logger.warning("once")
    get_task_logger("some.task").warning("as well")
    assert [line["event"] for line in lines()] == ["once", "as well"]


def test_an_exception_is_told_in_its_line_without_local_values(lines: Written) -> None:
    password = str(0xC0FFEE * 2)
    try:
        raise ValueError(f"could not use {written('test')}")
    except ValueError:
        structlog.get_logger().exception("attempt_failed")
    (line,) = lines()
    assert "ValueError" in line["exception"]
    assert password not in line["exception"]
    assert "mst_test_" not in line["exception"]


@pytest.mark.parametrize(
    "text",
    [
        "mst_live_" + "a" * 38,
        "sk_live_51Habcdef",
        "rk_test_51Habcdef",
        "whsec_dGVzdA==",
        "postgresql+psycopg://mainstay:hunter2@db/mainstay",
        "redis://:hunter2@cache:6379/0",
        "Authorization: Bearer eyJhbGciOi.x.y",
        "Authorization: Basic dXNlcjpwYXNz",
        "paid with 4242 4242 4242 4242 today",
        "paid with 4242-4242-4242-4242",
        f"paid with {VISA}",
        "paid with 378282246310005",
    ],
)
def test_a_secret_is_taken_out_wherever_it_stands(lines: Written, text: str) -> None:
    structlog.get_logger().info("event", note=text, nested={"deep": [text]}, pair=(text, {text}))
    logging.getLogger("library").info("said %s", text)
    written_out = json.dumps(lines())
    for secret in ("aaaa", "51H", "dGVz", "hunter2", "eyJ", "dXNl", "4242", "378282"):
        assert secret not in written_out
    assert REDACTED in written_out


@pytest.mark.parametrize(
    "name",
    ["authorization", "Authorization", "password", "db_password", "key_pepper", "api_key", "stripe_api_key",
     "webhook_secret", "access_token", "Cookie", "params", "body", "cvc"],
)  # fmt: skip
def test_a_field_with_a_secret_name_is_taken_out_at_any_depth(name: str) -> None:
    event = redact(None, "info", {"event": "e", name: {"a": 1}, "headers": {name: "x"}, "list": [{name: "y"}]})
    assert event == {"event": "e", name: REDACTED, "headers": {name: REDACTED}, "list": [{name: REDACTED}]}


@pytest.mark.parametrize(
    "text",
    [
        "42424242-4242-4242-8242-424242424242",
        "0199a2b0-0000-7000-8000-000000000000",
        "2026-11-23T09:06:37.239207Z",
        "flask_openapi/endpoint.py",
        "task_test_one",
        "4242424242424241",  # no card: its check digit is wrong
        "1700000000000000",
        "https://example.com:8443/path",
        "key_id",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact(None, "info", {"event": text})["event"] == text


@pytest.mark.parametrize("name", ["unique_key", "key_id", "idempotent", "tokens_left", "job_id", "prefix"])
def test_a_field_that_only_sounds_like_a_secret_stays(name: str) -> None:
    assert redact(None, "info", {name: "plain"}) == {name: "plain"}


def test_a_card_number_is_taken_out_as_a_number_too() -> None:
    assert redact(None, "info", {"number": int(VISA), "count": 4242}) == {"number": REDACTED, "count": 4242}


def test_the_console_form_is_redacted_as_well(lines: Written) -> None:
    lines.configure("console")
    structlog.get_logger().info("event", note="sk_live_51Habcdef")
    assert REDACTED in lines.text.getvalue()
    assert "51H" not in lines.text.getvalue()
