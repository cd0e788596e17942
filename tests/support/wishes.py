"""What clients ask for: new jobs of all sorts, as the lifecycle takes them and as its model does."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import strategies as st

from models.lifecycle import NewJob
from tests.support.lifecycle_model import HOUR, ModelJob


@dataclass(frozen=True)
class Wish:
    """What a client asks for, in seconds from now."""

    queue: str
    max_attempts: int
    run_in: int
    expires_in: int | None
    deadline_in: int | None
    unique_key: str | None
    id: UUID = field(default_factory=uuid4)

    def new(self) -> NewJob:
        """As the lifecycle takes it."""
        return NewJob(
            "text.count", {}, self.queue, self.max_attempts, run_at=_moment(self.run_in), id=self.id,
            expires_at=_moment(self.expires_in), deadline_at=_moment(self.deadline_in), unique_key=self.unique_key,
        )  # fmt: skip

    def expected(self, now: int) -> ModelJob:
        """As the model takes it."""
        limits = [None if seconds is None else now + seconds for seconds in (self.expires_in, self.deadline_in)]
        return ModelJob(self.id, self.queue, self.max_attempts, now + self.run_in, *limits, self.unique_key)


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)


WISHES = st.builds(
    Wish,
    queue=st.sampled_from(["default", "default", "data"]),
    max_attempts=st.integers(1, 3),
    run_in=st.sampled_from([0, 0, -HOUR, 2 * HOUR]),
    expires_in=st.sampled_from([None, None, 5 * HOUR]),
    deadline_in=st.sampled_from([None, None, 9 * HOUR]),
    unique_key=st.sampled_from([None, None, "key"]),
)
