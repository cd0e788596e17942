"""`mainstay apps`: see the tenants."""

from typing import Any

import click

from cli.table import show_json, show_rows
from models.session import transaction
from workers import keys as verbs

_PAGE = 200


@click.group()
def apps() -> None:
    """See the apps that own keys and jobs."""


@apps.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_apps(as_json: bool) -> None:
    """List apps, the oldest first."""
    rows: list[dict[str, Any]] = []
    with transaction() as session:
        while page := verbs.apps(session, rows[-1]["id"] if rows else None, _PAGE):
            rows += [{"id": app.id, "name": app.name, "created_at": app.created_at} for app in page]
    if as_json:
        show_json(rows)
    else:
        show_rows(rows, ("id", "name", "created_at"))
