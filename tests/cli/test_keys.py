"""`mainstay keys` and `mainstay apps`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from models.session import transaction
from tests.cli.conftest import Run
from workers import keys


def test_a_key_for_an_app_is_printed_alone_and_works(client: FlaskClient, run: Run) -> None:
    made = run("keys", "create", "--app", "bob", "--all-app-scopes")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    assert keys.env_of(secret) == "test"
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert client.get("/v1/keys", headers={"Authorization": f"Bearer {secret}"}).status_code == 403


def test_an_operators_key_may_make_keys(client: FlaskClient, run: Run) -> None:
    secret = run("keys", "create", "--app", "operators", "--operator").stdout.strip()
    assert client.get("/v1/keys", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == 403


def test_json_says_all_about_a_key(database: None, run: Run) -> None:
    made = run("keys", "create", "--app", "bob", "--name", "n", "--scope", "jobs:*", "--scope", "files:read",
               "--kind", "text.count", "--expires-in", "12h", "--json")  # fmt: skip
    shown = json.loads(made.stdout)
    assert (shown["app"], shown["name"], shown["kinds"]) == ("bob", "n", ["text.count"])
    assert shown["scopes"] == ["jobs:read", "jobs:write", "files:read"]
    assert keys.env_of(shown["key"]) == "test"
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left <= timedelta(hours=12)


@pytest.mark.parametrize(
    "words",
    [
        ("--app", "bob"),
        ("--app", "Bob!", "--operator"),
        ("--app", "bob", "--scope", "jobs:fly"),
        ("--app", "bob", "--operator", "--expires-in", "soon"),
        ("--operator",),
    ],
)
def test_wrong_usage_makes_no_key_and_exits_with_2(database: None, run: Run, words: tuple[str, ...]) -> None:
    assert run("keys", "create", *words).exit_code == 2
    with transaction() as session:
        assert keys.page(session, None, None, 10) == []


def test_keys_are_listed_without_their_secrets(database: None, run: Run) -> None:
    secret = run("keys", "create", "--app", "bob", "--operator").stdout.strip()
    run("keys", "create", "--app", "carol", "--operator")
    (line,) = run("keys", "list", "--app", "bob").stdout.splitlines()
    assert line.split("\t")[1:4] == ["bob", "made on the command line", secret[-4:]]
    rows = json.loads(run("keys", "list", "--json").stdout)
    assert [row["app"] for row in rows] == ["bob", "carol"]
    assert secret not in json.dumps(rows)
    assert [app["name"] for app in json.loads(run("apps", "list", "--json").stdout)] == ["bob", "carol"]
    assert [line.split("\t")[1] for line in run("apps", "list").stdout.splitlines()] == ["bob", "carol"]


def test_a_key_can_be_revoked_and_one_that_never_was_exits_with_3(database: None, run: Run) -> None:
    run("keys", "create", "--app", "bob", "--operator")
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert run("keys", "revoke", row["id"]).exit_code == 0
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert row["revoked_at"] is not None
    assert run("keys", "revoke", "0199a2b0-0000-7000-8000-000000000000").exit_code == 3
    assert run("keys", "revoke", "no-id").exit_code == 2


def test_on_a_terminal_rows_become_a_table(database: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("keys", "create", "--app", "bob", "--operator")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    table = run("apps", "list").stdout
    assert "bob" in table
    assert "┃" in table
