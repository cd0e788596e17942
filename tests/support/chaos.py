"""A chaos run as its own process: it changes its environment and starts everything itself."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE = 400


def chaos(*options: str) -> tuple[int, str]:
    """Run `python -m tests.chaos`. Returns its exit status and what it said."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr
