"""How the verbs show rows: a table on a terminal, plain tab-separated lines in a pipe, JSON when asked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table


def show_json(value: Any) -> None:
    """Print `value` as one JSON text."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print these columns of `rows`. Colours and frames appear on a terminal only, and not under `NO_COLOR`."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join(_text(row[column]) for column in columns))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row[column]) for column in columns))
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
