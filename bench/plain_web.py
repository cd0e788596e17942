"""The peer of the API: the least Flask application that hands work to Celery."""

from typing import Any

from flask import Flask, request

from bench.plain import count


def create_app() -> Flask:
    """One route that queues a task and answers 202 with its id."""
    app = Flask(__name__)

    @app.post("/jobs")
    def submit() -> tuple[dict[str, Any], int]:
        body = request.get_json()
        return {"id": count.delay(body["text"]).id}, 202

    @app.get("/livez")
    def alive() -> dict[str, Any]:
        return {"ok": True}

    return app
