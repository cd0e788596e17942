"""`python -m bench [NAME …] [--full]`: run benchmarks side by side with their peers, print tables, keep JSON."""

import argparse
import importlib
import sys

from bench.options import Options
from bench.report import save, show
from bench.servers import started

NAMES = ("throughput", "submit", "latency", "history", "server")


def main() -> int:
    """Run what was named, or everything."""
    names, options = _arguments()
    for name in names:
        with started() as servers:
            comparisons = importlib.import_module(f"bench.{name}").run(servers, options)
        show(name, comparisons)
        print(save(name, comparisons))
    return 0


def _arguments() -> tuple[list[str], Options]:
    quick = Options()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which benchmarks; all when none is named")
    parser.add_argument("--rounds", type=int, default=quick.rounds)
    parser.add_argument("--full", action="store_true", help="10 million rows of history")
    arguments = parser.parse_args()
    history = 10_000_000 if arguments.full else quick.history
    return list(arguments.names) or list(NAMES), Options(rounds=arguments.rounds, history=history)


if __name__ == "__main__":
    sys.exit(main())
