"""How much to measure: quick by default, or as much as the published numbers stand on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Sizes of one run."""

    rounds: int = 3
    jobs: int = 40_000
    """No-op jobs per round of ours."""
    plain_jobs: int = 3_000
    """Tasks per round of the peer's, and jobs per round of ours at one per message."""
    seconds: float = 4.0
    """How long each server is loaded per round."""
    waits: int = 150
    """Submits per round whose results are awaited one after the other."""
    history: int = 1_000_000
    """Finished rows."""
    turns: int = 200
    memory_jobs: tuple[int, ...] = (20_000, 50_000, 100_000, 200_000)
    """After how many jobs memory is weighed."""
    memory_single_jobs: tuple[int, ...] = (2_000, 5_000, 10_000, 20_000)
    """The same at one job per message."""
