"""Faults: each is a generator that does its harm, yields how many seconds it wants to wait, and undoes it.

It ends in order only if the harm was seen to happen; otherwise it raises `DidNotHappen`. A fault may measure how long
the recovery from it took, with `field.recovery`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tests.chaos.field import Field

Course: TypeAlias = Iterator[float]


class DidNotHappen(Exception):
    """The harm that was planned could not be done, or was not seen."""


@dataclass(frozen=True)
class Fault:
    """One kind of harm. Of those with the same `target` one happens at a time."""

    name: str
    target: str
    course: "Callable[[Field], Course]"
    alone: bool
    """Whether it is also caused while nothing else happens, so that the recovery from it can be measured."""
    needs_disk: bool
    """Whether it needs a small file system of its own under Postgres, which only root can mount."""


MODULES = ("api", "dispatchers", "jobs", "messages", "outside", "postgres", "redis", "workers")
FAULTS: dict[str, Fault] = {}


def fault(
    target: str, *, name: str | None = None, alone: bool = False, needs_disk: bool = False
) -> "Callable[[Callable[[Field], Course]], Callable[[Field], Course]]":
    """Declare a fault under the name of its function."""

    def declare(course: "Callable[[Field], Course]") -> "Callable[[Field], Course]":
        known = name or course.__name__
        FAULTS[known] = Fault(known, target, course, alone, needs_disk)
        return course

    return declare


def load_all() -> None:
    """Import the modules, which declare their faults."""
    for name in MODULES:
        import_module(f"tests.chaos.faults.{name}")
