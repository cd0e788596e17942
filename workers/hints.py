"""The hints in a message, as JSON. They are read with suspicion: whoever reaches Redis may have written them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from models.lifecycle import Hint

EPOCHS = range(1, 2**31)


class Malformed(ValueError):
    """What came in place of hints is something else."""


def dump(hints: Sequence[Hint]) -> list[list[str | int]]:
    """The hints as a message carries them."""
    return [[str(hint.id), hint.epoch] for hint in hints]


def load(value: Any) -> list[Hint]:
    """The hints that a message carries: at least one. Raises `Malformed` for anything that `dump` does not make."""
    try:
        hints = [Hint(UUID(job_id), epoch) for job_id, epoch in value]
    except (ValueError, TypeError, AttributeError):
        raise Malformed("these are no hints") from None
    if not hints or any(type(hint.epoch) is not int or hint.epoch not in EPOCHS for hint in hints):
        raise Malformed("these are no hints")
    return hints


def hints_in(arguments: Any) -> list[Hint]:
    """The hints in the arguments of a message, of which they are the only one. Raises `Malformed`."""
    if not isinstance(arguments, list | tuple) or len(arguments) != 1:
        raise Malformed("these are not the arguments of a message")
    return load(arguments[0])
