"""The entry point of the API under test: `gunicorn … "tests.chaos.api:create_app()"`."""

from functools import partial

from flask import Flask, Response, request

import tests.chaos.kinds  # noqa: F401  # declares them
from api import create_app as create_api
from tests.chaos import points

points.install_in_api()


def create_app() -> Flask:
    """The real application, marked before the answer to a submission leaves and after it has left."""
    app = create_api()

    @app.after_request
    def mark(response: Response) -> Response:
        if request.method == "POST" and request.path.startswith("/v1/jobs"):
            points.reach("before_answer")
            response.call_on_close(partial(points.reach, "after_answer"))
        return response

    return app
