"""How long to wait before the next attempt: exponential, capped, with jitter."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Backoff:
    """A plan of waits: `base * factor ** (attempt - 1)`, at most `cap`, spread by `jitter`.

    `jitter=None` is full jitter: anything between nothing and the planned wait, which keeps jobs that failed together
    from returning together. A number is a share: 0.2 spreads by ±20 %.
    """

    base: timedelta = timedelta(seconds=2)
    factor: float = 2.0
    cap: timedelta = timedelta(hours=1)
    jitter: float | None = None

    def planned(self, attempt: int) -> timedelta:
        """The wait after attempt number `attempt` (1 is the first) before jitter."""
        seconds = self.base.total_seconds()
        for _ in range(attempt - 1):
            seconds *= self.factor
            if seconds >= self.cap.total_seconds():
                return self.cap
        return min(timedelta(seconds=seconds), self.cap)

    def wait(self, attempt: int, *, floor: timedelta = timedelta(0), chance: random.Random | None = None) -> timedelta:
        """The wait after attempt number `attempt`, jittered, and never shorter than `floor` (a `Retry-After`)."""
        draw = (chance or random).random()
        planned = self.planned(attempt)
        spread = planned * draw if self.jitter is None else planned * (1 + self.jitter * (2 * draw - 1))
        return max(spread, floor)


DEFAULT_BACKOFF = Backoff()
