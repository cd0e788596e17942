"""`Idempotency-Key`: the same request again does nothing and is answered as the first time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update
from werkzeug.test import TestResponse

from api.edge.idempotency import first_answer
from models import IdempotencyKey, Job
from models.session import transaction
from tests.api.callers import caller
from workers import keys

JOB = {"kind": "text.count", "params": {"text": "one two"}}


def post(client: FlaskClient, key: str | None = "once", path: str = "/v1/jobs", **body: Any) -> TestResponse:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(path, json={**JOB, **body}, headers=headers)


def count(table: type) -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_same_request_again_gets_the_first_answer_again(client: FlaskClient) -> None:
    first, again = post(client), post(client)
    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert count(Job) == 1


def test_without_a_key_every_request_is_the_first(client: FlaskClient) -> None:
    assert post(client, None).json["id"] != post(client, None).json["id"]
    assert count(IdempotencyKey) == 0


def test_a_key_used_for_another_body_is_refused(client: FlaskClient) -> None:
    post(client)
    response = post(client, priority=1)
    assert (response.status_code, response.json["code"]) == (422, "idempotency_key_reused")
    assert count(Job) == 1


def test_a_key_is_of_one_app_and_one_route(client: FlaskClient) -> None:
    first = post(client)
    assert post(caller(client, "bob")).json["id"] != first.json["id"]
    bulk = client.post("/v1/jobs/bulk", json=[JOB], headers={"Idempotency-Key": "once"})
    assert bulk.status_code == 200
    assert "Idempotent-Replayed" not in bulk.headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é", "nul\0", "a,b"])
def test_an_unprintable_or_too_long_key_is_refused(client: FlaskClient, key: str) -> None:
    response = client.post("/v1/jobs", json=JOB, environ_base={"HTTP_IDEMPOTENCY_KEY": key})
    assert (response.status_code, response.json["code"]) == (400, "malformed_idempotency_key")


@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a")])
def test_two_keys_in_one_request_are_refused(client: FlaskClient, keys: tuple[str, str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    response = client.post("/v1/jobs", json=JOB, headers=headers)
    assert (response.status_code, response.json["code"]) == (400, "malformed_idempotency_key")


def test_a_key_of_255_printable_characters_is_taken(client: FlaskClient) -> None:
    assert post(client, " ~" * 127 + "x").status_code == 202


def test_a_request_that_was_refused_leaves_its_key_unused(client: FlaskClient) -> None:
    assert post(client, kind="no.such").status_code == 422
    assert post(client).status_code == 202


def test_nothing_is_remembered_of_what_did_not_commit(client: FlaskClient) -> None:
    post(client, None, unique_key="taken")
    assert post(client, unique_key="taken").status_code == 409
    assert count(IdempotencyKey) == 0


def test_a_hundred_requests_at_once_with_one_key_make_one_job(client: FlaskClient) -> None:
    def submit(_number: int) -> TestResponse:
        other = client.application.test_client()
        other.environ_base.update(client.environ_base)
        return post(other)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(submit, range(100)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert {answer.json["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_in_progress"}
    assert len({answer.json["id"] for answer in answers if answer.status_code == 202}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers if answer.status_code == 202) == 1
    assert count(Job) == 1


def test_while_the_first_is_being_answered_the_second_is_told_to_wait(client: FlaskClient) -> None:
    request = client.application.test_request_context("/v1/jobs", method="POST", headers={"Idempotency-Key": "once"})
    with transaction() as session, request:
        from flask import g  # noqa: PLC0415  # only here does the test stand in for a view

        from api.edge.auth import authenticated  # noqa: PLC0415  # as above

        request.request.environ.update(client.environ_base)
        g.caller = authenticated()
        assert first_answer(session) is None
        waiting = post(client)
    assert (waiting.status_code, waiting.json["code"]) == (409, "idempotency_in_progress")
    assert waiting.headers["Retry-After"] == "1"
    assert post(client).status_code == 202


def test_after_seven_days_a_key_may_be_used_anew(client: FlaskClient) -> None:
    first = post(client)
    with transaction() as session:
        kept = session.scalar(select(IdempotencyKey.expires_at))
        assert timedelta(days=6, hours=23) < kept - datetime.now(UTC) < timedelta(days=7, hours=1)
        session.execute(update(IdempotencyKey).values(expires_at=text("now() - interval '1 second'")))
    second = post(client, priority=3)
    assert (second.status_code, "Idempotent-Replayed" in second.headers) == (202, False)
    assert second.json["id"] != first.json["id"]
    assert post(client, priority=3).json["id"] == second.json["id"]
    assert count(IdempotencyKey) == 1


def test_a_payment_needs_a_key_and_keeps_it_for_ever(client: FlaskClient, kinds: None) -> None:
    payment = {"kind": "test.pay", "params": {"day": "2026-01-31"}}
    response = post(client, None, **payment)
    assert (response.status_code, response.json["code"]) == (400, "idempotency_key_required")
    assert post(client, "pay", **payment).status_code == 202
    with transaction() as session:
        assert session.scalars(select(IdempotencyKey.expires_at)).all() == [None]


def test_a_repeated_answer_never_shows_an_api_key_again(client: FlaskClient) -> None:
    admin = caller(client, "operators", "keys:admin")
    wanted = {"app": "carol", "name": "first", "scopes": ["jobs:read"]}
    first, again = (admin.post("/v1/keys", json=wanted, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert keys.env_of(first.json["key"]) == "test"
    assert again.json == {**first.json, "key": None}
