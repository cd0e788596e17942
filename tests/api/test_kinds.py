"""The catalogue of kinds."""

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from tasks.discovery import handlers


def test_every_kind_is_listed_with_a_valid_schema(client: FlaskClient) -> None:
    catalogue = client.get("/v1/kinds").json
    assert [item["kind"] for item in catalogue["items"]] == sorted(handlers())
    assert catalogue["next_cursor"] is None
    for item in catalogue["items"]:
        Draft202012Validator.check_schema(item["params"])
        assert item["description"]


def test_a_kind_shows_its_defaults_and_limits(client: FlaskClient) -> None:
    shown = client.get("/v1/kinds/text.count").json
    assert shown.pop("params")["properties"]["text"]["maxLength"] == 100_000
    assert shown == {
        "kind": "text.count",
        "description": handlers()["text.count"].description,
        "queue": "default",
        "max_attempts": 5,
        "timeout_s": 300.0,
        "backoff": {"base_s": 2.0, "factor": 2.0, "cap_s": 3600.0, "jitter": None},
        "idempotency_required": False,
    }


def test_an_unknown_kind_is_not_found(client: FlaskClient) -> None:
    assert client.get("/v1/kinds/no.such").status_code == 404
