"""Refusals: a problem document everywhere, which never quotes what was sent."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel, Field, field_validator
from sqlalchemy import text
from structlog.testing import capture_logs

import api
from api.edge import errors
from api.edge.errors import Problem, ProblemDocument, validated
from api.edge.problems import CODES
from models.session import transaction
from tests.api.outage import POSTGRES, surroundings

MARK = "seCret-Mark-93"


class Inner(BaseModel, extra="forbid"):
    count: int


class Sent(BaseModel, extra="forbid"):
    name: str = Field(default="", max_length=3, pattern="^[a-z]*$")
    id: UUID | None = None
    items: list[Inner] = []
    either: Inner | Literal["none"] | None = None
    by_name: dict[str, int] = {}
    checked: str = ""

    @field_validator("checked")
    @classmethod
    def _no_marks(cls, value: str) -> str:
        if value:
            raise ValueError("must be empty")
        return value


@pytest.fixture
def broken(services: None) -> FlaskClient:
    """An application whose views fail in every way."""
    app = Flask("broken")
    errors.init_app(app)
    app.add_url_rule("/bug", view_func=lambda: 1 / 0, endpoint="bug")

    def too_long() -> str:
        with transaction() as opened:
            opened.connection().exec_driver_sql("SELECT '9999-99-99'::date")
        return ""

    def too_late(limit: str) -> str:
        with transaction() as holder, transaction() as opened:
            holder.execute(text("LOCK TABLE apps"))
            opened.execute(text(f"SET LOCAL {limit} = '10ms'"))
            opened.execute(text("LOCK TABLE apps"))
        return ""

    app.add_url_rule("/unstorable", view_func=too_long, endpoint="unstorable")
    app.add_url_rule("/late/<limit>", view_func=too_late, endpoint="late")
    return app.test_client()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("HEAD", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", "//v1//jobs", 404, "not_found"),
        ("GET", "/v1/jobs/no-uuid", 404, "not_found"),
        ("GET", "/v1/jobs/%00", 404, "not_found"),
        ("GET", "/v1/kinds/%ff%fe", 404, "not_found"),
        ("GET", "/docs/..%2f..%2fsettings.py", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs?kind=%00", 400, "malformed_request"),
        ("GET", "/v1/jobs?kind=a&kind=b", 422, "invalid_query"),
        ("GET", "/v1/jobs?limit=many", 422, "invalid_query"),
        ("GET", "/v1/jobs?nonsense=1", 422, "invalid_query"),
    ],
)
def test_whatever_is_asked_the_refusal_is_a_problem_document(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.open(path, method=method)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    if method != "HEAD":
        problem = ProblemDocument.model_validate(response.json)
        assert (problem.code, problem.type, problem.status) == (code, f"/problems/{code}", status)
        assert problem.request_id == response.headers["X-Request-Id"]


def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient) -> None:
    assert set(client.put("/v1/jobs").headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("sent", "pointer", "code"),
    [
        ({"name": MARK}, "/name", "string_too_long"),
        ({"name": 5}, "/name", "string_type"),
        ({"id": MARK}, "/id", "uuid_parsing"),
        ({"items": [{"count": 1}, {"count": MARK}]}, "/items/1/count", "int_type"),
        ({"items": [{}]}, "/items/0/count", "missing"),
        ({"items": {"0": 1}}, "/items", "list_type"),
        ({"either": {"count": MARK}}, "/either/count", "int_type"),
        ({"by_name": {"a/b~c": MARK}}, "/by_name/a~1b~0c", "int_type"),
        ({"by_name": {MARK * 50: "x"}}, "/by_name", "int_type"),
        ({"checked": MARK}, "/checked", "value_error"),
        ({"more": MARK}, "/more", "extra_forbidden"),
        ([MARK], "", "model_type"),
    ],
)
def test_a_fault_is_pointed_at_and_not_quoted(sent: object, pointer: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        validated(Sent, sent)
    document = caught.value.document("/", "id")
    assert {"pointer": pointer, "code": code}.items() <= document["errors"][0].items()
    assert MARK not in json.dumps(document)


def test_a_thousand_faults_are_answered_with_the_first_fifty() -> None:
    with pytest.raises(Problem) as caught:
        validated(Sent, {"items": [{}] * 1000})
    assert len(caught.value.errors or ()) == 50


def test_a_bug_is_a_problem_that_says_nothing_and_a_log_line_that_says_all(broken: FlaskClient) -> None:
    with capture_logs() as lines:
        response = broken.get("/bug", headers={"X-Request-Id": "find-me"})
    assert (response.status_code, response.json["code"]) == (500, "internal")
    assert "division" not in response.text
    assert response.json["request_id"] == "find-me"
    (line,) = lines
    assert (line["event"], line["request_id"], line["path"]) == ("request_failed", "find-me", "/bug")
    assert isinstance(line["exc_info"], ZeroDivisionError)


def test_a_value_that_postgres_refuses_is_the_callers_fault(broken: FlaskClient) -> None:
    response = broken.get("/unstorable")
    assert (response.status_code, response.json["code"]) == (422, "invalid")


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_a_database_that_is_there_and_too_slow_is_not_said_to_be_away(broken: FlaskClient, limit: str) -> None:
    response = broken.get(f"/late/{limit}")
    assert (response.status_code, response.json["code"]) == (503, "database_busy")
    assert response.headers["Retry-After"] == "1"


def test_without_postgres_the_answer_is_503_and_afterwards_all_is_well(client: FlaskClient) -> None:
    with surroundings(**POSTGRES):
        response = client.get("/v1/jobs")
    assert (response.status_code, response.json["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert client.get("/v1/jobs").status_code == 200


def test_a_connection_that_broke_meanwhile_costs_one_503_at_most(client: FlaskClient) -> None:
    assert client.get("/v1/jobs").status_code == 200
    with transaction() as opened:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        opened.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
        mine = opened.connection().connection.dbapi_connection
    mine.pgconn.finish()
    assert [client.get("/v1/jobs").status_code for _ in range(3)] == [503, 200, 200]


def test_every_code_that_can_be_answered_is_explained(client: FlaskClient) -> None:
    used = {code for path in Path(api.__path__[0]).rglob("*.py") for code in _codes(path.read_text())}
    assert used - CODES.keys() == set()
    for code in CODES:
        explained = client.get(f"/problems/{code}").json
        assert explained["status"] == CODES[code].status
    assert client.get("/problems/nothing").status_code == 404


def _codes(source: str) -> Iterator[str]:
    """The codes that stand beside a status in calls, and in tables of (status, code)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").lower().endswith(("problem", "ready", "cated")):
            yield from (
                arg.value
                for arg in node.args[:2]
                if isinstance(arg, ast.Constant) and re.fullmatch("[a-z]+(_[a-z]+)+|invalid", str(arg.value))
            )
