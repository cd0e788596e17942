"""GET /v1/jobs/{id}/events: pages, and a stream that resumes and knows when it is over."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.jobs import events
from tests.api.conftest import Submit
from tests.api.outage import POSTGRES, surroundings

STREAM = {"Accept": "text/event-stream"}


def frames(stream: Iterator[Any]) -> Iterator[dict[str, str]]:
    """The events of a stream as an EventSource reads them; comments and `retry` are nothing to it."""
    event: dict[str, str] = {}
    for line in (line for chunk in stream for line in bytes(chunk).decode().splitlines()):
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "id" in event:
            yield event
            event = {}
        else:
            event = {}


def test_events_come_in_pages(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    address = f"/v1/jobs/{submit()['id']}/events"
    drain()
    whole = client.get(address).get_json()
    assert [(event["seq"], event["type"]) for event in whole["items"]] == [
        (1, "created"), (2, "attempt_started"), (3, "attempt_finished"),
    ]  # fmt: skip
    first = client.get(f"{address}?limit=2").get_json()
    rest = client.get(f"{address}?limit=2&after={first['next_cursor']}").get_json()
    assert first["items"] + rest["items"] == whole["items"]
    assert (first["next_cursor"], rest["next_cursor"], whole["next_cursor"]) == ("2", None, None)


def test_a_stream_tells_what_a_page_tells_and_ends_with_the_job(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    address = f"/v1/jobs/{submit('test.fail')['id']}/events"
    drain()
    response = client.get(address, headers=STREAM)
    assert response.mimetype == "text/event-stream"
    told = list(frames(response.iter_encoded()))
    assert [json.loads(frame["data"]) for frame in told] == client.get(address).get_json()["items"]
    assert [(frame["id"], frame["event"]) for frame in told][-1] == ("3", "attempt_finished")


def test_a_stream_goes_on_while_the_job_does(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    response = client.get(f"/v1/jobs/{submit()['id']}/events", headers=STREAM, buffered=False)
    told = frames(response.iter_encoded())
    assert next(told)["event"] == "created"
    drain()
    assert [frame["event"] for frame in told] == ["attempt_started", "attempt_finished"]


def test_a_stream_resumes_behind_the_last_event_that_arrived(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    address = f"/v1/jobs/{submit()['id']}/events"
    drain()
    resumed = client.get(f"{address}?after=1", headers=STREAM | {"Last-Event-ID": "2"})
    assert [frame["id"] for frame in frames(resumed.iter_encoded())] == ["3"]
    over = client.get(address, headers=STREAM | {"Last-Event-ID": "3"})
    assert (over.status_code, over.data) == (204, b"")


def test_a_stream_of_a_job_that_is_retried_begins_again(
    client: FlaskClient, submit: Submit, drain: Callable[[], int]
) -> None:
    address = f"/v1/jobs/{submit('test.fail')['id']}"
    drain()
    client.post(f"{address}/retry")
    drain()
    told = frames(client.get(f"{address}/events", headers=STREAM | {"Last-Event-ID": "3"}).iter_encoded())
    assert [frame["event"] for frame in told] == ["retried", "attempt_started", "attempt_finished"]


def test_a_quiet_stream_is_kept_open(client: FlaskClient, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0)
    response = client.get(f"/v1/jobs/{submit()['id']}/events", headers=STREAM | {"Last-Event-ID": "1"}, buffered=False)
    stream = response.iter_encoded()
    assert next(stream) == b"retry: 1000\n\n"
    assert next(stream).startswith(b":")
    response.close()


def test_a_stream_does_not_outlive_its_time(
    client: FlaskClient, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LONGEST_STREAM_S", 0)
    assert client.get(f"/v1/jobs/{submit()['id']}/events", headers=STREAM).data == b"retry: 1000\n\n"


def test_a_stream_ends_when_postgres_goes_away(client: FlaskClient, submit: Submit) -> None:
    response = client.get(f"/v1/jobs/{submit()['id']}/events", headers=STREAM, buffered=False)
    told = frames(response.iter_encoded())
    assert next(told)["event"] == "created"
    with surroundings(**POSTGRES):
        assert list(told) == []


def test_the_stream_of_a_job_that_does_not_exist_is_not_found(client: FlaskClient) -> None:
    response = client.get("/v1/jobs/0199f0a0-0000-7000-8000-000000000000/events", headers=STREAM)
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30, "٣"])
def test_a_made_up_last_event_id_is_refused(client: FlaskClient, submit: Submit, given: str) -> None:
    headers = STREAM | {"Last-Event-ID": given.encode().decode("latin-1")}
    assert client.get(f"/v1/jobs/{submit()['id']}/events", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("text/event-stream;q=0.4, application/json", "application/json"),
        ("text/html", "application/problem+json"),
    ],
)
def test_the_client_chooses_between_page_and_stream(
    client: FlaskClient, submit: Submit, accept: str | None, mimetype: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    response = client.get(f"/v1/jobs/{submit()['id']}/events", headers=headers)
    assert response.mimetype == mimetype
    assert response.status_code == (406 if mimetype.startswith("application/problem") else 200)


@pytest.mark.parametrize("query", ["after=-1", "after=x", f"after={2**31}", "limit=0", "limit=201", "from=1"])
def test_a_page_that_cannot_be_is_refused(client: FlaskClient, submit: Submit, query: str) -> None:
    assert client.get(f"/v1/jobs/{submit()['id']}/events?{query}").status_code == 422
