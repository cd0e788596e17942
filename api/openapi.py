"""The OpenAPI 3.1 document, drawn from the models that validate, and the page that shows it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.errors import MEDIA_TYPE

COMMON = (400, 401, 403, 422, 429, 503)
"""What any call under `/v1` may answer."""
BODY = (408, 413, 415)
"""What a call with a body may answer besides."""
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}


def responses(
    successes: Mapping[int, type[BaseModel] | dict[str, Any] | None], *refusals: int
) -> dict[str | int | HTTPStatus, Any]:
    """What a view declares as its answers: its successes, its own refusals, and those common to all.

    A success is a model, None for an empty answer, or an OpenAPI response object by hand.
    """
    described: dict[str | int | HTTPStatus, Any] = {**successes}
    for status in sorted({*COMMON, *refusals}):
        described[status] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
    return described
