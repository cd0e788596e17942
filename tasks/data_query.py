"""data.query: one SELECT over uploaded files, in a locked DuckDB; a preview as result, and the whole of it as a file.

A result is `{columns: [{name, type}], rows, row_count, truncated, file?: {id, name, bytes}}`: `rows` are the first
rows, at most 100, each an array in the order of `columns`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from clients.locked_duckdb import Format, Input, Limits, Output, Query, QueryRefused
from clients.locked_duckdb.process import QueryBroken, run
from clients.objects import object_store
from settings import get_settings
from tasks import Context, Fail, Retry, handler
from tasks.files import FileInfo, FileNotAvailable

LIMITS = Limits(memory_bytes=1024**3, spill_bytes=10 * 1024**3, threads=2)
_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet",
}  # fmt: skip
_BY_TYPE: dict[str, Format] = {
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "text/plain": "csv",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "application/json": "json",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}
_OUTPUT_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}

TableName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Params(BaseModel, extra="forbid"):
    """What an app sends: the query, and the files it reads."""

    sql: str = Field(min_length=1, max_length=64 * 1024, description="One SELECT statement, in DuckDB's dialect.")
    inputs: dict[TableName, UUID] = Field(
        default_factory=dict, max_length=16,
        description="Which file each table is: CSV, TSV, JSON Lines or Parquet, told by its name or content type.",
    )  # fmt: skip
    output: Literal["json", "csv", "jsonl", "parquet"] = Field(
        default="json", description="`json` is the preview alone; the others write all rows to a file besides."
    )


@handler("data.query", Params, queue="data", max_attempts=3, timeout=timedelta(minutes=10), chunk=False)
def perform(params: Params, context: Context) -> dict[str, Any]:
    """Return the preview, and write the output.

    Fails with `sql_invalid`, `sql_forbidden`, `sql_failed`, `file_not_found`, `file_unreadable`, `out_of_memory`,
    `result_too_wide`, `result_too_large`, or as `files.save` does.
    """
    inputs = tuple(_input(name, file_id, context) for name, file_id in params.inputs.items())
    with object_store().scratch() as scratch:
        output = _output(params, scratch)
        try:
            result = run(Query(params.sql, inputs, output, str(scratch), LIMITS), lambda done: _watch(done, context))
        except QueryRefused as refused:
            raise Fail(refused.code, refused.message) from None
        except QueryBroken as broken:
            raise Retry("query_broken", f"the query's process gave no answer: {broken}") from None
        if output is not None:
            result["file"] = _saved(output, context)
    return result


def _watch(done: float, context: Context) -> None:
    context.check_cancelled()
    if done:
        context.progress(done, "querying")


def _input(name: str, file_id: UUID, context: Context) -> Input:
    try:
        about = context.files.describe(file_id)
        return Input(name, str(context.files.path(file_id).absolute()), _format(name, about))
    except FileNotAvailable:
        raise Fail("file_not_found", f"{name}: there is no such file", {"file_id": str(file_id)}) from None


def _format(name: str, about: FileInfo) -> Format:
    found = _BY_SUFFIX.get(Path(about.name).suffix.lower()) or _BY_TYPE.get(about.content_type)
    if found is None:
        message = f"{name}: neither name nor content type say whether this is CSV, TSV, JSON Lines or Parquet"
        raise Fail("file_unreadable", message)
    return found


def _output(params: Params, scratch: Path) -> Output | None:
    if params.output == "json":
        return None
    return Output(str(scratch / f"result.{params.output}"), params.output, get_settings().file_max_bytes)


def _saved(output: Output, context: Context) -> dict[str, Any]:
    written = Path(output.path)
    file_id = context.files.save(written.name, _OUTPUT_TYPES[output.format], written)
    return {"id": str(file_id), "name": written.name, "bytes": written.stat().st_size}
