"""A DuckDB that strangers may query: a locked engine in a process of its own, one process per query.

`process.run` starts `python -m clients.locked_duckdb`, hands it one `Query` and waits for its answer. The child holds
no secret, reads only the query's inputs, and ends with its parent. The process is the boundary because the engine alone
is none: its memory limit does not count the strings that functions build, and some of its work cannot be interrupted.
"""

from dataclasses import dataclass
from typing import Literal

Format = Literal["csv", "json", "parquet"]
OutputFormat = Literal["csv", "jsonl", "parquet"]

QUERY = "query.json"
"""The file in the scratch folder that says what to do."""


@dataclass(frozen=True, slots=True)
class Input:
    """A file that the query sees as the table `name`. `json` is JSON Lines, or one array of objects."""

    name: str
    path: str
    format: Format


@dataclass(frozen=True, slots=True)
class Output:
    """Where to write the whole result, besides the preview."""

    path: str
    format: OutputFormat
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may use."""

    memory_bytes: int
    """Of the engine; the process has a fixed overhead on top, and not a byte more."""
    spill_bytes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT over some inputs. `scratch` is a folder that nobody else uses; whoever made it removes it."""

    sql: str
    inputs: tuple[Input, ...]
    output: Output | None
    scratch: str
    limits: Limits


class QueryRefused(Exception):
    """The query cannot be answered, however often it is asked; `code` is stable, the message is for its author."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
