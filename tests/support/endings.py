"""Every way in which a worker says that an attempt ended, as `workers.attempt.outcome` would."""

from dataclasses import dataclass
from typing import Any

from models.attempt import Outcome
from models.job import State
from models.lifecycle import Claim, Ending


@dataclass(frozen=True)
class Word:
    """What is said of an attempt, whichever it is."""

    outcome: Outcome
    state: State
    delay: int = 0
    spent: bool = True
    presumed: bool = False


FAILED = Word(Outcome.FAILED, State.FAILED)
AGAIN = Word(Outcome.FAILED, State.SCHEDULED, delay=120)
SUCCEEDED = Word(Outcome.SUCCEEDED, State.SUCCEEDED)
RELEASED = Word(Outcome.RELEASED, State.READY, spent=False)
WORDS = (
    SUCCEEDED,
    FAILED,
    Word(Outcome.FAILED, State.FAILED, presumed=True),
    AGAIN,
    Word(Outcome.TIMED_OUT, State.SCHEDULED),
    Word(Outcome.TIMED_OUT, State.FAILED, presumed=True),
    Word(Outcome.CANCELLED, State.CANCELLED),
    Word(Outcome.CANCELLED, State.CANCELLED, presumed=True),
    Word(Outcome.PARKED, State.PARKED),
    Word(Outcome.SNOOZED, State.SCHEDULED, delay=600, spent=False),
    RELEASED,
)


def ending(claim: Claim, word: Word) -> Ending:
    """The ending of that attempt; its last one is not tried again."""
    if word.spent and word.state is State.SCHEDULED and claim.attempt >= claim.max_attempts:
        word = FAILED
    result: dict[str, Any] | None = {"by": str(claim.token)} if word.outcome is Outcome.SUCCEEDED else None
    error = {"code": word.outcome.value} if word.outcome is Outcome.FAILED else None
    return Ending(
        claim.id, claim.token, word.outcome, word.state, result, error, delay=word.delay, spent=word.spent,
        presumed=word.presumed,
    )  # fmt: skip
