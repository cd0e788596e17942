"""`mainstay db`: move the database's tables between releases."""

from pathlib import Path

import click
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

MIGRATIONS = Path(__file__).parent.parent / "migrations"


@click.group()
def db() -> None:
    """Move the database's tables between releases."""


@db.command()
@click.argument("revision", default="head")
def upgrade(revision: str) -> None:
    """Bring the tables to REVISION, by default this release's."""
    try:
        command.upgrade(_config(), revision)
    except CommandError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"the tables are at {revision}", err=True)


@db.command()
@click.argument("revision")
@click.confirmation_option(prompt="A downgrade can drop data. Go on?")
def downgrade(revision: str) -> None:
    """Take the tables back to REVISION; `base` removes them all."""
    try:
        command.downgrade(_config(), revision)
    except CommandError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"the tables are at {revision}", err=True)


@db.command()
def current() -> None:
    """Say which revision the tables are at."""
    command.current(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
