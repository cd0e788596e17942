"""Keys: who gets in, who does not, and how soon a key that was revoked stops working."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, update

from api import create_app
from api.edge import auth
from models import ApiKey
from models.session import engine, transaction
from settings import get_settings
from tests.api.outage import POSTGRES, surroundings
from workers import keys

SOMEWHERE = "/v1/kinds"  # asks no database for its answer


@pytest.fixture
def key(client: FlaskClient) -> keys.NewKey:
    with transaction() as session:
        return keys.create(session, "bob", "a test's", ["jobs:read"])


@pytest.fixture
def get(client: FlaskClient) -> Callable[[str], tuple[int, str]]:
    """Present a key; returns the answer's status and, of a refusal, the code."""

    def get(secret: str, path: str = SOMEWHERE) -> tuple[int, str]:
        response = client.get(path, headers={"Authorization": f"Bearer {secret}"})
        return response.status_code, response.json.get("code", "")

    return get


def change(key: keys.NewKey, **values: object) -> None:
    with transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key.row.id).values(values))


@settings(deadline=None)  # other processes share this machine
@given(position=st.integers(0, 46), letter=st.sampled_from("0aZ_-é"))
def test_no_single_typo_passes_the_checksum(position: int, letter: str) -> None:
    secret = keys.written("test")
    typo = secret[:position] + letter + secret[position + 1 :]
    assert keys.env_of(secret) == "test"
    assert typo == secret or keys.env_of(typo) in (None, "")


