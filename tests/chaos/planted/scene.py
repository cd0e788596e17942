"""The scene: everything that is counted, open to be falsified, and the list of what falsifies it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from tests.chaos.invariants import Count, count
from tests.chaos.journal import Journal
from tests.chaos.story import Story, copied

EPOCH, NOW = datetime(2020, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
NO_MESSAGES = {"default": 0, "payments": 0}


@dataclass
class Scene:
    """One story and one connection; what is done over it is rolled back."""

    story: Story
    connection: Connection
    messages: dict[str, int] = field(default_factory=lambda: dict(NO_MESSAGES))
    quiet: list[tuple[datetime, datetime]] = field(default_factory=lambda: [(EPOCH, EPOCH + timedelta(days=1))])

    def __post_init__(self) -> None:
        self.journal: Journal = copied(self.story.journal)
        self.effects, self.charges = self.story.effects, self.story.charges
        self.session = Session(self.connection)

    def sql(self, statement: str, job: UUID, **values: Any) -> UUID:
        """Change the rows of `job`, and return it."""
        assert self.connection.execute(text(statement), {"job": job, **values}).rowcount > 0
        return job

    def counts(self) -> dict[str, Count]:
        """All counts by name."""
        counts = count(
            self.connection, self.journal, self.effects, self.charges, messages=self.messages, quiet=self.quiet
        )
        return {found.name: found for found in counts}


Plant = Callable[[Scene], object]
PLANTS: dict[str, list[Plant]] = {}
"""By the name of the count."""


def plants(name: str) -> Callable[[Plant], Plant]:
    """Declare how the count of this name can be made to count."""

    def declare(plant: Plant) -> Plant:
        PLANTS.setdefault(name, []).append(plant)
        return plant

    return declare
