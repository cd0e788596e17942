"""The first rows of a result as JSON that every reader reads alike, and small enough to stand in a job's result.

Numbers stay numbers where 64 bits or a double hold them; other numbers, NaN and infinities are text. Times are ISO
8601, those with a zone in UTC; bytes are base64; lists, structs and maps are JSON. Text too long is cut.
"""

import json
import math
import re
from typing import Any

from duckdb import DuckDBPyConnection

ROWS = 100
ROWS_BYTES = 240 * 1024
"""Rows are shown while they fit beside the names of the columns; the first is shown anyway."""
CELL_LENGTH = 10_000
MAX_COLUMNS = 1_000
_NAME_LENGTH = 200
_PLAIN = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE",
}  # fmt: skip
_NESTED = re.compile(r".*(\]|\))")
_ENUM_OR_DECIMAL = re.compile(r"(ENUM|DECIMAL)\(.*\)")
_ZONED = "WITH TIME ZONE"


def columns(connection: DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    """The names and types of a table of ours."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [table]
    ).fetchall()
    return [(name, kind.strip('"')) for name, kind in rows]


def described(names: list[tuple[str, str]]) -> list[dict[str, str]]:
    """The columns as a result shows them."""
    return [{"name": _visible(name)[:_NAME_LENGTH], "type": _visible(kind)[:_NAME_LENGTH]} for name, kind in names]


def rows(connection: DuckDBPyConnection, table: str, names: list[tuple[str, str]]) -> tuple[list[list[Any]], bool]:
    """The first rows of a table of ours, and whether any text in them was cut."""
    longest = min(CELL_LENGTH, ROWS_BYTES // len(names))
    cells = ", ".join(_cell(_quoted(name), kind, longest) for name, kind in names)
    shown: list[list[Any]] = []
    room, cut = ROWS_BYTES - len(json.dumps(described(names))), False
    for row in connection.execute(f'SELECT {cells} FROM "{table}" LIMIT {ROWS}').fetchall():  # noqa: S608  # names of ours, quoted
        values = [_value(value, kind, longest) for value, (_, kind) in zip(row, names, strict=True)]
        room -= len(json.dumps(values))
        if room < 0 and shown:
            break
        cut = cut or any(isinstance(value, str) and len(value) > longest for value in row)
        shown.append(values)
    return shown, cut


def _cell(column: str, kind: str, longest: int) -> str:
    if kind in _PLAIN or kind == "NULL":
        return column
    if kind == "BLOB":
        text = f"base64({column})"
    elif _is_json(kind):
        text = f"CAST(to_json({column}) AS VARCHAR)"
    else:
        text = f"CAST({column} AS VARCHAR)"
    return f"left({text}, {longest + 1})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_json(kind: str) -> bool:
    return kind in ("JSON", "VARIANT") or bool(_NESTED.fullmatch(kind) and not _ENUM_OR_DECIMAL.fullmatch(kind))


def _value(value: Any, kind: str, longest: int) -> Any:
    if not isinstance(value, str):
        return _number(value)
    if len(value) > longest:
        return _visible(value[:longest])
    if _is_json(kind):
        return _tree(json.loads(value))
    if kind.startswith("TIMESTAMP"):
        # An offset of another form than +00 cannot be: the session's zone is UTC.
        value = re.sub(r"^(\S+) (\d)", r"\1T\2", value)
        return value.removesuffix("+00") + "Z" if kind.endswith(_ZONED) and value.endswith("+00") else value
    return _visible(value)


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {_visible(name): _tree(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_tree(item) for item in value]
    return _visible(value) if isinstance(value, str) else _number(value)


def _visible(text: str) -> str:
    """JSON in Postgres holds neither NUL nor half a surrogate pair."""
    return re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
