"""The locked engine: opened, given its inputs, locked, and only then shown the query."""

import json
import resource
from typing import Any

import duckdb

from clients.locked_duckdb import Input, Output, Query, QueryRefused, preview
from clients.locked_duckdb.faults import refusal, unreadable
from clients.locked_duckdb.rules import check

RESULT = "the result"
"""The table that keeps the result; no query can name it, as it does not exist before its query was bound."""

_READERS = {
    # Without a fixed quote the engine takes a quoted field for plain text when the lines it samples have none.
    "csv": """read_csv({path}, quote = '"', escape = '"', sample_size = 20480)""",
    "json": "read_json({path})",
    "parquet": "read_parquet({path})",
}
_WRITERS = {
    "csv": "FORMAT csv, HEADER",
    "jsonl": "FORMAT json",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}


def opened(query: Query) -> duckdb.DuckDBPyConnection:
    """A locked engine that sees the query's inputs as views and can reach nothing else. Raises `QueryRefused`."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": query.limits.threads,
            "memory_limit": f"{query.limits.memory_bytes}B",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )
    reachable = [source.path for source in query.inputs] + ([query.output.path] if query.output else [])
    for setting in (
        # As part of `config`, DuckDB 2.0 shows this limit but does not keep to it.
        f"max_temp_directory_size = '{query.limits.spill_bytes}B'",
        f"temp_directory = {_literal(query.scratch + '/spill')}",
        "TimeZone = 'UTC'",
        "max_expression_depth = 250",
        "enable_progress_bar = true",
        "enable_progress_bar_print = false",
        "progress_bar_time = 0",
        f"allowed_paths = [{', '.join(map(_literal, reachable))}]",
        "enable_external_access = false",
    ):
        connection.execute(f"SET {setting}")
    for source in query.inputs:
        _bind(connection, source)
    connection.execute("SET lock_configuration = true")
    return connection


def answer(connection: duckdb.DuckDBPyConnection, query: Query) -> dict[str, Any]:
    """Perform the query: `{columns, rows, row_count, truncated}`, and its output written. Raises `QueryRefused`."""
    try:
        (parsed,) = _one(connection.execute("SELECT json_serialize_sql(?)", [query.sql]))
        check(json.loads(parsed), [source.name for source in query.inputs])
        # One run feeds count, preview and output, which therefore agree even where the query is left to chance.
        (count,) = _one(connection.execute(f'CREATE TEMP TABLE "{RESULT}" AS {query.sql}'))
        names = preview.columns(connection, RESULT)
        if len(names) > preview.MAX_COLUMNS:
            raise QueryRefused("result_too_wide", f"a result has at most {preview.MAX_COLUMNS:,} columns")
        rows, cut = preview.rows(connection, RESULT, names)
        if query.output is not None:
            _write(connection, query.output)
    except duckdb.Error as error:
        raise refusal(error, query.inputs) from None
    except RecursionError:
        raise QueryRefused("sql_invalid", "the query is nested too deeply") from None
    return {
        "columns": preview.described(names),
        "rows": rows,
        "row_count": count,
        "truncated": cut or len(rows) < count,
    }


def _bind(connection: duckdb.DuckDBPyConnection, source: Input) -> None:
    reader = _READERS[source.format].format(path=_literal(source.path))
    try:
        connection.execute(f'CREATE VIEW "{source.name}" AS SELECT * FROM {reader}')  # noqa: S608  # names are checked
    except duckdb.Error as error:
        raise unreadable(error, source) from None


def _write(connection: duckdb.DuckDBPyConnection, output: Output) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (output.limit_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    connection.execute(f'COPY "{RESULT}" TO {_literal(output.path)} ({_WRITERS[output.format]}, USE_TMP_FILE false)')


def _one(cursor: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None  # both statements answer with one row
    return tuple(row)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
