"""`.env.example` says all that the environment can say, and says it truly."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic.fields import FieldInfo

from settings import Settings, SettingsError, get_settings
from tests.support.compose import ROOT
from tests.support.source import PRODUCTION, modules

READ_OUTSIDE_SETTINGS = (*PRODUCTION, "embedded", "sandbox", "deploy", "settings.py", "logs.py", "celeryconfig.py")
OTHERS_NAMES = {"STRIPE_LOG"}
"""Variables of libraries, which we only hold in check."""


class Entry(NamedTuple):
    sentence: str
    value: str


def variable(name: str, field: FieldInfo) -> str:
    return field.validation_alias if isinstance(field.validation_alias, str) else f"MAINSTAY_{name.upper()}"


def read_example() -> dict[str, Entry]:
    blocks = re.split(r"\n\s*\n", (ROOT / ".env.example").read_text())
    entries = {}
    for lines in (block.strip().splitlines() for block in blocks):
        found = re.fullmatch(r"#([A-Z_]+)=(.*)", lines[-1])
        if found:
            entries[found[1]] = Entry(" ".join(line.removeprefix("# ") for line in lines[:-1]), found[2])
    return entries


EXAMPLE = read_example()
FIELDS = {variable(name, field): (name, field) for name, field in Settings.model_fields.items()}
REQUIRED = {name for name, (_, field) in FIELDS.items() if field.is_required()}


def read_by_code() -> Iterator[str]:
    """The names that code outside the settings asks the environment for."""
    for tree in modules(*READ_OUTSIDE_SETTINGS).values():
        for node in ast.walk(tree):
            match node:
                case (
                    ast.Call(
                        func=ast.Attribute(value=ast.Attribute(value=ast.Name("os"), attr="environ"), attr="get"),
                        args=[asked, *_],
                    )
                    | ast.Call(func=ast.Attribute(value=ast.Name("os"), attr="getenv"), args=[asked, *_])
                    | ast.Subscript(value=ast.Attribute(value=ast.Name("os"), attr="environ"), slice=asked)
                ):
                    yield ast.literal_eval(asked)


def read_by_compose() -> set[str]:
    return set(re.findall(r"\$\{(\w+):-", (ROOT / "docker-compose.yml").read_text()))


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with nothing but what is required, as the example has it."""
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    for name in REQUIRED:
        monkeypatch.setenv(name, EXAMPLE[name].value)


def test_every_variable_stands_in_the_example_and_nothing_else_does() -> None:
    assert EXAMPLE.keys() == FIELDS.keys() | (set(read_by_code()) - OTHERS_NAMES) | read_by_compose()


@pytest.mark.parametrize("name", EXAMPLE)
def test_every_variable_is_explained_in_a_sentence(name: str) -> None:
    assert re.fullmatch(r"\S.{15,}\S", EXAMPLE[name].sentence)
    assert (name in REQUIRED) == EXAMPLE[name].sentence.startswith("Required. ")


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - REQUIRED))
@pytest.mark.usefixtures("required")
def test_the_example_shows_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field, info = FIELDS[name]
    if info.default is None:
        assert EXAMPLE[name].value == ""
    else:
        monkeypatch.setenv(name, EXAMPLE[name].value)
        assert getattr(Settings(), field) == info.default


def test_compose_falls_back_to_what_the_example_shows() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    shown = {name: EXAMPLE[name].value for name in read_by_compose()}
    assert dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text)) == shown


@pytest.mark.usefixtures("required")
def test_a_variable_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSTAY_KEY_PEPPER")
    monkeypatch.delenv("DATABASE_URL")
    (tmp_path / "mainstay_key_pepper").write_text("a pepper out of a file\n")
    (tmp_path / "database_url").write_text("postgresql+psycopg://file@127.0.0.1/file\n")
    (tmp_path / "redis_url").write_text("redis://from-the-file:6379/0\n")
    monkeypatch.setenv("MAINSTAY_SECRETS_DIR", str(tmp_path))
    settings = get_settings.__wrapped__()
    assert settings.key_pepper.get_secret_value() == "a pepper out of a file"
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://file@127.0.0.1/file"
    assert settings.redis_url.get_secret_value() == EXAMPLE["REDIS_URL"].value


@pytest.mark.usefixtures("required")
def test_every_faulty_variable_is_named_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("MAINSTAY_KEY_PEPPER", "tooshort")
    monkeypatch.setenv("MAINSTAY_LEASE_SECONDS", "soon")
    monkeypatch.setenv("EGRESS_ALLOW_CIDRS", "10.0.0.0/8:99999")
    with pytest.raises(SettingsError) as caught:
        get_settings.__wrapped__()
    message = str(caught.value)
    for name in ("REDIS_URL", "MAINSTAY_KEY_PEPPER", "MAINSTAY_LEASE_SECONDS", "EGRESS_ALLOW_CIDRS"):
        assert f"  {name}: " in message
    assert "tooshort" not in message
