"""GET /v1/jobs/{id}: entity tags and long polls; cancel and retry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from models import lifecycle
from models.session import transaction
from tests.api.callers import caller
from tests.api.conftest import Submit


def claim(job: dict[str, Any]) -> None:
    """Put the job into the hands of a worker that says nothing more."""
    with transaction() as session:
        (hint,) = lifecycle.dispatch(session, [UUID(job["id"])], timedelta(seconds=60)).values()
        assert lifecycle.claim(session, [hint], "worker@elsewhere:1", timedelta(seconds=60))


@pytest.mark.parametrize("job_id", ["018f0000-0000-7000-8000-000000000000", "7", "0199f0a0", "%00"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "/attempts"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")],
)
def test_a_job_that_does_not_exist_is_not_found(client: FlaskClient, job_id: str, method: str, rest: str) -> None:
    response = client.open(f"/v1/jobs/{job_id}{rest}", method=method)
    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "/attempts"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")],
)
def test_the_job_of_another_app_is_not_found(client: FlaskClient, submit: Submit, method: str, rest: str) -> None:
    stranger = caller(client, "stranger")
    address = f"/v1/jobs/{submit()['id']}{rest}"
    assert stranger.open(address, method=method).status_code == 404
    assert client.get(address.removesuffix(rest)).get_json()["state"] == "ready"


@pytest.mark.parametrize(
    ("method", "rest", "needed"),
    [("GET", "", "jobs:read"), ("POST", "/cancel", "jobs:write"), ("POST", "/retry", "jobs:write")],
)
def test_each_call_needs_its_scope(client: FlaskClient, submit: Submit, method: str, rest: str, needed: str) -> None:
    other = "jobs:write" if needed == "jobs:read" else "jobs:read"
    weak = caller(client, "alice", other)
    assert weak.open(f"/v1/jobs/{submit()['id']}{rest}", method=method).status_code == 403


def test_an_unchanged_job_is_not_sent_again(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    address = f"/v1/jobs/{submit()['id']}"
    tag = client.get(address).headers["ETag"]
    again = client.get(address, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    drain()
    changed = client.get(address, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.get_json()["state"]) == (200, "succeeded")
    assert changed.headers["ETag"] != tag


def test_a_long_poll_answers_when_the_job_changes(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    address = f"/v1/jobs/{submit()['id']}"
    polls = [{}, {"If-None-Match": client.get(address).headers["ETag"]}]
    key = {"Authorization": client.environ_base["HTTP_AUTHORIZATION"], "Prefer": "wait=20"}
    with ThreadPoolExecutor(2) as threads:
        waiting = [
            threads.submit(client.application.test_client().get, address, headers=key | headers) for headers in polls
        ]
        drain()
    for poll in waiting:
        assert poll.result().status_code == 200
        assert poll.result().headers["Preference-Applied"] == "wait=20"
        assert poll.result().get_json()["state"] != "ready"


def test_a_long_poll_that_sees_no_change_ends_in_time(client: FlaskClient, submit: Submit) -> None:
    address, patient = f"/v1/jobs/{submit()['id']}", {"Prefer": "wait=1"}
    first = client.get(address, headers=patient)
    assert (first.status_code, first.get_json()["state"]) == (200, "ready")
    assert client.get(address, headers=patient | {"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_a_long_poll_does_not_wait_for_what_is_already_there(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    job, patient = submit(), {"Prefer": "wait=25"}
    stale = client.get(f"/v1/jobs/{job['id']}", headers=patient | {"If-None-Match": '"stale"'})
    assert stale.get_json() == job
    drain()
    assert client.get(f"/v1/jobs/{job['id']}", headers=patient).get_json()["state"] == "succeeded"


def test_a_waiting_job_is_cancelled_at_once_and_once_only(client: FlaskClient, submit: Submit) -> None:
    address = f"/v1/jobs/{submit()['id']}"
    response = client.post(f"{address}/cancel")
    assert (response.status_code, response.get_json()["state"]) == (202, "cancelled")
    again = client.post(f"{address}/cancel")
    assert (again.status_code, again.get_json()["code"]) == (409, "job_ended")
    assert "cancelled" in again.get_json()["detail"]


def test_a_running_job_is_asked_to_stop(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    claim(job)
    first = client.post(f"/v1/jobs/{job['id']}/cancel").get_json()
    assert first["state"] == "running"
    assert first["cancel_requested_at"] is not None
    again = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.get_json()) == (202, first)


@pytest.mark.parametrize("kind", ["test.fail", "test.park"])
def test_a_job_that_ended_badly_is_retried(
    client: FlaskClient, submit: Submit, drain: Callable[[], int], kind: str
) -> None:
    address = f"/v1/jobs/{submit(kind)['id']}"
    drain()
    assert client.get(address).get_json()["error"]["code"] in ("no_such_day", "unclear")
    response = client.post(f"{address}/retry")
    job = response.get_json()
    assert (response.status_code, job["state"], job["attempt"], job["error"]) == (202, "ready", 0, None)


def test_a_job_that_did_not_end_badly_is_not_retried(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    address = f"/v1/jobs/{submit()['id']}"
    assert client.post(f"{address}/retry").status_code == 409
    drain()
    refusal = client.post(f"{address}/retry")
    assert (refusal.status_code, refusal.get_json()["code"]) == (409, "not_retryable")
    assert "succeeded" in refusal.get_json()["detail"]


def test_a_job_is_not_retried_while_another_has_its_unique_key(client: FlaskClient, submit: Submit) -> None:
    first = submit(unique_key="one")
    client.post(f"/v1/jobs/{first['id']}/cancel")
    submit(unique_key="one")
    refusal = client.post(f"/v1/jobs/{first['id']}/retry")
    assert (refusal.status_code, refusal.get_json()["code"]) == (409, "unique_key_taken")


def test_a_key_for_some_kinds_retries_no_others(client: FlaskClient, submit: Submit) -> None:
    address = f"/v1/jobs/{submit()['id']}"
    client.post(f"{address}/cancel")
    narrow = caller(client, "alice", kinds=["test.fail"])
    assert narrow.post(f"{address}/retry").status_code == 403
    assert client.get(address).get_json()["state"] == "cancelled"
