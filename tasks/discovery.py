"""Find every handler: the modules of this folder, and what installed packages contribute."""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import tasks
from tasks import HANDLERS, Handler

ENTRY_POINTS = "mainstay.tasks"


class UnknownKind(Exception):
    """No handler of this kind is installed."""


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(tasks.__path__):
        importlib.import_module(f"tasks.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


def handlers() -> dict[str, Handler]:
    """All handlers by kind. The first call imports them; a handler that cannot be imported stops the process."""
    _load()
    return HANDLERS


def handler_of(kind: str) -> Handler:
    """The handler of `kind`. Raises `UnknownKind`."""
    try:
        return handlers()[kind]
    except KeyError:
        raise UnknownKind(kind) from None
