"""What views declare to the OpenAPI document; `python -m api.openapi` writes that document to `docs/openapi.json`."""

import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from api.edge.errors import MEDIA_TYPE, ProblemDocument

COMMITTED = Path(__file__).parent.parent / "docs" / "openapi.json"
COMMON = (400, 401, 403, 422, 429, 503)
"""What any call under `/v1` may refuse with."""
BODY = (408, 413, 415)
"""What a call with a body may refuse with besides."""

answers: set[type[BaseModel]] = {ProblemDocument}
"""Every model that some view answers with."""

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_WAIT = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def responses(
    successes: Mapping[int, type[BaseModel] | dict[str, Any] | None],
    *refusals: int,
    common: Collection[int] = COMMON,
) -> dict[str | int | HTTPStatus, Any]:
    """What a view declares as its answers: its successes, its own refusals, and those common to all.

    A success is a model, None for an empty answer, or an OpenAPI response object by hand whose `schema` may be a model.
    """
    described: dict[str | int | HTTPStatus, Any] = {status: _known(answer) for status, answer in successes.items()}
    for status in sorted({*common, *refusals}):
        described[status] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        if status in (429, 503):
            described[status]["headers"] = _WAIT
    return described


def _known(answer: Any) -> Any:
    """The same answer, with its models noted as components."""
    if isinstance(answer, type):
        answers.add(answer)
    elif isinstance(answer, dict):
        content = {media: {**said, "schema": _reference(said["schema"])} for media, said in answer["content"].items()}
        return {**answer, "content": content}
    return answer


def _reference(schema: Any) -> Any:
    if not isinstance(schema, type):
        return schema
    answers.add(schema)
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def main() -> None:
    """Write the committed document anew."""
    from api import assemble  # noqa: PLC0415  # the application imports this module
    from api.document import document  # noqa: PLC0415  # as above

    COMMITTED.write_text(json.dumps(document(assemble()), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
