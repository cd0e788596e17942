"""The project's own files as text and as syntax trees, for the conventions that hold over all of them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCTION = ("api", "cli", "clients", "models", "tasks", "workers")
NOT_OURS = {"__pycache__", "node_modules", "build", "dist", "htmlcov", "results", "secrets", "vendor"}
NOT_TEXT = {".png", ".ico", ".woff2", ".pem", ".gz", ".parquet", ".pyc", ".json"}
SHOWN_DOTFILES = {".ci", ".dockerignore", ".env.example", ".gitignore", ".pre-commit-config.yaml"}


@cache
def modules(*folders: str) -> dict[str, ast.Module]:
    """The syntax tree of every module in these top-level folders, or of a single module, by its path."""
    paths = [path for name in folders for path in (sorted((ROOT / name).rglob("*.py")) or [ROOT / name])]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def texts() -> Iterator[tuple[str, str]]:
    """Every text file that people write, with its path."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = parts[0].startswith(".") and parts[0] not in SHOWN_DOTFILES
        if path.is_file() and not hidden and not NOT_OURS & set(parts) and path.suffix not in NOT_TEXT:
            yield str(path.relative_to(ROOT)), path.read_text()


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call in the tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))
