"""GET /v1/jobs/{id}/attempts: what each execution came to."""

from collections.abc import Callable

from flask.testing import FlaskClient

from tests.api.callers import caller
from tests.api.conftest import Submit
from tests.api.jobs.test_single import claim


def test_an_attempt_tells_how_it_ended(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    address = f"/v1/jobs/{submit('test.fail')['id']}/attempts"
    assert client.get(address).get_json() == {"items": [], "next_cursor": None}
    drain()
    (attempt,) = client.get(address).get_json()["items"]
    assert (attempt["number"], attempt["outcome"]) == (1, "failed")
    assert attempt["error"]["details"] == {"day": "2026-01-31"}
    assert attempt["next_at"] is None


def test_only_operators_see_a_traceback(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    address = f"/v1/jobs/{submit('test.crash')['id']}/attempts"
    drain()
    operator = caller(client, "alice", "jobs:read", "ops:read")
    assert "RuntimeError" in operator.get(address).get_json()["items"][0]["traceback"]
    assert "traceback" not in client.get(address).get_json()["items"][0]


def test_the_attempt_that_runs_now_is_the_last_one(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    claim(job)
    (attempt,) = client.get(f"/v1/jobs/{job['id']}/attempts").get_json()["items"]
    assert (attempt["number"], attempt["outcome"], attempt["finished_at"]) == (1, None, None)
    assert attempt["worker"] == "worker@elsewhere:1"


def test_attempts_come_in_pages(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    job = submit("test.fail")
    address = f"/v1/jobs/{job['id']}"
    drain()
    client.post(f"{address}/retry")
    drain()
    client.post(f"{address}/retry")
    claim(job)
    outcomes, after = [], "0"
    while after is not None:
        page = client.get(f"{address}/attempts?limit=1&after={after}").get_json()
        outcomes += [attempt["outcome"] for attempt in page["items"]]
        after = page["next_cursor"]
    assert outcomes == ["failed", "failed", None]
