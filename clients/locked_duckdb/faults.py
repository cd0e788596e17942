"""The engine's errors in words for the author of a query, without the paths of this machine."""

import re
from collections.abc import Iterable

import duckdb

from clients.locked_duckdb import Input, QueryRefused

MESSAGE_LENGTH = 1_000
_CSV = re.compile(r"CSV Error on Line: (\d+)")
# The engine quotes the whole line and suggests options that a query does not have; these say what is wrong.
_CSV_REASONS = re.compile(
    r"^(Expected Number of Columns: \d+ Found: \d+|Error when converting column .*|Invalid unicode .*"
    r"|Maximum line size of .*|Value with unterminated quote found\.?)$",
    re.MULTILINE,
)
_JSON = re.compile(r"Malformed JSON in file .*?, at byte \d+ in line (\d+): (.*)")
_INVALID = (
    duckdb.ParserException, duckdb.SyntaxException, duckdb.BinderException, duckdb.CatalogException,
    duckdb.NotImplementedException, duckdb.InvalidTypeException, duckdb.TypeMismatchException,
)  # fmt: skip
_BROKEN = (duckdb.InternalException, duckdb.FatalException)


class EngineBroken(Exception):
    """The engine reports a fault of its own; another try may fare better."""


def unreadable(error: duckdb.Error, source: Input) -> QueryRefused:
    """The refusal when an input cannot even be opened as what it should be."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return refusal(error, (source,))
    return QueryRefused("file_unreadable", f"{source.name}: {_reading(str(error), source)}")


def refusal(error: duckdb.Error, inputs: Iterable[Input]) -> QueryRefused:
    """The refusal when the query was begun. Raises `EngineBroken` where it is not the query's fault."""
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        if "max_temp_directory_size" in text:
            return QueryRefused("out_of_memory", "the query needs more memory and spill space than a query may use")
        return QueryRefused("out_of_memory", "the query needs more memory than a query may use")
    if isinstance(error, _BROKEN):
        raise EngineBroken(type(error).__name__)
    for source in inputs:
        # Also where the query casts a bare column: the engine lets the reader do that, which knows the line.
        if source.path in text and not isinstance(error, duckdb.PermissionException):
            return QueryRefused("file_unreadable", f"{source.name}: {_reading(text, source)}")
    if isinstance(error, duckdb.PermissionException):
        return QueryRefused("sql_forbidden", "a query is a single SELECT over its inputs: nothing else can be reached")
    if isinstance(error, duckdb.IOException) and "File too large" in text:
        return QueryRefused("result_too_large", "the result is larger than a file may be")
    code = "sql_invalid" if isinstance(error, _INVALID) else "sql_failed"
    return QueryRefused(code, _told(text))


def _reading(text: str, source: Input) -> str:
    if found := _CSV.search(text):
        reason = _CSV_REASONS.search(text, found.end())
        return f"line {found[1]}: " + _told(reason[0] if reason else "it is not like the lines before it")
    if found := _JSON.search(text):
        return f"near line {found[1]}: {_told(found[2])}"
    if source.format == "csv":
        return "this does not look like delimited text in UTF-8"
    return _told(text.replace(source.path, source.name))


def _told(text: str) -> str:
    """The message without the engine's classification, its pointer into our own statement, and invisible characters."""
    text = re.sub(r"^[A-Z][A-Za-z -]* Error: ", "", text).split("\n\nLINE ")[0].split("\n\nPossible solutions")[0]
    return re.sub("[\x00-\x08\x0b-\x1f\ud800-\udfff]", " ", text).strip()[:MESSAGE_LENGTH]
