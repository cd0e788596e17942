"""What a view is handed: its `path`, `query` and `body` arguments, read by their models.

The library that draws the OpenAPI document would read them too, but before anyone asked who is calling, with a lax
JSON parser, and building each query model's schema again on every request.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, get_args, get_origin

from flask import request
from pydantic import BaseModel, ValidationError

from api.edge.body import json_body
from api.edge.errors import Problem, faults, invalid, validated

Model = TypeVar("Model", bound=BaseModel)
View = TypeVar("View", bound=Callable[..., Any])


def reads(view: View) -> View:
    """Let a view be called with its arguments, read from the request."""
    taken = signature(view).parameters
    path, query, body = (taken[name].annotation if name in taken else None for name in ("path", "query", "body"))

    @wraps(view)
    def reading(**variables: Any) -> Any:
        arguments: dict[str, Any] = {} if path else variables
        if path:
            arguments["path"] = _path(path, variables)
        if query:
            arguments["query"] = validated_query(query)
        if body:
            arguments["body"] = validated(body, json_body())
        return view(**arguments)

    # Flask's name for what a view returns cannot be resolved when the program runs, and the document tries to.
    reading.__annotations__ = {name: hint for name, hint in view.__annotations__.items() if name != "return"}
    reading.__delay_validate_request__ = True  # type: ignore[attr-defined]  # flask-openapi's mark for "it reads itself"
    return reading  # type: ignore[return-value]  # wraps() keeps the signature


def validated_query(model: type[Model]) -> Model:
    """The query as `model`. Raises `Problem` 422, also for a parameter that is given twice and is no list."""
    given: dict[str, Any] = {}
    if b"%00" in request.query_string:
        raise Problem(400, "malformed_request", "a query parameter holds a NUL character")
    for name, values in request.args.lists():
        if _is_list(model, name):
            given[name] = values
        elif len(values) == 1:
            given[name] = values[0]
        else:
            fault = {"pointer": f"/{name}"[:200], "code": "repeated", "detail": "give this parameter once"}
            raise invalid([fault], "invalid_query")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(faults(error, data=given), "invalid_query") from None


def _is_list(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and any(
        get_origin(part) is list for part in (field.annotation, *get_args(field.annotation))
    )


def _path(model: type[BaseModel], variables: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(variables)
    except ValidationError:
        raise Problem(404, "not_found", "there is nothing at this address") from None
