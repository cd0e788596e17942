"""`python -m embedded up` runs everything until Ctrl-C; `… demo` shows real jobs finishing."""

import argparse
import os
import signal
import sys
from pathlib import Path

from embedded import CannotRun
from embedded.demo import demo
from embedded.environment import for_people
from embedded.home import ROOT, Home
from embedded.installation import Installation
from embedded.ports import PortTaken

INTERRUPTED = 130
VALID_PORTS = range(1, 65_536)


def main() -> int:
    """Do what the command line says; 0, or 1 with the reason."""
    arguments = _arguments()
    home = Home(arguments.home.resolve())
    # However this process is told to stop, it stops what it started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        arguments.run(home, _port())
    except PortTaken as reason:
        return _refuse(f"{reason} MAINSTAY_PORT names the API's port; without it every port is a free one.")
    except CannotRun as reason:
        return _refuse(str(reason))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _up(home: Home, port: int | None) -> None:
    with Installation(home, port, _say) as installation:
        _say(for_people(home.published()))
        _say(f"Everything is ready. `. {home.env_file}` gives a shell the addresses and keys; Ctrl-C stops.")
        try:
            installation.watch()
        except KeyboardInterrupt:
            _say("Stopping; Ctrl-C again kills.")
    _say("Everything is stopped.")


def _demo(home: Home, port: int | None) -> None:
    demo(home, port, _say)


def _say(line: str) -> None:
    print(line, flush=True)


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


def _port() -> int | None:
    """The port that MAINSTAY_PORT asks for."""
    asked = os.environ.get("MAINSTAY_PORT")
    if not asked:
        return None
    if not asked.isdecimal() or int(asked) not in VALID_PORTS:
        raise CannotRun(f"MAINSTAY_PORT is {asked!r}: it must be a port from 1 to {VALID_PORTS[-1]}.")
    return int(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded", description="All of Mainstay on one machine.")
    parser.add_argument("--home", type=Path, default=ROOT / ".mainstay", help="its data, logs and env file")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up", help="run until Ctrl-C").set_defaults(run=_up)
    commands.add_parser("demo", help="show real jobs finishing").set_defaults(run=_demo)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
