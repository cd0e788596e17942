"""`mainstay db`: move the database's tables between releases."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import NullPool, create_engine

from settings import get_settings

MIGRATIONS = Path(__file__).parent.parent / "migrations"


@click.group()
def db() -> None:
    """Move the database's tables between releases."""


@db.command()
@click.argument("revision", default="head")
def upgrade(revision: str) -> None:
    """Bring the tables to REVISION, by default this release's."""
    _migrate(lambda config: command.upgrade(config, revision))
    click.echo(f"the tables are at {revision}", err=True)


@db.command()
@click.argument("revision")
@click.confirmation_option(prompt="A downgrade can drop data. Go on?")
def downgrade(revision: str) -> None:
    """Take the tables back to REVISION; `base` removes them all."""
    _migrate(lambda config: command.downgrade(config, revision))
    click.echo(f"the tables are at {revision}", err=True)


@db.command()
def current() -> None:
    """Say which revision the tables are at."""
    _migrate(command.current)


def _migrate(run: Callable[[Config], None]) -> None:
    config = Config(stdout=sys.stdout)
    config.set_main_option("script_location", str(MIGRATIONS))
    # A connection of its own: a migration may take longer than any statement of the application.
    engine = create_engine(get_settings().database_url.get_secret_value(), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            run(config)
    except CommandError as error:
        raise click.ClickException(str(error)) from None
