"""The HTTP edge: `create_app()`, one blueprint per resource, and what every answer has in common."""

import importlib
import pkgutil
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider
from flask_openapi import Info, OpenAPI

import api
from api import errors
from api.request_id import HEADER, request_id
from settings import get_settings


class Json(JSONProvider):
    """orjson in and out: times as RFC 3339 with `Z`, ids as text."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        return orjson.dumps(obj, option=orjson.OPT_UTC_Z).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        obj = self._prepare_response_obj(args, kwargs)
        return Response(orjson.dumps(obj, option=orjson.OPT_UTC_Z), content_type="application/json")


class Answer(Response):
    """No answer is HTML by default."""

    default_mimetype = "application/json"


def create_app() -> OpenAPI:
    """The whole application. Raises `SettingsError` when the environment is not usable."""
    get_settings()
    app = OpenAPI(__name__, info=Info(title="Mainstay", version="1"), doc_ui=False, static_folder=None)
    app.response_class = Answer
    app.json = Json(app)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    errors.init_app(app)
    for module in pkgutil.iter_modules(api.__path__):
        blueprint = getattr(importlib.import_module(f"api.{module.name}"), "blueprint", None)
        if blueprint is not None:
            app.register_api(blueprint)
    app.after_request(_finish)
    return app


def _finish(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
