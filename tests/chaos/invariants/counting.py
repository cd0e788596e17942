"""Counting: a violation is a row of a query, and a few of them are named."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

EXAMPLES = 5


class Count(NamedTuple):
    """How often something happened that must not have happened."""

    name: str
    expected: int
    found: int
    examples: list[str]

    @property
    def violated(self) -> bool:
        """Whether the promise was broken."""
        return self.found != self.expected


def counted(connection: Connection, name: str, sql: str, **values: Any) -> Count:
    """Count the rows of `sql`, one for each violation: `(job, detail)`, where `job` may also name a request."""
    statement = f"SELECT job, detail, count(*) OVER () AS found FROM ({sql}) AS violation LIMIT {EXAMPLES}"
    rows = connection.execute(text(statement), values).all()
    return Count(name, 0, rows[0].found if rows else 0, [f"{row.job}: {row.detail}" for row in rows])


def listed(name: str, violations: Sequence[str]) -> Count:
    """Count violations that were found without Postgres."""
    return Count(name, 0, len(violations), list(violations[:EXAMPLES]))
