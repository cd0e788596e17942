"""POST /v1/jobs: what is accepted, what is refused, and what a client that waits is told."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, func, select

from api.jobs.resource import JobResource
from models import IdempotencyKey, Job
from models.session import transaction
from tasks.discovery import handlers
from tests.api.callers import caller
from tests.api.conftest import Submit
from tests.api.outage import POSTGRES, REDIS, surroundings

JOB = {"kind": "test.succeed", "params": {"day": "2026-01-31"}}


def number_of_jobs() -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_an_accepted_job_is_answered_with_its_address_and_all_its_fields(client: FlaskClient, kinds: None) -> None:
    response = client.post("/v1/jobs", json=JOB)
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{response.get_json()['id']}"
    assert response.headers["Retry-After"] == "1"
    assert list(response.get_json()) == list(JobResource.model_fields)
    assert response.get_json()["state"] == "ready"
    assert response.get_json()["created_at"].endswith("Z")


def test_the_answer_to_a_submit_is_what_a_read_shows(client: FlaskClient, submit: Submit) -> None:
    job = submit(
        labels={"order": "42"}, expires_at="2030-01-01T00:00:00+02:00", unique_key="once", priority=-3, deadline_s=9.5
    )
    assert client.get(f"/v1/jobs/{job['id']}").get_json() == job
    assert job["expires_at"] == "2029-12-31T22:00:00Z"


def test_params_are_kept_as_they_were_sent(submit: Submit) -> None:
    assert submit(params={"day": "2026-01-31"})["params"] == {"day": "2026-01-31"}


def test_a_kind_decides_queue_and_attempts_unless_the_job_does(submit: Submit) -> None:
    assert (submit()["queue"], submit("test.crash")["max_attempts"]) == ("default", 2)
    job = submit("test.crash", queue="data", max_attempts=7)
    assert (job["queue"], job["max_attempts"]) == ("data", 7)


def test_a_delayed_job_is_scheduled_for_its_time(submit: Submit) -> None:
    job = submit(delay_s=3600)
    late = datetime.fromisoformat(job["run_at"]) - datetime.now(UTC)
    assert job["state"] == "scheduled"
    assert timedelta(minutes=59) < late <= timedelta(hours=1)
    assert submit(run_at="2040-06-01T12:00:00.5-04:00")["run_at"] == "2040-06-01T16:00:00.500000Z"


def test_a_past_run_at_means_now(submit: Submit) -> None:
    job = submit(run_at="1999-12-31T23:59:59Z")
    assert job["state"] == "ready"
    assert job["run_at"] == job["created_at"]


def test_a_deadline_counts_from_when_the_job_is_due(submit: Submit) -> None:
    job = submit(run_at="2040-06-01T12:00:00Z", deadline_s=90)
    assert job["deadline_at"] == "2040-06-01T12:01:30Z"


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"kind": "no.such"}, "/kind", "unknown_kind"),
        ({"kind": 7}, "/kind", "string_type"),
        ({"params": []}, "/params", "dict_type"),
        ({"params": {}}, "/params/day", "missing"),
        ({"params": {"day": "2026-02-30"}}, "/params/day", "date_parsing"),
        ({"params": {"day": 0}}, "/params/day", "date_type"),
        ({"params": {"day": "2026-01-31", "a/b~c": 1}}, "/params/a~1b~0c", "extra_forbidden"),
        ({"params": {"day": "2026-01-31", "colour": "x" * 270_000}}, "/params", "too_large"),
        ({"gates": []}, "/gates", "extra_forbidden"),
        ({"queue": "fast"}, "/queue", "unknown_queue"),
        ({"priority": 101}, "/priority", "less_than_equal"),
        ({"priority": "5"}, "/priority", "int_type"),
        ({"priority": True}, "/priority", "int_type"),
        ({"max_attempts": 0}, "/max_attempts", "greater_than_equal"),
        ({"max_attempts": 101}, "/max_attempts", "less_than_equal"),
        ({"run_at": "2030-01-01T00:00:00Z", "delay_s": 1}, "/delay_s", "contradiction"),
        ({"run_at": "2030-01-01T00:00:00"}, "/run_at", "timestamp"),
        ({"run_at": "tomorrow"}, "/run_at", "timestamp"),
        ({"run_at": 1_900_000_000}, "/run_at", "timestamp"),
        ({"run_at": "2030-13-01T00:00:00Z"}, "/run_at", "timestamp"),
        ({"run_at": "1969-12-31T23:59:59Z"}, "/run_at", "timestamp_range"),
        ({"run_at": "9999-12-31T23:59:59-12:00"}, "/run_at", "timestamp_range"),
        ({"run_at": "0001-01-01T00:00:00+14:00"}, "/run_at", "timestamp_range"),
        ({"run_at": "294277-01-01T00:00:00Z"}, "/run_at", "timestamp"),
        ({"run_at": "2030-01-02T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z"},
         "/expires_at", "contradiction"),
        ({"delay_s": 3600, "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "contradiction"),
        ({"delay_s": -1}, "/delay_s", "greater_than_equal"),
        ({"delay_s": 4e8}, "/delay_s", "less_than_equal"),
        ({"deadline_s": 0}, "/deadline_s", "greater_than"),
        ({"labels": {"two words": "x"}}, "/labels/two words", "string_pattern_mismatch"),
        ({"labels": {"a": 1}}, "/labels/a", "string_type"),
        ({"labels": {"a": "x" * 257}}, "/labels/a", "string_too_long"),
        ({"labels": {f"k{n}": "" for n in range(17)}}, "/labels", "too_long"),
        ({"unique_key": ""}, "/unique_key", "string_too_short"),
        ({"unique_key": "x" * 256}, "/unique_key", "string_too_long"),
        ({"on_conflict": "reject"}, "/on_conflict", "contradiction"),
        ({"unique_key": "k", "on_conflict": "wait"}, "/on_conflict", "literal_error"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_pointer_and_nothing_is_written(
    client: FlaskClient, kinds: None, fields: dict[str, Any], pointer: str, code: str
) -> None:
    before = number_of_jobs()
    response = client.post("/v1/jobs", json=JOB | fields)
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert {(error["pointer"], error["code"]) for error in response.get_json()["errors"]} == {(pointer, code)}
    assert number_of_jobs() == before


def test_a_key_for_some_kinds_may_submit_no_others(client: FlaskClient, kinds: None) -> None:
    narrow = caller(client, "alice", kinds=["test.fail"])
    assert narrow.post("/v1/jobs", json=JOB | {"kind": "test.fail"}).status_code == 202
    refusal = narrow.post("/v1/jobs", json=JOB)
    assert (refusal.status_code, refusal.get_json()["code"]) == (403, "kind_not_allowed")


def test_a_repeated_request_gets_the_first_answer_again(client: FlaskClient, kinds: None) -> None:
    before = number_of_jobs()
    first, second = (client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    assert (second.status_code, second.get_json()) == (202, first.get_json())
    assert number_of_jobs() == before + 1


@pytest.mark.parametrize(("path", "body"), [("/v1/jobs", JOB), ("/v1/jobs/bulk?atomic=true", [JOB])])
def test_a_first_answer_stands_although_the_request_would_be_refused_today(
    client: FlaskClient, kinds: None, monkeypatch: pytest.MonkeyPatch, path: str, body: object
) -> None:
    first = client.post(path, json=body, headers={"Idempotency-Key": "a"})
    with monkeypatch.context() as today:
        today.delitem(handlers(), "test.succeed")
        assert client.post(path, json=body, headers={"Idempotency-Key": "b"}).status_code == 422
        again = client.post(path, json=body, headers={"Idempotency-Key": "a"})
    assert (again.status_code, again.get_json()) == (first.status_code, first.get_json())
    assert "Idempotent-Replayed" in again.headers


def test_a_repeat_that_waits_gets_the_job_at_its_end(
    client: FlaskClient, kinds: None, drain: Callable[[], int]
) -> None:
    headers = {"Idempotency-Key": "a", "Prefer": "wait=20"}
    first = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "a"})
    drain()
    again = client.post("/v1/jobs", json=JOB, headers=headers)
    assert (again.status_code, again.get_json()["state"]) == (200, "succeeded")
    assert again.get_json()["id"] == first.get_json()["id"]
    assert (again.headers["Idempotent-Replayed"], again.headers["Preference-Applied"]) == ("true", "wait=20")


def test_a_repeat_does_not_wait_for_a_job_that_is_forgotten(client: FlaskClient, kinds: None) -> None:
    headers = {"Idempotency-Key": "a", "Prefer": "wait=25"}
    first = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "a"})
    with transaction() as session:
        session.execute(delete(Job))
    again = client.post("/v1/jobs", json=JOB, headers=headers)
    assert (again.status_code, again.get_json()) == (202, first.get_json())


def test_a_hundred_parallel_submits_with_one_key_make_one_job(client: FlaskClient, kinds: None) -> None:
    app, headers = client.application, {"Idempotency-Key": "p", **_authorization(client)}
    before = number_of_jobs()
    with ThreadPoolExecutor(10) as threads:
        posts = [
            threads.submit(lambda: app.test_client().post("/v1/jobs", json=JOB, headers=headers)) for _ in range(100)
        ]
    answers = [post.result() for post in posts]
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.get_json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert number_of_jobs() == before + 1


def _authorization(client: FlaskClient) -> dict[str, str]:
    return {"Authorization": client.environ_base["HTTP_AUTHORIZATION"]}


def test_a_payment_needs_an_idempotency_key_which_is_kept_for_ever(client: FlaskClient, kinds: None) -> None:
    pay = JOB | {"kind": "test.pay"}
    refusal = client.post("/v1/jobs", json=pay)
    assert (refusal.status_code, refusal.get_json()["code"]) == (400, "idempotency_key_required")
    assert client.post("/v1/jobs", json=pay, headers={"Idempotency-Key": "invoice 7"}).status_code == 202
    with transaction() as session:
        assert session.scalars(select(IdempotencyKey.expires_at).where(IdempotencyKey.key == "invoice 7")).all() == [
            None
        ]


def test_a_unique_key_keeps_a_second_job_out(client: FlaskClient, submit: Submit) -> None:
    first = submit(unique_key="one")
    refusal = client.post("/v1/jobs", json=JOB | {"unique_key": "one"})
    assert (refusal.status_code, refusal.get_json()["code"]) == (409, "unique_key_taken")
    assert submit(unique_key="one", on_conflict="return_existing") == first
    assert submit(unique_key="one", on_conflict="replace")["id"] != first["id"]
    assert client.get(f"/v1/jobs/{first['id']}").get_json()["state"] == "cancelled"


def test_a_client_that_waits_gets_the_finished_job(client: FlaskClient, kinds: None, drain: Callable[[], int]) -> None:
    with ThreadPoolExecutor(1) as threads:
        headers = _authorization(client) | {"Prefer": "respond-async, wait=20"}
        waiting = threads.submit(lambda: client.application.test_client().post("/v1/jobs", json=JOB, headers=headers))
        while not waiting.done():
            drain()
    response = waiting.result()
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.headers["Location"] == f"/v1/jobs/{response.get_json()['id']}"
    assert (response.get_json()["state"], response.get_json()["result"]) == ("succeeded", {"colour": "green"})


def test_a_client_that_waits_in_vain_is_told_that_the_job_is_accepted(client: FlaskClient, kinds: None) -> None:
    response = client.post("/v1/jobs", json=JOB, headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert response.get_json()["state"] == "ready"
    assert "Preference-Applied" not in response.headers


def test_an_accepted_job_stays_accepted_when_postgres_goes_away_during_the_wait(
    client: FlaskClient, kinds: None
) -> None:
    with ThreadPoolExecutor(1) as threads:
        before = number_of_jobs()
        waiting = threads.submit(lambda: client.post("/v1/jobs", json=JOB, headers={"Prefer": "wait=20"}))
        while number_of_jobs() == before:
            assert not waiting.done()
        with surroundings(**POSTGRES):
            assert waiting.result().status_code == 202


def test_jobs_are_accepted_and_waited_for_without_redis(
    client: FlaskClient, kinds: None, drain: Callable[[], int]
) -> None:
    with surroundings(**REDIS), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: client.post("/v1/jobs", json=JOB, headers={"Prefer": "wait=20"}))
        while not waiting.done():
            drain()
        assert waiting.result().status_code == 200
