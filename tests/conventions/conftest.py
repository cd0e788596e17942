"""What the conventions are checked against: the project's own files."""

import tomllib
from typing import Any

import pytest

from tests.support.compose import ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def packages(project: dict[str, Any]) -> set[str]:
    """The top-level packages and modules that are installed."""
    tools = project["tool"]["setuptools"]
    patterns = [*tools["packages"]["find"]["include"], *(f"{name}.py" for name in tools["py-modules"])]
    return {pattern.removesuffix("*") for pattern in patterns}
