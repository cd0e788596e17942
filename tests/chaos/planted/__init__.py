"""Planted violations: each breaks one promise behind the engine's back and says in whose name it must be counted."""

from tests.chaos.planted import acceptance, attempts, endings, lifecycle, outside  # noqa: F401  # they declare theirs
from tests.chaos.planted.scene import PLANTS, Plant, Scene

__all__ = ["PLANTS", "Plant", "Scene"]