@pytest.mark.parametrize("swapped", range(9, 45, 7))
def test_two_letters_swapped_do_not_pass_the_checksum(swapped: int) -> None:
    secret = keys.written("test")
    typo = secret[:swapped] + secret[swapped + 1] + secret[swapped] + secret[swapped + 2 :]
    assert typo == secret or keys.env_of(typo) is None


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "missing_key"),
        ("", "missing_key"),
        ("Bearer", "missing_key"),
        ("Bearer ", "missing_key"),
        ("Basic bXN0Og==", "missing_key"),
        ("Bearer mst_test_short", "malformed_key"),
        ("Bearer " + "x" * 8000, "malformed_key"),
        ("Bearer mst_test_" + "0" * 38, "malformed_key"),
        ("Bearer mst_live_" + "0" * 32 + "3Xadbu", "foreign_key"),
    ],
)
def test_what_is_no_key_is_refused_before_any_query(client: FlaskClient, authorization: str | None, code: str) -> None:
    del client.environ_base["HTTP_AUTHORIZATION"]
    with surroundings(**POSTGRES):
        response = client.get(SOMEWHERE, headers={} if authorization is None else {"Authorization": authorization})
    assert (response.status_code, response.json["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_scheme_may_be_written_in_any_case(client: FlaskClient, key: keys.NewKey) -> None:
    assert client.get(SOMEWHERE, headers={"Authorization": f"bearer  {key.secret}"}).status_code == 200


def test_a_well_formed_key_that_was_never_made_is_refused(get: Callable[..., tuple[int, str]]) -> None:
    assert get(keys.written("test")) == (401, "unknown_key")


def test_a_key_opens_what_its_scopes_name_and_nothing_else(
    get: Callable[..., tuple[int, str]], key: keys.NewKey
) -> None:
    assert get(key.secret) == (200, "")
    assert get(key.secret, "/v1/keys") == (403, "missing_scope")


def test_nothing_is_read_of_a_request_whose_key_is_refused(client: FlaskClient, key: keys.NewKey) -> None:
    headers = {"Authorization": f"Bearer {key.secret}"}
    response = client.post("/v1/jobs", data=b"{", content_type="text/plain", headers=headers)
    assert (response.status_code, response.json["code"]) == (403, "missing_scope")


def test_an_expired_key_is_refused_even_where_it_is_remembered(
    get: Callable[..., tuple[int, str]], key: keys.NewKey
) -> None:
    change(key, expires_at=datetime.now(UTC) + timedelta(milliseconds=400))
    assert get(key.secret) == (200, "")
    until = datetime.now(UTC) + timedelta(seconds=5)
    while (answer := get(key.secret)) == (200, "") and datetime.now(UTC) < until:
        pass
    assert answer == (401, "unknown_key")


def test_a_key_is_bound_to_its_networks(
    client: FlaskClient, get: Callable[..., tuple[int, str]], key: keys.NewKey
) -> None:
    change(key, cidrs=["192.0.2.0/24", "2001:db8::/32"])
    assert get(key.secret) == (403, "network_not_allowed")
    for address, status in [("192.0.2.7", 200), ("198.51.100.7", 403), ("2001:db8::1", 200), ("2001:db9::1", 403)]:
        client.environ_base["REMOTE_ADDR"] = address
        assert get(key.secret)[0] == status


def test_a_known_key_needs_no_query(get: Callable[..., tuple[int, str]], key: keys.NewKey) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    assert get(key.secret) == (200, "")
    event.listen(engine(), "before_cursor_execute", note)
    try:
        assert get(key.secret) == (200, "")
    finally:
        event.remove(engine(), "before_cursor_execute", note)
    assert statements == []


def test_a_revoked_key_stops_at_once_where_it_was_revoked(client: FlaskClient, key: keys.NewKey) -> None:
    with transaction() as session:
        admin = keys.create(session, "operators", "a test's", ["keys:admin"]).secret
    present = {"headers": {"Authorization": f"Bearer {key.secret}"}}
    assert client.get(SOMEWHERE, **present).status_code == 200
    revoked = client.delete(f"/v1/keys/{key.row.id}", headers={"Authorization": f"Bearer {admin}"})
    assert revoked.status_code == 204
    assert client.get(SOMEWHERE, **present).status_code == 401


def test_a_key_revoked_elsewhere_stops_when_the_memory_of_it_ends(
    get: Callable[..., tuple[int, str]], key: keys.NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert auth.REMEMBERED_SECONDS <= 30
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)
    assert get(key.secret) == (200, "")
    with transaction() as session:
        keys.revoke(session, key.row.id)
    assert get(key.secret) == (401, "unknown_key")


def test_when_a_key_was_used_is_written_once_a_minute(
    get: Callable[..., tuple[int, str]], key: keys.NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)

    def last_used() -> datetime | None:
        with transaction() as session:
            return session.scalar(select(ApiKey.last_used_at).where(ApiKey.id == key.row.id))

    assert last_used() is None
    get(key.secret)
    first = last_used()
    get(key.secret)
    assert first is not None
    assert last_used() == first
    change(key, last_used_at=first - timedelta(seconds=61))
    get(key.secret)
    assert last_used() > first


def test_memory_of_keys_is_bounded(get: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED", 3)
    with transaction() as session:
        secrets = [keys.create(session, "bob", "a test's", ["jobs:read"]).secret for _ in range(5)]
    assert {get(secret)[0] for secret in secrets} == {200}
    assert len(auth._known) <= 3


def test_the_stored_row_opens_nothing(get: Callable[..., tuple[int, str]], key: keys.NewKey) -> None:
    with transaction() as session:
        row = session.get_one(ApiKey, key.row.id)
    assert key.secret.encode() not in row.digest
    assert get(row.digest.hex())[0] == 401
    with surroundings(MAINSTAY_KEY_PEPPER="another pepper altogether"):
        assert get(key.secret) == (401, "unknown_key")
    assert get_settings().env == "test"


def test_every_call_under_v1_needs_a_scope(client: FlaskClient) -> None:
    app = client.application
    open_calls = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/") and not hasattr(app.view_functions[rule.endpoint], "scope")
    }
    assert open_calls == {"/v1/openapi.json"}


def test_a_forwarded_address_counts_only_behind_a_proxy_of_ours(key, monkeypatch):
    change(key, cidrs=["192.0.2.0/24"])
    headers = {"Authorization": f"Bearer {key.secret}", "X-Forwarded-For": "192.0.2.7"}
    for proxies, status in (("0", 403), ("1", 200)):
        monkeypatch.setenv("MAINSTAY_TRUSTED_PROXIES", proxies)
        get_settings.cache_clear()
        assert create_app().test_client().get(SOMEWHERE, headers=headers).status_code == status
    get_settings.cache_clear()
