"""Every way in which a worker says that an attempt ended, as `workers.attempt.outcome` would."""

from dataclasses import dataclass
from typing import Any

from models.attempt import Outcome
from models.job import State
from models.lifecycle import Claim, Ending
from tests.support.lifecycle_model import HOUR


@dataclass(frozen=True)
class Saying:
    """What is said of an attempt, whichever it is."""

    outcome: Outcome
    state: State
    delay: int = 0
    spent: bool = True
    presumed: bool = False


FAILED = Saying(Outcome.FAILED, State.FAILED)
AGAIN = Saying(Outcome.FAILED, State.SCHEDULED, delay=2 * HOUR)
SUCCEEDED = Saying(Outcome.SUCCEEDED, State.SUCCEEDED)
RELEASED = Saying(Outcome.RELEASED, State.READY, spent=False)
SAYINGS = (
    SUCCEEDED,
    FAILED,
    Saying(Outcome.FAILED, State.FAILED, presumed=True),
    AGAIN,
    Saying(Outcome.TIMED_OUT, State.SCHEDULED),
    Saying(Outcome.TIMED_OUT, State.FAILED, presumed=True),
    Saying(Outcome.CANCELLED, State.CANCELLED),
    Saying(Outcome.CANCELLED, State.CANCELLED, presumed=True),
    Saying(Outcome.PARKED, State.PARKED),
    Saying(Outcome.SNOOZED, State.SCHEDULED, delay=10 * HOUR, spent=False),
    RELEASED,
)


def ending(claim: Claim, saying: Saying) -> Ending:
    """The ending of that attempt; its last one is not tried again."""
    if saying.spent and saying.state is State.SCHEDULED and claim.attempt >= claim.max_attempts:
        saying = FAILED
    result: dict[str, Any] | None = {"by": str(claim.token)} if saying.outcome is Outcome.SUCCEEDED else None
    error = {"code": saying.outcome.value} if saying.outcome is Outcome.FAILED else None
    return Ending(
        claim.id, claim.token, saying.outcome, saying.state, result, error, delay=saying.delay, spent=saying.spent,
        presumed=saying.presumed,
    )  # fmt: skip
