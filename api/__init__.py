"""The HTTP edge: `create_app()`, one blueprint per resource, and what every answer has in common."""

import importlib
import pkgutil
from collections.abc import Collection
from typing import Any

import orjson
from flask import Flask, Response, request
from flask.json.provider import JSONProvider
from flask_openapi.openapi import OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

import api
from api.edge import errors, rate_limit, request_id
from logs import configure_logging
from settings import get_settings


class Json(JSONProvider):
    """orjson in and out: times as RFC 3339 with `Z`, ids as text."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """The JSON text of `obj`."""
        return orjson.dumps(obj, option=orjson.OPT_UTC_Z).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """Only for trusted text: requests are read by `api.edge.body`."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """What a view's dict or list becomes."""
        obj = self._prepare_response_obj(args, kwargs)
        return Response(orjson.dumps(obj, option=orjson.OPT_UTC_Z), content_type="application/json")


class Answer(Response):
    """No answer is HTML unless it says so."""

    default_mimetype = "application/json"


def create_app() -> OpenAPI:
    """The application for this environment. Raises `SettingsError` when that is not usable."""
    settings = get_settings()
    configure_logging("api", request_id.fields)
    app = assemble(settings.cors_origins)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies)  # type: ignore[method-assign]  # Flask's way
    return app


def assemble(cors_origins: Collection[str] = ()) -> OpenAPI:
    """The application alone: every module below that has a `blueprint` is a resource."""
    app = OpenAPI(__name__, doc_ui=False, static_folder=None)
    app.response_class = Answer
    app.json = Json(app)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # It would answer with a redirect, in HTML.
    errors.init_app(app)
    for module in pkgutil.walk_packages(api.__path__, "api."):
        blueprint = getattr(importlib.import_module(module.name), "blueprint", None)
        if blueprint is not None:
            app.register_api(blueprint)
    app.after_request(_finish)
    if cors_origins:
        _allow_origins(app, frozenset(cors_origins))
    return app


def _finish(response: Response) -> Response:
    headers = response.headers
    headers[request_id.HEADER] = request_id.request_id()
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
    rate_limit.describe(response)
    return response


def _allow_origins(app: Flask, origins: frozenset[str]) -> None:
    """Let pages of these origins call the API (CORS); keys travel in a header, so no credentials are allowed."""

    def preflight() -> Response | None:
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or asked is None or request.headers.get("Origin") not in origins:
            return None
        return Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
                "Access-Control-Max-Age": "600",
            },
        )

    def admit(response: Response) -> Response:
        origin = request.headers.get("Origin")
        response.headers.add("Vary", "Origin")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "*"
        return response

    app.before_request(preflight)
    app.after_request(admit)
