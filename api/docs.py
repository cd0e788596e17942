"""`/v1/openapi.json`, and `/docs`: the page that shows it, with assets of our own and no inline script."""

import json
from pathlib import Path

import flask_openapi_swagger  # type: ignore[import-untyped]  # it ships no types
from flask import Response, current_app, send_from_directory
from flask_openapi.blueprint import APIBlueprint

from api.document import document
from api.edge.arguments import reads

blueprint = APIBlueprint("docs", __name__, doc_ui=False)
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
        known = current_app.extensions["openapi_json"] = json.dumps(document(current_app))
    return Response(known, content_type="application/json", headers={"Cache-Control": "public, max-age=60"})


@blueprint.get("/docs", doc_ui=False)
def page() -> Response:
    """The page that shows the document."""
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@blueprint.get("/docs/start.js", doc_ui=False)
def start() -> Response:
    """What the page does first; a file of its own, so that the page needs no inline script."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/<name>", doc_ui=False)
@reads
def asset(name: str) -> Response:
    """The page's script, style and icon, from the installed package."""
    return send_from_directory(_ASSETS / _SHOWN.get(name, "css"), name, max_age=3600)
