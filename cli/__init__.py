"""`mainstay`: operators' verbs. Nouns, then verbs; tables for people, `--json` for programs.

Exit codes: 0 done, 1 failed, 2 wrong usage or environment, 3 not found.
"""

import click
from sqlalchemy.exc import SQLAlchemyError

from cli.apps import apps
from cli.db import db
from cli.keys import keys
from settings import SettingsError


class Mainstay(click.Group):
    """The group of all verbs, which says in one sentence why a verb could not be done."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; what goes wrong on the way becomes a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            click.echo(f"the database said no: {reason}", err=True)
            ctx.exit(1)


@click.group(cls=Mainstay, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Operate a Mainstay installation."""


main.add_command(apps)
main.add_command(db)
main.add_command(keys)
