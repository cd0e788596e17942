"""The OpenAPI document: as committed, valid, whole, and kept by a running server."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import assemble, openapi
from api.document import BODIES, HEADERS, document
from api.openapi import COMMITTED
from models.session import transaction
from tests.api.live import serving
from workers import keys

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """The document as this code draws it, read as its readers do."""
    whole: dict[str, Any] = json.loads(json.dumps(document(assemble())))
    return whole


def operations(drawn: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for item in drawn["paths"].values() for operation in item.values()}


def test_the_committed_document_is_the_one_that_is_drawn(drawn: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == drawn, "run `make openapi` and commit docs/openapi.json"


def test_it_is_a_valid_openapi_3_1_document(drawn: dict[str, Any]) -> None:
    assert drawn["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(drawn).iter_errors()) == []


def test_every_reference_leads_somewhere_and_every_component_is_used(drawn: dict[str, Any]) -> None:
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(drawn)))
    assert referred == drawn["components"]["schemas"].keys()
    assert all(re.fullmatch("[A-Z][A-Za-z]+", name) for name in referred)


def test_every_call_of_the_server_is_in_it(drawn: dict[str, Any]) -> None:
    served = {
        (re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule), method.lower())
        for rule in assemble().url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    shown = {(path, method) for path, item in drawn["paths"].items() for method in item}
    pages = {"/v1/openapi.json", "/docs", "/docs/start.js", "/docs/{name}"}
    assert {(path, method) for path, method in served if path not in pages} == shown


def test_every_call_under_v1_names_its_scope_and_its_refusals(drawn: dict[str, Any]) -> None:
    for path, item in drawn["paths"].items():
        for operation in item.values():
            if path.startswith("/v1/"):
                assert operation["security"] == [{"key": []}]
                assert "Scope: `" in operation["description"]
                assert {"400", "401", "403", "422", "429", "503"} <= operation["responses"].keys()
            refusals = [answer for status, answer in operation["responses"].items() if status >= "400"]
            assert all("application/problem+json" in answer["content"] for answer in refusals)


def test_what_is_said_by_hand_is_said_of_calls_that_exist(drawn: dict[str, Any]) -> None:
    assert HEADERS.keys() | BODIES.keys() <= operations(drawn).keys()


def test_every_call_with_a_body_says_which(drawn: dict[str, Any]) -> None:
    with_body = {name for name, operation in operations(drawn).items() if "413" in operation["responses"]}
    assert with_body == {name for name, operation in operations(drawn).items() if operation.get("requestBody")}


def test_the_server_shows_the_document_and_the_page_without_a_key(client: FlaskClient, drawn: dict[str, Any]) -> None:
    del client.environ_base["HTTP_AUTHORIZATION"]
    assert client.get("/v1/openapi.json").json == drawn
    assert client.get("/v1/openapi.json").json == drawn
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with client.get(f"/{name}") as asset:
            assert (asset.status_code, len(asset.data) > 0) == (200, True), name
            assert asset.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert "//" not in page.text.replace("<!doctype html>", "")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def test_the_command_writes_what_is_drawn(
    drawn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openapi, "COMMITTED", tmp_path / "openapi.json")
    openapi.main()
    assert json.loads((tmp_path / "openapi.json").read_text()) == drawn


@pytest.fixture
def operator_key(database: None) -> str:
    with transaction() as session:
        return keys.create(session, "fuzz", "a test's", list(keys.SCOPES)).secret


def test_a_running_server_keeps_to_the_document(operator_key: str, tmp_path: Path) -> None:
    with serving(tmp_path / "log", {"MAINSTAY_LOG_LEVEL": "ERROR"}) as address:
        fuzz = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/v1/openapi.json",
                "--header", f"Authorization: Bearer {operator_key}", "--checks", CHECKS,
                "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1",
                "--workers", "1",  # Two threads at once in `ast` of Python 3.11 may end in a SystemError.
                "--no-shrink", "--suppress-health-check", "all", "--request-timeout", "40", "--request-retries", "2",
                "--exclude-operation-id", "revokeKey",  # It would find the id of its own key, and be locked out.
                "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert fuzz.returncode == 0, fuzz.stdout[-6000:] + fuzz.stderr[-2000:]
    assert (tmp_path / "log").read_text() == ""
