"""`mainstay keys`: make, list and revoke API keys."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from cli.table import show_json, show_rows
from models import ApiKey
from models.session import transaction
from workers import keys as verbs

_SPAN = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHOWN = (
    "id", "app", "name", "prefix", "last4", "scopes", "kinds", "cidrs", "created_at", "expires_at", "revoked_at",
    "last_used_at",
)  # fmt: skip
_PAGE = 200


class Span(click.ParamType[timedelta]):
    """A span of time such as 90d, 12h or 30m."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read the text the user gave."""
        if isinstance(value, timedelta):
            return value
        found = _SPAN.fullmatch(value)
        if found is None:
            self.fail("write a number and s, m, h or d, such as 90d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.option("--app", required=True, help="The app's name; one that does not exist yet is created.")
@click.option("--name", default="made on the command line", show_default=True, help="For people.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="What the key may do; repeat it. files:* is every scope of files.",
)
@click.option("--all-app-scopes", is_flag=True, help="Every scope that concerns the app's own things.")
@click.option("--operator", is_flag=True, help="The scopes of an operator: " + ", ".join(verbs.OPERATOR_SCOPES) + ".")
@click.option("--kind", "kinds", multiple=True, help="The only kinds it may submit; repeat it.")
@click.option("--expires-in", type=Span(), help="Such as 90d; for ever when left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(  # noqa: PLR0913  # Click hands over one argument per option
    app: str,
    name: str,
    scopes: tuple[str, ...],
    all_app_scopes: bool,
    operator: bool,
    kinds: tuple[str, ...],
    expires_in: timedelta | None,
    as_json: bool,
) -> None:
    """Make a key and print it: this is the only time it is shown."""
    if re.fullmatch(verbs.APP_NAME, app) is None:
        raise click.BadParameter("use lower-case letters, digits, dots, dashes and underscores", param_hint="--app")
    wanted = [
        *scopes,
        *(verbs.APP_SCOPES if all_app_scopes else ()),
        *(verbs.OPERATOR_SCOPES if operator else ()),
    ]
    if not wanted:
        raise click.UsageError("say what the key may do: --scope, --all-app-scopes or --operator")
    expires_at = None if expires_in is None else datetime.now(UTC) + expires_in
    with transaction() as session:
        try:
            made = verbs.create(session, app, name, wanted, kinds=kinds or None, expires_at=expires_at)
        except verbs.UnknownScope as error:
            raise click.BadParameter(f"{error} is not one of {', '.join(verbs.SCOPES)}", param_hint="--scope") from None
    if as_json:
        show_json({"key": made.secret, **_shown(made.row, made.app)})
    else:
        click.echo(made.secret)
        click.echo(f"key {made.row.id} of app {made.app}; it is not shown again", err=True)


@keys.command("list")
@click.option("--app", help="Only this app's keys.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(app: str | None, as_json: bool) -> None:
    """List keys, the oldest first, revoked ones included."""
    rows: list[dict[str, Any]] = []
    with transaction() as session:
        while page := verbs.page(session, app, rows[-1]["id"] if rows else None, _PAGE):
            rows += [_shown(row, name) for row, name in page]
    if as_json:
        show_json(rows)
    else:
        show_rows(
            rows,
            (
                "id",
                "app",
                "name",
                "last4",
                "scopes",
                "created_at",
                "expires_at",
                "revoked_at",
                "last_used_at",
            ),
        )


@keys.command()
@click.argument("key_id", type=click.UUID)
@click.pass_context
def revoke(ctx: click.Context, key_id: UUID) -> None:
    """Revoke a key for good. API processes stop accepting it within 5 seconds."""
    try:
        with transaction() as session:
            verbs.revoke(session, key_id)
    except verbs.KeyNotFound:
        click.echo(f"there is no key {key_id}", err=True)
        ctx.exit(3)
    click.echo(f"revoked {key_id}", err=True)


def _shown(row: ApiKey, app: str) -> dict[str, Any]:
    return {name: app if name == "app" else getattr(row, name) for name in _SHOWN}
