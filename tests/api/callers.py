"""Clients of other apps, or with other keys, than the `client` fixture's."""

from collections.abc import Iterable

from flask.testing import FlaskClient

from models.session import transaction
from workers import keys


def caller(client: FlaskClient, app: str, *scopes: str, kinds: Iterable[str] | None = None) -> FlaskClient:
    """A client of the same application with a fresh key of `app`, by default for everything about jobs."""
    with transaction() as session:
        key = keys.create(session, app, "a test's", scopes or ("jobs:*",), kinds=kinds)
    other = client.application.test_client()
    other.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key.secret}"
    return other
