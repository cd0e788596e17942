"""GET /v1/jobs: filters, and pages whose cursors fit one filter of one app."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from tasks import Context
from tests.api.callers import caller
from tests.api.conftest import Submit


def listed(client: FlaskClient, query: str = "") -> list[str]:
    response = client.get(f"/v1/jobs?{query}")
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.get_json()["items"]]


def test_an_app_sees_its_own_jobs_the_newest_first(client: FlaskClient, submit: Submit) -> None:
    jobs = [submit() for _ in range(3)]
    page = client.get("/v1/jobs")
    assert page.get_json() == {"items": jobs[::-1], "next_cursor": None}
    assert "Link" not in page.headers
    assert listed(caller(client, "stranger")) == []


def test_each_filter_narrows_the_list(client: FlaskClient, submit: Submit, drain: Callable[[], int]) -> None:
    done, failed = submit(labels={"order": "42", "shop": "x"}), submit("test.fail", labels={"order": "42"})
    drain()
    later, cancelled = submit(queue="data", delay_s=60), submit()
    client.post(f"/v1/jobs/{cancelled['id']}/cancel")
    expected = {
        "state=succeeded": [done],
        "state=failed&state=cancelled": [cancelled, failed],
        "kind=test.fail": [failed],
        "kind=no.such": [],
        "queue=data": [later],
        "label.order=42": [failed, done],
        "label.order=42&label.shop=x": [done],
        "label.order=43": [],
        "error=no_such_day": [failed],
        "state=succeeded&kind=test.fail": [],
        f"created_from={quote(later['created_at'])}": [cancelled, later],
        f"created_to={quote(later['created_at'])}": [failed, done],
        "created_from=2020-01-01T00:00:00%2B02:00&created_to=2020-01-02T00:00:00Z": [],
    }
    assert {query: listed(client, query) for query in expected} == {
        query: [job["id"] for job in jobs] for query, jobs in expected.items()
    }


def test_the_children_of_a_job_are_found_by_it(
    client: FlaskClient, submit: Submit, drain: Callable[[], int], declare: Callable[..., None]
) -> None:
    def perform(params: object, context: Context) -> dict[str, str]:
        return {"child": str(context.enqueue("test.succeed", {"day": "2026-01-31"}))}

    declare("test.parent", perform)
    parent = submit("test.parent")
    drain()
    child = client.get(f"/v1/jobs/{parent['id']}").get_json()["result"]["child"]
    assert listed(client, f"parent_id={parent['id']}") == [child]
    assert client.get(f"/v1/jobs/{child}").get_json()["parent_id"] == parent["id"]
    assert parent["parent_id"] is None


@pytest.mark.parametrize("odd", ["'", '"', "%", "\\", "💡", "a.b", "{}", "'; DROP TABLE jobs; --", "", " ", "a&b=c"])
def test_odd_characters_in_a_label_filter_mean_themselves(client: FlaskClient, submit: Submit, odd: str) -> None:
    job = submit(labels={"a": odd})
    submit(labels={"a": odd + "x"})
    assert listed(client, f"label.a={quote(odd)}") == [job["id"]]
    assert listed(client, f"label.{quote(odd)}=a") == []


def test_pages_follow_each_other_without_gaps_while_jobs_arrive(client: FlaskClient, submit: Submit) -> None:
    jobs = [submit(labels={"n": "1"})["id"] for _ in range(5)]
    found, address = [], "/v1/jobs?label.n=1&limit=2"
    while address:
        page = client.get(address)
        found.append([job["id"] for job in page.get_json()["items"]])
        submit(labels={"n": "1"})
        link = page.headers.get("Link", "")
        assert bool(link) == (page.get_json()["next_cursor"] is not None)
        address = link.removeprefix("<").removesuffix('>; rel="next"')
    assert found == [jobs[:2:-1], jobs[2:0:-1], jobs[:1]]


def test_a_cursor_fits_its_own_filter_only(client: FlaskClient, submit: Submit) -> None:
    for _ in range(2):
        submit()
    query = "limit=1&state=ready&state=failed&kind=test.succeed"
    cursor = client.get(f"/v1/jobs?{query}").get_json()["next_cursor"]
    reordered = "limit=9&kind=test.succeed&state=failed&state=ready&state=ready"
    assert len(listed(client, f"{reordered}&cursor={cursor}")) == 1
    for other in ("", "state=ready", query + "&label.a=b"):
        refusal = client.get(f"/v1/jobs?{other}&cursor={cursor}")
        assert (refusal.status_code, refusal.get_json()["code"]) == (400, "invalid_cursor")
    assert caller(client, "stranger").get(f"/v1/jobs?{query}&cursor={cursor}").status_code == 400


@pytest.mark.parametrize("cursor", ["", "x", "====", "💡", "A" * 43, "A" * 200])
def test_a_made_up_cursor_is_refused(client: FlaskClient, cursor: str) -> None:
    refusal = client.get(f"/v1/jobs?cursor={quote(cursor)}")
    assert (refusal.status_code, refusal.get_json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=ready", "/status"),
        ("state=done", "/state/0"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=ten", "/limit"),
        ("kind=a&kind=b", "/kind"),
        ("label.a=1&label.a=2", "/label.a"),
        ("labels=a", "/labels"),
        ("created_from=yesterday", "/created_from"),
        ("parent_id=7", "/parent_id"),
        ("created_to=2020-01-01", "/created_to"),
        ("created_to=9999-12-31T23:59:59Z", "/created_to"),
    ],
)
def test_a_query_that_means_nothing_is_refused(client: FlaskClient, query: str, pointer: str) -> None:
    refusal = client.get(f"/v1/jobs?{query}")
    assert refusal.status_code == 422
    assert [error["pointer"] for error in refusal.get_json()["errors"]] == [pointer]


@pytest.mark.parametrize("query", ["kind=%00", "label.a=%00", "label.%00=a", "error=%00"])
def test_nul_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/v1/jobs?{query}").status_code == 400
