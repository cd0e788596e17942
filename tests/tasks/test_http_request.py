"""http.request through the real engine, against the sandbox's faulty server: what is kept, repeated, failed, parked."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests
from pydantic import ValidationError

from models import Job
from models.session import transaction
from settings import get_settings
from tasks.http_request import BACKOFF, Params
from tests.sandbox.process import running_sandbox
from tests.support.engine import enqueue, job_row
from workers import queue


class Site:
    """The sandbox's faulty server, and what it has been asked."""

    def __init__(self, url):
        self.url = url

    def calls(self, path):
        """The requests for `path`, oldest first."""
        return requests.get(f"{self.url}/calls", params={"path": path}, timeout=10).json()["items"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def site(database, running):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGRESS_ALLOW_CIDRS", f"127.0.0.1/32:{urlsplit(running.http).port}")
        get_settings.cache_clear()
        requests.delete(f"{running.http}/calls", timeout=10).raise_for_status()
        yield Site(running.http)
    get_settings.cache_clear()


@pytest.fixture
def call(app_id, site, drain):
    """Enqueue a request for a path of the site, perform what is due, and return the job's row."""

    def call(path, max_attempts=8, **params):
        job = enqueue(app_id, "http.request", {"url": site.url + path, **params}, max_attempts=max_attempts)
        drain()
        return job_row(job)

    return call


@pytest.fixture
def again(app_id, drain, pass_time):
    """Let enough time pass for the next attempt, perform it, and return the job's row."""

    def again(job):
        pass_time(timedelta(hours=2))
        drain()
        return job_row(job.id)

    return again


def wait_of(job):
    return job.run_at - datetime.now(UTC)


def test_the_answer_becomes_the_result(call):
    job = call("/echo?a=1", query={"b": ["x y", True]}, headers={"X-Note": "hi"})
    assert job.state == "succeeded", job.error
    result = job.result
    assert (result["status"], result["truncated"], len(result["sha256"])) == (200, False, 64)
    assert set(result) == {"status", "headers", "json", "bytes", "sha256", "truncated", "ms"}
    assert result["headers"]["content-type"] == "application/json"
    seen = result["json"]
    assert (seen["method"], seen["headers"]["X-Note"]) == ("GET", "hi")
    assert seen["query"] == {"a": "1", "b": "true"}
    assert (seen["headers"]["X-Job-Id"], seen["headers"]["X-Job-Attempt"]) == (str(job.id), "1")
    assert "Idempotency-Key" not in seen["headers"]


@pytest.mark.parametrize(
    ("params", "content_type", "sent"),
    [
        ({"json": {"ä": [1, None]}}, "application/json", '{"\\u00e4": [1, null]}'),
        ({"body": "grüß"}, "text/plain; charset=utf-8", "grüß"),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, "text/xml", "<a/>"),
    ],
)
def test_a_body_is_sent_with_its_type(call, params, content_type, sent):
    seen = call("/echo", method="PUT", **params).result["json"]
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert (headers["content-type"], seen["body"]) == (content_type, sent)


def test_a_post_carries_one_idempotency_key_over_all_its_attempts(call, again, site):
    job = call("/flaky?key=keyed", method="POST", json={})
    assert (job.state, job.error["code"]) == ("scheduled", "http_status")
    assert again(job).state == "succeeded"
    calls = site.calls("/flaky")
    assert [made["idempotency_key"] for made in calls] == [str(job.id)] * 2
    assert [made["job_attempt"] for made in calls] == ["1", "2"]


def test_a_key_that_the_job_brings_is_kept(call, again, site):
    headers = {"idempotency-key": "order-7"}
    job = call("/flaky?key=own", method="POST", headers=headers, send_idempotency_key=False)
    again(job)
    assert [made["idempotency_key"] for made in site.calls("/flaky")] == ["order-7", "order-7"]


@pytest.mark.parametrize(
    ("path", "params"),
    [("/status/503", {}), ("/reset", {}), ("/slow?ms=3000", {"timeout_s": 0.3})],
    ids=["server error", "reset", "time-out"],
)
def test_an_unkeyed_post_with_an_unknown_outcome_is_parked_until_a_person_decides(
    app_id, call, drain, site, path, params
):
    job = call(path, method="POST", send_idempotency_key=False, **params)
    assert (job.state, job.error["code"], job.attempt) == ("parked", "outcome_unknown", 1)
    name = urlsplit(path).path
    assert len(site.calls(name)) == 1
    with transaction() as session:
        queue.retry(session, app_id, job.id)
    drain()
    assert len(site.calls(name)) == 2


def test_an_unkeyed_post_may_be_repeated_when_the_job_says_so(call, again, site):
    job = call("/flaky?key=unsafe", method="POST", send_idempotency_key=False, retry_unsafe=True)
    assert job.state == "scheduled"
    assert again(job).state == "succeeded"


def test_an_unkeyed_post_that_was_plainly_refused_may_be_sent_again(call, again, site):
    job = call("/flaky?key=busy&status=429", method="POST", send_idempotency_key=False)
    assert job.state == "scheduled"
    assert again(job).state == "succeeded"
    assert len(site.calls("/flaky")) == 2


def test_an_unkeyed_post_whose_worker_died_while_sending_is_parked_and_not_sent(app_id, site, drain):
    params = {"url": f"{site.url}/echo", "method": "POST", "send_idempotency_key": False}
    job = enqueue(app_id, "http.request", params)
    with transaction() as session:
        session.get(Job, job).checkpoint = {"sending": True}
    drain()
    assert (job_row(job).state, job_row(job).error["code"]) == ("parked", "outcome_unknown")
    assert site.calls("/echo") == []
    with transaction() as session:
        queue.retry(session, app_id, job)
    drain()
    assert job_row(job).state == "succeeded"


