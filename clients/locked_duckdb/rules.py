"""What a query may say: one SELECT over its inputs. Judged on the tree that DuckDB's own parser makes of it.

The locked engine refuses whatever reaches outside; these rules refuse it earlier and with a clear code, and besides
what would stay inside but tell of this machine, such as the engine's settings.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from clients.locked_duckdb import QueryRefused

NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
TABLES = {"BASE_TABLE", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION", "PIVOT"}
TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}
"""All others read files, run SQL, or tell of the engine."""
FUNCTIONS_DENIED = {
    "current_connection_id", "current_query", "current_query_id", "current_setting", "getenv", "getvariable",
    "json_serialize_plan", "nextval", "currval", "setval", "sleep_ms", "stats", "write_log",
}  # fmt: skip
_SYSTEM = ("duckdb_", "information_schema", "pg_", "pragma_", "sqlite_")


def check(tree: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Pass a tree of `json_serialize_sql` that keeps to the rules. Raises `QueryRefused`."""
    if tree["error"]:
        raise _unparsed(tree)
    statements = tree["statements"]
    if not statements:
        raise QueryRefused("sql_invalid", "there is no statement")
    if len(statements) > 1:
        raise _forbidden("there is more than one statement")
    if statements[0]["named_param_map"]:
        raise QueryRefused("sql_invalid", "a query has no parameters: write the values into it")
    nodes = list(_nodes(statements[0]))
    named = {_folded(name) for name in inputs} | {name for node in nodes for name in _defined(node)}
    for node in nodes:
        _check_node(node)
        _check_function(node)
        _check_table(node, named, inputs)


def _unparsed(tree: Mapping[str, Any]) -> QueryRefused:
    if tree["error_type"] == "not implemented":
        return _forbidden("this is another kind of statement")
    where = f" (at character {int(tree['position']) + 1})" if "position" in tree else ""
    said = tree["error_message"].split(". Use ")[0]
    return QueryRefused("sql_invalid", f"{said}{where}")


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of the tree. No recursion: a query may nest deeper than Python's stack."""
    todo = [tree]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)


def _defined(node: Mapping[str, Any]) -> Iterator[str]:
    """The common table expressions that a node defines."""
    names = [entry["key"] for entry in node.get("map", ()) if "key" in entry]
    for name in (*names, *([node["cte_name"]] if "cte_name" in node else [])):
        if _folded(name).startswith(_SYSTEM):
            # Outside of its scope the name would mean the engine's own table.
            raise _forbidden("names of the engine's own tables cannot be given to others")
        yield _folded(name)


def _check_node(node: Mapping[str, Any]) -> None:
    if "modifiers" in node and node["type"] not in NODES:
        raise _forbidden("a part of it would change data")


def _check_function(node: Mapping[str, Any]) -> None:
    name = _folded(node.get("function_name", ""))
    if name in FUNCTIONS_DENIED or (name.startswith("pg_") and name != "pg_typeof"):
        raise _forbidden(f"the function {name} is not available")


def _check_table(node: Mapping[str, Any], named: Collection[str], inputs: Collection[str]) -> None:
    if "sample" not in node or "alias" not in node or "class" in node:
        return
    if node["type"] not in TABLES:
        raise _forbidden("DESCRIBE, SHOW and SUMMARIZE are not available")
    if node["type"] == "TABLE_FUNCTION" and _folded(node["function"]["function_name"]) not in TABLE_FUNCTIONS:
        raise _forbidden(f"the table function {node['function']['function_name']} is not available")
    if node["type"] == "BASE_TABLE":
        name = _folded(node["table_name"])
        if node["schema_name"] or node["catalog_name"] or (name not in named and name.startswith(_SYSTEM)):
            raise _forbidden("only inputs can be read, by their bare names")
        if name not in named:
            known = ", ".join(sorted(inputs)) or "none"
            raise QueryRefused("sql_invalid", f"there is no table {node['table_name']}; the inputs are: {known}")


def _folded(name: str) -> str:
    """SQL's names do not tell capitals from small letters."""
    return name.lower()


def _forbidden(what: str) -> QueryRefused:
    return QueryRefused("sql_forbidden", f"a query is a single SELECT over its inputs: {what}")
