"""What every answer has in common: a request id, headers that browsers heed, and no word to foreign pages."""

from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from api import assemble
from api.edge.request_id import fields, request_id, traceparent
from tests.api.outage import POSTGRES, surroundings

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_callers_own_id_comes_back(client: FlaskClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "order-42/a:b"}).headers["X-Request-Id"] == "order-42/a:b"


@pytest.mark.parametrize("offered", ["", "x" * 129, "two words", "line\tbreak", "é", '{"a":1}'])
def test_an_id_that_would_harm_a_log_is_replaced(client: FlaskClient, offered: str) -> None:
    response = client.get("/livez", environ_base={"HTTP_X_REQUEST_ID": offered})
    assert UUID(response.headers["X-Request-Id"])


def test_the_id_is_the_same_all_through_a_request() -> None:
    with Flask("ids").test_request_context():
        assert request_id() == request_id()


def test_log_lines_below_a_request_name_it_and_its_app(client: FlaskClient) -> None:
    with Flask("ids").test_request_context(headers={"X-Request-Id": "r-1"}):
        assert fields(None, "info", {"event": "e"}) == {"event": "e", "request_id": "r-1"}
    assert fields(None, "info", {"event": "e"}) == {"event": "e"}
    with capture_logs(processors=[fields]) as lines, surroundings(**POSTGRES):
        client.get("/v1/jobs", headers={"X-Request-Id": "r-2"})
    # Threads of other tests may log meanwhile.
    assert [line["request_id"] for line in lines if line["event"] == "database_unavailable"] == ["r-2"]


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        (TRACE, True),
        (TRACE.upper(), False),
        (TRACE.replace("00-4b", "ff-4b"), False),
        (TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), False),
        (TRACE.replace("00f067aa0ba902b7", "0" * 16), False),
        (TRACE + "-more", False),
        ("", False),
    ],
)
def test_a_trace_context_is_kept_when_it_is_well_formed(offered: str, *, kept: bool) -> None:
    with Flask("ids").test_request_context(headers={"Traceparent": offered}):
        assert traceparent() == (offered if kept else None)


def test_answers_are_not_sniffed_and_not_stored(client: FlaskClient) -> None:
    for path in ("/livez", "/v1/kinds", "/v1/nothing"):
        headers = client.get(path).headers
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


def test_pages_of_other_origins_may_not_call_unless_they_are_listed(client: FlaskClient) -> None:
    page = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/jobs", headers=page).status_code == 405
    assert "Access-Control-Allow-Origin" not in client.get("/livez", headers=page).headers
    listed = assemble({"https://shop.example"}).test_client()
    allowed = listed.options("/v1/jobs", headers={**page, "Access-Control-Request-Headers": "authorization"})
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization"
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    foreign = listed.options("/v1/jobs", headers={**page, "Origin": "https://evil.example"})
    assert foreign.status_code == 405
    assert "Access-Control-Allow-Origin" not in foreign.headers
    assert listed.get("/livez", headers=page).headers["Vary"] == "Origin"