@pytest.mark.parametrize(("method", "state"), [("GET", "failed"), ("PUT", "parked"), ("POST", "parked")])
def test_with_its_attempts_spent_an_unknown_outcome_is_not_called_a_failure(call, method, state):
    job = call("/reset", max_attempts=1, method=method)
    assert job.state == state
    assert job.error["code"] == ("no_answer" if state == "failed" else "outcome_unknown")


def test_a_cancelled_job_that_may_have_acted_is_parked(app_id, call):
    job = call("/reset", method="POST")
    assert job.state == "scheduled"
    with transaction() as session:
        queue.cancel(session, app_id, job.id)
    assert job_row(job.id).state == "parked"


def test_a_cancelled_job_that_cannot_have_acted_is_cancelled(app_id, call):
    job = call("/status/429", method="POST", send_idempotency_key=False)
    with transaction() as session:
        queue.cancel(session, app_id, job.id)
    assert job_row(job.id).state == "cancelled"


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410, 422, 501])
def test_a_final_status_fails_at_once_and_shows_the_answer(call, status):
    job = call(f"/status/{status}")
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 1, "http_status")
    assert job.error["details"]["status"] == status
    assert str(status) in job.error["details"]["body"]


@pytest.mark.parametrize(
    ("path", "params", "least", "most"),
    [
        ("/status/503", {}, 3, 7),
        ("/status/429", {}, 58, 61),
        ("/retry-after?s=300", {}, 298, 301),
        ("/retry-after?s=300&status=503", {}, 298, 301),
        ("/retry-after?s=999999", {}, 21_590, 21_601),
        ("/retry-after?s=junk&status=503", {}, 3, 7),
        ("/slow?ms=3000", {"timeout_s": 0.3}, 58, 61),
        ("/drip?bytes=60&ms=100", {"timeout_s": 0.5}, 58, 61),
        ("/reset", {}, 3, 7),
    ],
)
def test_the_next_attempt_waits_as_planned_or_as_long_as_the_server_asks(call, path, params, least, most):
    job = call(path, **params)
    assert job.state == "scheduled"
    assert timedelta(seconds=least) <= wait_of(job) <= timedelta(seconds=most)


def test_the_waits_grow_threefold_up_to_an_hour():
    planned = [BACKOFF.planned(attempt).total_seconds() for attempt in range(1, 8)]
    assert planned == [5, 15, 45, 135, 405, 1215, 3600]


def test_blocked_and_refused_read_the_same_and_name_no_address(call, app_id, site, drain):
    closed = urlsplit(site.url).port
    jobs = [
        enqueue(app_id, "http.request", {"url": url})
        for url in ("http://10.0.0.1/", "http://[::ffff:169.254.169.254]/", f"http://localhost:{closed + 1}/")
    ]
    drain()
    rows = [job_row(job) for job in jobs]
    assert [(row.state, row.attempt, row.error["code"]) for row in rows] == [("failed", 1, "egress_blocked")] * 3
    refused = call_refused(app_id, drain)
    assert (refused.state, refused.error["code"]) == ("scheduled", "unreachable")
    assert {row.error["message"] for row in (*rows, refused)} == {"the server could not be reached"}
    assert not any("details" in row.error for row in (*rows, refused))


def call_refused(app_id, drain):
    """A job for an address that is open to jobs, and where nobody listens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGRESS_ALLOW_CIDRS", "127.0.0.1/32:1")
        get_settings.cache_clear()
        job = enqueue(app_id, "http.request", {"url": "http://127.0.0.1:1/"})
        drain()
    get_settings.cache_clear()
    return job_row(job)


@pytest.mark.parametrize(("path", "whole"), [("/bytes/200000", True), ("/bytes/3000000", False), ("/gzip-bomb", False)])
def test_a_large_answer_is_cut_and_still_fits_into_the_row(call, path, whole):
    job = call(path)
    assert job.state == "succeeded", job.error
    assert job.result["truncated"]
    assert (job.result["sha256"] is not None) is whole
    assert job.result["bytes"] < 1_200_000


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"url": "ftp://host/"},
        {"url": "http://user:password@host/"},
        {"url": "http://host/\r\nX: 1"},
        {"url": "http://host/" + "a" * 9_000},
        {"url": "http://host/", "query": {"q": "a" * 9_000}},
        {"url": "http://host/", "method": "TRACE"},
        {"url": "http://host/", "method": "get"},
        {"url": "http://host/", "headers": {"Authorization": "Bearer x"}},
        {"url": "http://host/", "headers": {"X-Note": "a\r\nX: 1"}},
        {"url": "http://host/", "headers": {f"X-{number}": "" for number in range(60)}},
        {"url": "http://host/", "method": "POST", "json": {}, "body": ""},
        {"url": "http://host/", "json": {}},
        {"url": "http://host/", "method": "HEAD", "body": ""},
        {"url": "http://host/", "timeout_s": 0},
        {"url": "http://host/", "timeout_s": 601},
        {"url": "http://host/", "timeout_s": float("nan")},
        {"url": "http://host/", "query": {"q": {}}},
        {"url": "http://host/", "connection": "crm"},
        {"url": "http://host/", "json_body": {}},
    ],
    ids=lambda params: repr(params)[:70],
)
def test_params_that_make_no_honest_request_are_refused(params):
    with pytest.raises(ValidationError):
        Params.model_validate(params)


def test_params_survive_being_written_down_and_read_again():
    params = Params.model_validate({"url": "http://host/?a=1#top", "method": "POST", "json": [1], "query": {"b": 2.5}})
    assert Params.model_validate(params.model_dump(mode="json")) == params
    assert params.full_url() == "http://host/?a=1&b=2.5"
