"""Rules that hold for every line of the source, and that a reader would otherwise have to take on trust."""

import ast
import re
from collections.abc import Iterator

from tests.support.source import PRODUCTION, ROOT, calls, modules, strings, texts

SQL_SETS_STATE = re.compile(
    r"UPDATE\s+jobs\s+SET\b(?:(?!\bWHERE\b|\bFROM\b|\bRETURNING\b).)*?\bstate\s*=", re.DOTALL | re.IGNORECASE
)
CELERY_DELAYS = {"eta", "countdown", "autoretry_for", "retry_backoff"}
CELERY_SENDS = {"apply_async", "delay", "send_task"}
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|Not" + r"ImplementedError)\b")
INDEX_OPTIONS = re.compile(r"(?<!emit-)(?:extra-|default-)?index-url|--find-links|--trusted-host|registry=|index_url")
BEGINS = re.compile(r"(?:session|connection|engine\(\))\.begin\(")
ON_AUTOCOMMIT = {f"workers/dispatcher/{name}.py" for name in ("election", "loop", "prune")}
"""They work on the dispatcher's one connection, where `begin` only tells SQLAlchemy where a use of it ends."""
SETTERS = ("Makefile", "Dockerfile", "pyproject.toml", "docker-compose.yml", ".ci/run", ".pre-commit-config.yaml")


def assigns_state(tree: ast.Module) -> bool:
    """Whether anything in the tree gives a job another state, by attribute, by SQL or by SQLAlchemy's words."""
    return (
        any(_is_state(target) for target in _targets(tree))
        or any(SQL_SETS_STATE.search(text) for text in strings(tree))
        or any(
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "values"
            and any(keyword.arg == "state" for keyword in call.keywords)
            for call in calls(tree)
        )
    )


def _targets(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                yield from targets
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                yield target


def _is_state(target: ast.expr) -> bool:
    """An exception may keep the state that it tells of: that is its own, under `self`."""
    match target:
        case ast.Attribute(value=ast.Name("self"), attr="state"):
            return False
        case ast.Attribute(attr="state"):
            return True
    return False


def method_calls(name: str, tree: ast.AST) -> int:
    return sum(isinstance(call.func, ast.Attribute) and call.func.attr == name for call in calls(tree))


def test_only_the_lifecycle_gives_a_job_its_state() -> None:
    assert [path for path, tree in modules(*PRODUCTION).items() if assigns_state(tree)] == ["models/lifecycle.py"]


def test_only_the_unit_of_work_commits() -> None:
    trees = modules(*PRODUCTION)
    assert [path for path, tree in trees.items() if method_calls("commit", tree)] == []
    beginning = {path for path, tree in trees.items() if any(BEGINS.search(ast.unparse(call)) for call in calls(tree))}
    assert beginning == {"models/session.py", *ON_AUTOCOMMIT}
    assert [path for path, tree in trees.items() if "AUTOCOMMIT" in strings(tree)] == ["models/session.py"]
    assert "autocommit().connect() as connection" in ast.unparse(trees["workers/dispatcher/loop.py"])


def test_no_job_is_delayed_retried_or_sent_by_celerys_own_means() -> None:
    used = [
        f"{path}:{call.lineno}"
        for path, tree in modules(*PRODUCTION).items()
        for call in calls(tree)
        if {keyword.arg for keyword in call.keywords} & CELERY_DELAYS
        or (isinstance(call.func, ast.Attribute) and call.func.attr in CELERY_SENDS)
        or ast.unparse(call.func) in {"self.retry", "task.retry", "current_task.retry"}
    ]
    assert used == []


def test_production_knows_neither_the_embedded_servers_nor_the_tests() -> None:
    imported = {
        name
        for tree in modules(*PRODUCTION, "sandbox", "settings.py", "logs.py", "celeryconfig.py").values()
        for node in ast.walk(tree)
        for name in _imported(node)
    }
    assert not {"embedded", "tests", "bench"} & {name.split(".")[0] for name in imported}


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
    return []


def test_nothing_is_left_for_later() -> None:
    assert [path for path, text in texts() if UNFINISHED.search(text)] == []


def test_nothing_says_where_packages_come_from() -> None:
    assert [name for name in SETTERS if INDEX_OPTIONS.search((ROOT / name).read_text())] == []


def test_every_module_says_what_it_is_for() -> None:
    named = [*PRODUCTION, "bench", "embedded", "sandbox", "tests", "settings.py", "logs.py", "celeryconfig.py"]
    silent = [path for path, tree in modules(*named).items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []
