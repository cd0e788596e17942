"""The OpenAPI 3.1 document, drawn from the models that validate, and the page that shows it.

`docs/openapi.json` is this document as committed; `python -m api.openapi` writes it anew. flask-openapi collects the
operations; what it cannot say, or says in a dialect of its own, is set right here: headers, problem documents, security
and every keyword of the components' schemas.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask_openapi_swagger  # type: ignore[import-untyped]  # it ships no types
from flask import Flask, Response, current_app, send_from_directory
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.errors import MEDIA_TYPE, ProblemDocument

COMMITTED = Path(__file__).parent.parent / "docs" / "openapi.json"
COMMON = (400, 401, 403, 422, 429, 503)
"""What any call under `/v1` may refuse with."""
BODY = (408, 413, 415)
"""What a call with a body may refuse with besides."""

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_WAIT = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_answers: set[type[BaseModel]] = {ProblemDocument}


def responses(
    successes: Mapping[int, type[BaseModel] | dict[str, Any] | None],
    *refusals: int,
    common: Collection[int] = COMMON,
) -> dict[str | int | HTTPStatus, Any]:
    """What a view declares as its answers: its successes, its own refusals, and those common to all.

    A success is a model, None for an empty answer, or an OpenAPI response object by hand.
    """
    _answers.update(success for success in successes.values() if isinstance(success, type))
    described: dict[str | int | HTTPStatus, Any] = dict(successes.items())
    for status in sorted({*common, *refusals}):
        described[status] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        if status in (429, 503):
            described[status]["headers"] = _WAIT
    return described


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
    "listJobEvents": (_LAST_EVENT_ID,),
}
"""The header fields that each operation reads, by operation id."""


def document(app: OpenAPI) -> dict[str, Any]:
    """The whole document of `app`."""
    app.generate_spec_json()  # type: ignore[no-untyped-call]  # the library left out `-> None`
    drawn = app.spec_json
    paths = {path: drawn["paths"][path] for path in sorted(drawn["paths"])}
    for path, method, view in _routes(app):
        operation = paths.get(path, {}).get(method)
        if operation is not None:
            _complete(operation, path, getattr(view, "scope", None))
    return {
        "openapi": "3.1.0",
        "info": drawn["info"],
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(app),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "mst_<env>_…"}},
        },
    }


def _routes(app: Flask) -> Iterator[tuple[str, str, Any]]:
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method in rule.methods or ():
            yield path, method.lower(), app.view_functions[rule.endpoint]


def _complete(operation: dict[str, Any], path: str, scope: str | None) -> None:
    parts = path.split("/")
    operation["tags"] = [parts[2] if parts[1] == "v1" else "health"]
    operation["parameters"] = operation.get("parameters", []) + list(HEADERS.get(operation["operationId"], ()))
    invalid = operation["responses"].get("422", {})
    if MEDIA_TYPE not in invalid.get("content", {}):
        operation["responses"].pop("422", None)  # The library's own validation, which no view uses.
    if scope is not None:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()


def _schemas(app: Flask) -> dict[str, Any]:
    """Every component, as Pydantic says it: the library's own schema class drops keywords that it does not know."""
    annotations = [view.__annotations__ for view in app.view_functions.values()]
    bodies = {known["body"] for known in annotations if "body" in known}
    queries = {known["query"] for known in annotations if "query" in known}
    models = [(model, "validation") for model in bodies | queries] + [(model, "serialization") for model in _answers]
    models.sort(key=lambda pair: (pair[0].__name__, pair[1]))
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # a list of plain pairs
    shown = definitions["$defs"]
    return {name: shown[name] for name in sorted(shown) if name not in {query.__name__ for query in queries}}


blueprint = APIBlueprint("openapi", __name__, doc_ui=False)
_ASSETS = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"
_SHOWN = {"swagger-ui.css": "css", "swagger-ui-bundle.js": "js", "swagger.svg": "images"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; style-src 'self' 'unsafe-inline'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Mainstay API</title>
<link rel="icon" href="docs/swagger.svg">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "v1/openapi.json", dom_id: "#api", deepLinking: true});\n'


@blueprint.get("/v1/openapi.json", doc_ui=False)
def openapi_json() -> Response:
    """The document."""
    known = current_app.extensions.get("openapi_json")
    if known is None:
        app: Any = current_app
        known = current_app.extensions["openapi_json"] = json.dumps(document(app))
    return Response(known, content_type="application/json", headers={"Cache-Control": "public, max-age=60"})


@blueprint.get("/docs", doc_ui=False)
def docs() -> Response:
    """The page that shows the document."""
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@blueprint.get("/docs/start.js", doc_ui=False)
def start() -> Response:
    """What the page does first; a file of its own, so that the page needs no inline script."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/<name>", doc_ui=False)
def asset(name: str) -> Response:
    """The page's script, style and icon, from the installed package."""
    return send_from_directory(_ASSETS / _SHOWN.get(name, "css"), name, max_age=3600)


def main() -> None:
    """Write the committed document anew."""
    from api import assemble  # noqa: PLC0415  # the application imports this module

    COMMITTED.write_text(json.dumps(document(assemble()), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
