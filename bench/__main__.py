"""`python -m bench [NAME …] [--full]`: run benchmarks side by side with their peers, print tables, keep JSON."""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence

from bench.options import Options
from bench.report import save, show
from bench.servers import started

NAMES = ("throughput", "submit", "latency", "history", "memory", "server")


def main() -> int:
    """Run what was named, or everything; 0 if all of it could be measured."""
    arguments = _arguments()
    names = arguments.names or NAMES
    if len(names) > 1:
        return _apart(names, arguments)
    quick = Options()
    history = 10_000_000 if arguments.full else quick.history
    _run(names[0], Options(rounds=arguments.rounds or quick.rounds, history=history))
    return 0


def _run(name: str, options: Options) -> None:
    with started() as servers:
        comparisons = importlib.import_module(f"bench.{name}").run(servers, options)
    show(name, comparisons)
    print(save(name, comparisons))


def _apart(names: Sequence[str], arguments: argparse.Namespace) -> int:
    """Each benchmark has servers of its own, and a process reads once where its servers are."""
    flags = [
        *(["--full"] if arguments.full else []),
        *(["--rounds", str(arguments.rounds)] if arguments.rounds else []),
    ]
    codes = [subprocess.run([sys.executable, "-m", "bench", name, *flags], check=False).returncode for name in names]
    return max(map(abs, codes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all when none is named")
    parser.add_argument("--rounds", type=int, help="how often each side is measured")
    parser.add_argument("--full", action="store_true", help="10 million rows of history instead of 1 million")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
