"""POST /v1/jobs/bulk: an answer per item, all or nothing, arrays and lines."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.callers import caller
from tests.api.conftest import Submit
from tests.api.jobs.test_submit import number_of_jobs

JOB = {"kind": "test.succeed", "params": {"day": "2026-01-31"}}
BAD = {"kind": "test.succeed", "params": {"day": "never"}}
LINES = {"Content-Type": "application/x-ndjson"}


def test_every_item_is_answered_in_its_place(client: FlaskClient, kinds: None) -> None:
    items = [JOB, BAD, {"kind": "no.such", "params": {}}, 7, JOB | {"labels": {"n": "4"}}]
    response = client.post("/v1/jobs/bulk", json=items)
    assert response.status_code == 200
    answers = response.get_json()["items"]
    assert [answer["index"] for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer["status"] for answer in answers] == [202, 422, 422, 422, 202]
    assert answers[1]["problem"]["errors"][0]["pointer"] == "/params/day"
    assert answers[2]["problem"]["errors"][0]["code"] == "unknown_kind"
    job = answers[4]["job"]
    assert client.get(f"/v1/jobs/{job['id']}").get_json() == job


def test_items_may_come_as_lines_and_a_broken_line_is_answered_in_its_place(client: FlaskClient, kinds: None) -> None:
    lines = [json.dumps(JOB), "", '{"kind": ', '{"kind": "a", "kind": "b"}', json.dumps(JOB)]
    response = client.post("/v1/jobs/bulk", data="\r\n".join(lines), headers=LINES)
    assert [answer["status"] for answer in response.get_json()["items"]] == [202, 400, 400, 202]


def test_with_atomic_one_refused_item_refuses_all_and_nothing_is_written(client: FlaskClient, kinds: None) -> None:
    before = number_of_jobs()
    response = client.post("/v1/jobs/bulk?atomic=true", json=[JOB, BAD, JOB, {"kind": "no.such", "params": {}}])
    assert (response.status_code, response.get_json()["code"]) == (422, "bulk_refused")
    assert [error["pointer"] for error in response.get_json()["errors"]] == ["/1/params/day", "/3/kind"]
    assert number_of_jobs() == before


def test_with_atomic_a_taken_unique_key_refuses_all(client: FlaskClient, submit: Submit) -> None:
    submit(unique_key="one")
    before = number_of_jobs()
    response = client.post("/v1/jobs/bulk?atomic=true", json=[JOB, JOB | {"unique_key": "one"}])
    assert response.status_code == 422
    assert [(error["pointer"], error["code"]) for error in response.get_json()["errors"]] == [
        ("/1", "unique_key_taken")
    ]
    assert number_of_jobs() == before


def test_a_unique_key_is_unique_within_one_request_too(client: FlaskClient, kinds: None) -> None:
    one = JOB | {"unique_key": "one"}
    items = [one, one, one | {"on_conflict": "return_existing"}]
    answers = client.post("/v1/jobs/bulk", json=items).get_json()["items"]
    assert [answer["status"] for answer in answers] == [202, 409, 202]
    assert answers[2]["job"]["id"] == answers[0]["job"]["id"]


def test_kinds_that_need_an_idempotency_key_are_submitted_alone(client: FlaskClient, kinds: None) -> None:
    response = client.post("/v1/jobs/bulk", json=[JOB | {"kind": "test.pay"}, JOB], headers={"Idempotency-Key": "b"})
    refused, accepted = response.get_json()["items"]
    assert (refused["status"], refused["problem"]["errors"][0]["code"]) == (422, "not_in_bulk")
    assert accepted["status"] == 202


def test_a_key_for_some_kinds_is_held_to_them_item_by_item(client: FlaskClient, kinds: None) -> None:
    narrow = caller(client, "alice", kinds=["test.fail"])
    response = narrow.post("/v1/jobs/bulk", json=[JOB, JOB | {"kind": "test.fail"}])
    assert [answer["status"] for answer in response.get_json()["items"]] == [403, 202]


def test_the_whole_request_is_repeatable(client: FlaskClient, kinds: None) -> None:
    before = number_of_jobs()
    first, second = (client.post("/v1/jobs/bulk", json=[JOB, BAD], headers={"Idempotency-Key": "c"}) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.get_json() == first.get_json()
    assert number_of_jobs() == before + 1


def test_five_thousand_jobs_are_taken_and_not_one_more(client: FlaskClient, kinds: None) -> None:
    before = number_of_jobs()
    refusal = client.post("/v1/jobs/bulk", json=[JOB] * 5_001)
    assert (refusal.status_code, refusal.get_json()["code"]) == (413, "too_many_jobs")
    assert number_of_jobs() == before
    answers = client.post("/v1/jobs/bulk", json=[JOB] * 5_000).get_json()["items"]
    assert {answer["status"] for answer in answers} == {202}
    assert len({answer["job"]["id"] for answer in answers}) == 5_000
    assert number_of_jobs() == before + 5_000


def test_no_items_make_no_jobs(client: FlaskClient) -> None:
    assert client.post("/v1/jobs/bulk", json=[]).get_json() == {"items": []}


@pytest.mark.parametrize(
    ("request_with", "status"),
    [
        ({"json": {"jobs": []}}, 422),
        ({"json": [], "query_string": "atomic=perhaps"}, 422),
        ({"json": [], "query_string": "order=any"}, 422),
        ({"data": "kind,params", "content_type": "text/csv"}, 415),
        ({"data": "[", "content_type": "application/json"}, 400),
        ({"data": b" " * (8 * 1024 * 1024 + 1), "content_type": "application/json"}, 413),
    ],
)
def test_what_is_no_list_of_jobs_is_refused(client: FlaskClient, request_with: dict[str, Any], status: int) -> None:
    assert client.post("/v1/jobs/bulk", **request_with).status_code == status
