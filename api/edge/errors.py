"""Every refusal as a problem document (RFC 9457): the one table from exceptions to `application/problem+json`.

`type` is `/problems/<code>`; `code` is stable and machine-readable. No answer ever echoes what was sent: pointers name
the place, details name the rule.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
import structlog
from flask import Flask, Response, request
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from api.edge.request_id import request_id

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 50

log = structlog.get_logger()
Model = TypeVar("Model", bound=BaseModel)


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    pointer: str = Field(description="Where: an RFC 6901 pointer into the body, or `/name` of a query parameter.")
    code: str
    detail: str


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[Fault] | None = None


class Problem(Exception):
    """A refusal, raised anywhere below a view and answered as a problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`code` is stable snake_case; `detail` is for a person and says nothing that the caller sent."""
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The body of the answer; also what a bulk answer carries for one item."""
        document = {
            "type": f"/problems/{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        return document if self.errors is None else {**document, "errors": list(self.errors)}


def answer(problem: Problem) -> Response:
    """The response that says so, and a line in the log under whose `request_id` an operator finds it."""
    if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR:  # What failed on our side was logged with its cause.
        log.info(
            "request_refused", status=problem.status, code=problem.code, request_id=request_id(), path=request.path,
            method=request.method,
        )  # fmt: skip
    body = orjson.dumps(problem.document(quote(request.path), request_id()))
    return Response(body, problem.status, problem.headers, content_type=MEDIA_TYPE)


def validated(model: type[Model], data: Any, prefix: str = "") -> Model:
    """An instance of `model` from parsed JSON, or a 422 that points at every fault; `prefix` stands before pointers.

    JSON's own types count: the text "5" is no number, while dates and ids are read from text, as JSON has none.
    """
    try:
        return model.model_validate_json(orjson.dumps(data), strict=True)
    except ValidationError as error:
        raise invalid(faults(error, prefix, data)) from None


def invalid(errors: Sequence[Mapping[str, str]], code: str = "invalid") -> Problem:
    """The refusal of what could be read but does not match its schema."""
    return Problem(422, code, "what was sent does not match its schema; see errors", errors=errors)


def faults(error: ValidationError, prefix: str = "", data: Any = None) -> list[dict[str, str]]:
    """What `error` says as `{pointer, code, detail}`, never quoting the input.

    With the validated `data`, pointers leave out the names of a union's alternatives, which are no places in it.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {
            "pointer": prefix + _pointer(fault["loc"], data),
            "code": fault["type"],
            "detail": _DISCREET.get(fault["type"], fault["msg"].removeprefix("Value error, ")),
        }
        for fault in found[:MAX_FAULTS]
    ]


# Pydantic's own words for these quote the input.
_DISCREET = {
    "uuid_parsing": "Input should be a valid UUID",
    "union_tag_invalid": "Input does not name one of the expected alternatives",
    "url_parsing": "Input should be a valid URL",
    "datetime_parsing": "Input should be a valid date and time (RFC 3339)",
    "date_parsing": "Input should be a valid date (RFC 3339)",
}
_MAX_NAME = 200


def _pointer(location: Sequence[str | int], data: Any) -> str:
    pointer, known = "", data is not None
    for part in location:
        if known and isinstance(data, dict) and (part in data or part is location[-1]):
            data = data.get(part)
        elif known and isinstance(data, list) and isinstance(part, int):
            data = data[part] if part < len(data) else None
        elif known:
            continue
        if len(str(part)) > _MAX_NAME:
            break  # A name of that length would be an echo; its parent says where to look.
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _from_http(error: HTTPException) -> Problem:
    status = error.code or 500
    code, detail = _HTTP.get(
        status, (HTTPStatus(status).phrase.lower().replace(" ", "_"), HTTPStatus(status).description)
    )
    headers = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return Problem(status, code, detail, headers=headers)


_HTTP = {
    400: ("malformed_request", "the request is not well-formed HTTP"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not offer that method; see Allow"),
    413: ("too_large", "the body is larger than this address takes"),
    415: ("unsupported_media_type", "this address does not take that Content-Type"),
}


def _database_away(error: Exception) -> Problem:
    log.warning("database_unavailable", error=type(error).__name__, cause=type(error.__cause__).__name__)
    return Problem(
        503, "database_unavailable", "the database cannot be reached; nothing was stored, try again",
        headers={"Retry-After": "1"},
    )  # fmt: skip


_OUT_OF_TIME = ("40P01", "55P03", "57014")
"""SQLSTATEs of a deadlock, and of a lock or a statement that took too long: Postgres is there, and rolled it back."""


def _database_failed(error: OperationalError) -> Problem:
    state = getattr(error.orig, "sqlstate", None)
    if state not in _OUT_OF_TIME:
        return _database_away(error)
    log.warning("database_busy", cause=type(error.orig).__name__)
    return Problem(
        503, "database_busy", "the database could not do this in time; nothing was stored, try again",
        headers={"Retry-After": "1"},
    )  # fmt: skip


def _database_refused(error: DataError) -> Problem:
    log.warning("database_refused_a_value", cause=type(error.orig).__name__)
    return Problem(422, "invalid", "a value cannot be stored: it is out of range or holds a NUL character")


def _database_error(error: DBAPIError) -> Problem:
    return _database_away(error) if error.connection_invalidated else _unexpected(error)


def _unexpected(error: Exception) -> Problem:
    log.error("request_failed", exc_info=error, request_id=request_id(), path=request.path, method=request.method)
    return Problem(500, "internal", "something went wrong on our side; quote the request_id to your operator")


TABLE: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda problem: problem,
    HTTPException: _from_http,
    OperationalError: _database_failed,
    InterfaceError: _database_away,
    PoolTimeout: _database_away,
    DataError: _database_refused,
    DBAPIError: _database_error,
    Exception: _unexpected,
}


def init_app(app: Flask) -> None:
    """Answer every exception as the table says."""
    for exception, translate in TABLE.items():
        app.register_error_handler(exception, lambda error, translate=translate: answer(translate(error)))
