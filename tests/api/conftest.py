"""Kinds whose attempts end as a test needs it, and a short way to submit them."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import BaseModel

from tasks import Context, Fail, Park

Submit = Callable[..., dict[str, Any]]


class Params(BaseModel, extra="forbid"):
    """One value that is required, and one whose default is not the app's business."""

    day: date
    colour: str = "green"


def succeed(params: Params, context: Context) -> dict[str, Any]:
    return {"colour": params.colour}


def fail(params: Params, context: Context) -> None:
    raise Fail("no_such_day", "that day never was", {"day": str(params.day)})


def crash(params: Params, context: Context) -> None:
    raise RuntimeError("a secret detail")


def park(params: Params, context: Context) -> None:
    raise Park("unclear", "nobody knows")


@pytest.fixture
def kinds(declare: Callable[..., None]) -> None:
    """`test.succeed`, `test.fail`, `test.crash`, `test.park` and `test.pay`."""
    declare("test.succeed", succeed, Params)
    declare("test.fail", fail, Params)
    declare("test.crash", crash, Params, max_attempts=2)
    declare("test.park", park, Params)
    declare("test.pay", succeed, Params, queue="payments", chunk=False, idempotency_required=True)


@pytest.fixture
def submit(client: FlaskClient, kinds: None) -> Submit:
    """Submit a job that is accepted; returns its resource."""

    def post(kind: str = "test.succeed", **fields: Any) -> dict[str, Any]:
        response = client.post("/v1/jobs", json={"kind": kind, "params": {"day": "2026-01-31"}, **fields})
        assert response.status_code == 202, response.text
        return response.get_json()

    return post
