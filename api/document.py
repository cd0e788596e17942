"""The OpenAPI 3.1 document, drawn from the models that validate.

flask-openapi collects the operations. What it cannot say, or says in a dialect of its own, is set right here: paths
that several resources share, header fields, bodies that are no single model, security, and the components' schemas.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask
from pydantic.json_schema import models_json_schema

from api.openapi import answers

_DESCRIPTION = "Hand over work, follow it, get its result. Every refusal is a problem document (RFC 9457)."


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


_IDEMPOTENCY = _header(
    "Idempotency-Key",
    "Makes the request repeatable: the same key again gets the first answer again. Kept 7 days.",
    pattern="^[ -~]{1,255}$",
)
_PREFER = _header("Prefer", "`wait=N` waits up to N seconds, at most 25 (RFC 7240).", examples=["wait=1"])
_IF_NONE_MATCH = _header("If-None-Match", "Answer 304 while it still has this entity tag.")
_RANGE = _header("Range", "One range of bytes (RFC 9110).", examples=["bytes=0-1023"])
_LAST_EVENT_ID = _header("Last-Event-ID", "Resume a stream after this event.", pattern="^[0-9]{1,9}$")
_TRACEPARENT = _header("Traceparent", "W3C trace context; the job keeps it as a link.")

HEADERS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "submitJob": (_IDEMPOTENCY, _PREFER, _TRACEPARENT),
    "submitJobs": (_IDEMPOTENCY, _TRACEPARENT),
    "createKey": (_IDEMPOTENCY,),
    "uploadFile": (_IDEMPOTENCY,),
    "downloadFile": (_RANGE, _IF_NONE_MATCH),
    "getJob": (_PREFER, _IF_NONE_MATCH),
    "listEvents": (_LAST_EVENT_ID,),
}
"""The header fields that each operation reads, by operation id."""


_JOBS = {"type": "array", "maxItems": 5000, "items": {"$ref": "#/components/schemas/SubmitJob"}}
_BYTES = {"type": "string", "format": "binary"}
_PART = {"type": "object", "properties": {"file": _BYTES}, "required": ["file"]}

BODIES: Mapping[str, dict[str, Any]] = {
    "submitJobs": {"application/json": {"schema": _JOBS}, "application/x-ndjson": {"schema": {"type": "string"}}},
    "uploadFile": {"application/octet-stream": {"schema": _BYTES}, "multipart/form-data": {"schema": _PART}},
}
"""The content that an operation takes where that is no single model, by operation id."""


def document(app: Flask) -> dict[str, Any]:
    """The whole document of `app`."""
    paths = _paths(app)
    for path, method, view in _routes(app):
        operation = paths.get(path, {}).get(method)
        if operation is not None:
            _complete(operation, path, getattr(view, "scope", None))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mainstay", "version": "1.0.0", "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(app),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "mst_<env>_…"}},
        },
    }


def _paths(app: Flask) -> dict[str, Any]:
    """Every path with its operations: of one path, several blueprints may have some."""
    found: dict[str, Any] = {}
    for blueprint in app.blueprints.values():
        for path, item in getattr(blueprint, "paths", {}).items():
            operations = item.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)
            found.setdefault(path, {}).update(operations)
    return {path: found[path] for path in sorted(found)}


def _routes(app: Flask) -> Iterator[tuple[str, str, Any]]:
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method in rule.methods or ():
            yield path, method.lower(), app.view_functions[rule.endpoint]


def _complete(operation: dict[str, Any], path: str, scope: str | None) -> None:
    parts = path.split("/")
    operation.pop("deprecated", None)
    operation["tags"] = [parts[2] if parts[1] == "v1" else "service"]
    if operation["operationId"] in BODIES:
        operation["requestBody"] = {"required": True, "content": BODIES[operation["operationId"]]}
    operation["parameters"] = operation.get("parameters", []) + list(HEADERS.get(operation["operationId"], ()))
    description = operation.pop("description", "").replace("<br/>", "\n").strip()
    if scope is not None:
        operation["security"] = [{"key": []}]
        description = f"{description}\n\nScope: `{scope}`.".strip()
    if description:
        operation["description"] = description


def _schemas(app: Flask) -> dict[str, Any]:
    """Every component, as Pydantic says it: the library's own schema class drops keywords that it does not know."""
    annotations = [view.__annotations__ for view in app.view_functions.values()]
    bodies = {known["body"] for known in annotations if "body" in known}
    queries = {known["query"] for known in annotations if "query" in known}
    models = [(model, "validation") for model in bodies | queries] + [(model, "serialization") for model in answers]
    models.sort(key=lambda pair: (pair[0].__name__, pair[1]))
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # a list of plain pairs
    shown = definitions["$defs"]
    return {name: shown[name] for name in sorted(shown) if name not in {query.__name__ for query in queries}}
