"""One kind, one file, one test, one section of the documents: whoever knows one of the names finds the others."""

import re

import pytest

from tasks import Handler
from tasks.discovery import handlers
from tests.support.compose import ROOT
from tests.support.source import modules

NO_KINDS = {"__init__", "backoff", "card_guard", "discovery", "files"}
"""The modules of `tasks` that serve kinds and are none."""

OURS: dict[str, Handler] = {
    kind: handler for kind, handler in sorted(handlers().items()) if handler.perform.__module__.startswith("tasks.")
}


def documented() -> dict[str, str]:
    """The sections of docs/kinds.md whose heading is a kind, with their text."""
    parts = re.split(
        r"^##+ `?([a-z_]+\.[a-z_]+)`?[^\n]*\n", (ROOT / "docs" / "kinds.md").read_text(), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("kind", OURS)
def test_a_kind_is_a_file_and_a_test_of_its_name(kind: str) -> None:
    name = kind.replace(".", "_")
    assert OURS[kind].perform.__module__ == f"tasks.{name}"
    assert (ROOT / "tests" / "tasks" / f"test_{name}.py").exists()


def test_a_file_in_tasks_is_a_kind() -> None:
    names = {path.removeprefix("tasks/").removesuffix(".py") for path in modules("tasks")}
    assert {name for name in names if "/" not in name} - NO_KINDS == {kind.replace(".", "_") for kind in OURS}


def test_the_documents_have_a_section_for_every_kind_and_for_no_other() -> None:
    assert documented().keys() == OURS.keys()


@pytest.mark.parametrize("kind", OURS)
def test_a_kinds_section_names_every_param(kind: str) -> None:
    section = documented().get(kind, "")
    assert [name for name in OURS[kind].params.model_fields if f"`{name}`" not in section] == []


@pytest.mark.parametrize("kind", OURS)
def test_a_kind_is_described_and_so_are_its_params(kind: str) -> None:
    assert re.search(r"\w+ \w+", OURS[kind].description)
    assert OURS[kind].params.model_json_schema()["additionalProperties"] is False
