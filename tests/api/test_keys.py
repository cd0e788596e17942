"""`/v1/keys` and `/v1/apps`: operators make, list and revoke the keys of every app."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.callers import caller
from workers.keys import APP_SCOPES, env_of

WANTED: dict[str, Any] = {"app": "carol", "name": "first", "scopes": ["jobs:read"]}


@pytest.fixture
def admin(client: FlaskClient) -> FlaskClient:
    return caller(client, "operators", "keys:admin")


def created(admin: FlaskClient, **fields: Any) -> dict[str, Any]:
    response = admin.post("/v1/keys", json={**WANTED, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json
    return made


def test_a_new_key_is_shown_once_and_works(admin: FlaskClient) -> None:
    response = admin.post("/v1/keys", json=WANTED)
    made = response.json
    assert env_of(made["key"]) == "test"
    assert (made["prefix"], made["last4"]) == ("mst_test_", made["key"][-4:])
    assert response.headers["Location"] == f"/v1/keys/{made['id']}"
    assert response.headers["Cache-Control"] == "no-store"
    shown = admin.get(response.headers["Location"])
    assert made["key"] not in shown.text
    assert shown.json == {name: value for name, value in made.items() if name != "key"}
    assert admin.get("/v1/jobs", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200


def test_an_app_begins_with_its_first_key_and_may_have_more(admin: FlaskClient) -> None:
    created(admin)
    created(admin, name="its successor")
    names = [app["name"] for app in admin.get("/v1/apps").json["items"]]
    assert names.count("carol") == 1
    assert [item["name"] for item in admin.get("/v1/keys?app=carol").json["items"]] == ["first", "its successor"]


def test_a_wildcard_stands_for_every_scope_of_its_subject(admin: FlaskClient) -> None:
    assert created(admin, scopes=["files:*", "jobs:read"])["scopes"] == ["jobs:read", "files:read", "files:write"]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"app": "Not A Name"}, "/app", "string_pattern_mismatch"),
        ({"app": "carol\n"}, "/app", "string_pattern_mismatch"),
        ({"scopes": []}, "/scopes", "too_short"),
        ({"scopes": ["jobs:fly"]}, "/scopes/0", "unknown_scope"),
        ({"scopes": ["*"]}, "/scopes/0", "unknown_scope"),
        ({"scopes": ["*:*"]}, "/scopes/0", "unknown_scope"),
        ({"cidrs": ["192.0.2.1/24"]}, "/cidrs/0", "network"),
        ({"cidrs": ["everywhere"]}, "/cidrs/0", "network"),
        ({"kinds": []}, "/kinds", "too_short"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "/expires_at", "past"),
        ({"expires_at": "2030-01-01"}, "/expires_at", "timestamp"),
        ({"more": 1}, "/more", "extra_forbidden"),
    ],
)
def test_a_key_that_cannot_be_is_refused(admin: FlaskClient, fields: dict[str, Any], pointer: str, code: str) -> None:
    response = admin.post("/v1/keys", json={**WANTED, **fields})
    assert response.status_code == 422
    assert {"pointer": pointer, "code": code}.items() <= response.json["errors"][0].items()


def test_a_key_limited_to_kinds_submits_no_others(admin: FlaskClient) -> None:
    secret = created(admin, scopes=["jobs:*"], kinds=["http.request"])["key"]
    job = {"kind": "text.count", "params": {"text": "one"}}
    response = admin.post("/v1/jobs", json=job, headers={"Authorization": f"Bearer {secret}"})
    assert (response.status_code, response.json["code"]) == (403, "kind_not_allowed")


def test_revoking_is_final_and_may_be_repeated(admin: FlaskClient) -> None:
    made = created(admin)
    assert admin.delete(f"/v1/keys/{made['id']}").status_code == 204
    revoked_at = admin.get(f"/v1/keys/{made['id']}").json["revoked_at"]
    assert admin.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert admin.get(f"/v1/keys/{made['id']}").json["revoked_at"] == revoked_at is not None


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_key_that_never_was_is_not_found(admin: FlaskClient, method: str) -> None:
    assert admin.open("/v1/keys/0199a2b0-0000-7000-8000-000000000000", method=method).status_code == 404


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/apps"])
def test_pages_lead_through_all_of_a_list_once(admin: FlaskClient, path: str) -> None:
    for number in range(5):
        created(admin, app=f"app-{number}")
    whole = [item["id"] for item in admin.get(path).json["items"]]
    found, cursor = [], ""
    while cursor is not None:
        page = admin.get(f"{path}?limit=2{cursor and f'&cursor={cursor}'}").json
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == whole
    assert len(whole) >= 6


def test_a_cursor_fits_its_own_filter_only(admin: FlaskClient) -> None:
    created(admin)
    created(admin)
    cursor = admin.get("/v1/keys?app=carol&limit=1").json["next_cursor"]
    assert admin.get(f"/v1/keys?app=carol&cursor={cursor}").status_code == 200
    for wrong in (f"cursor={cursor}", f"app=dave&cursor={cursor}", "cursor=W10", "cursor=%C3%A9", "cursor=bnVsbA"):
        response = admin.get(f"/v1/keys?{wrong}")
        assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")


def test_an_apps_key_has_nothing_to_do_here(client: FlaskClient) -> None:
    app = caller(client, "carol", *APP_SCOPES)
    for method, path in [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/apps")]:
        assert app.open(path, method=method).status_code == 403
