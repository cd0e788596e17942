"""Run the sandbox: `python -m sandbox --payments-port 0 --control-port 0 --http-port 0 --data DIR`.

Prints one line of JSON with the real ports when all three servers answer; SIGTERM or SIGINT stops it.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from sandbox.books.bank import Bank
from sandbox.control import Control
from sandbox.echo import Echo
from sandbox.faults.armed import Faults
from sandbox.provider.door import Provider
from sandbox.provider.later import Later
from sandbox.server import Application, Server
from sandbox.timekeeper import Timekeeper
from sandbox.webhooks.postman import Postman


def main() -> None:
    """Serve until a signal says stop."""
    arguments = _arguments()
    arguments.data.mkdir(parents=True, exist_ok=True)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    bank, faults = Bank(arguments.data / "payments.sqlite3"), Faults()
    postman = Postman(bank)
    timekeeper = Timekeeper(bank, Later(bank, faults, postman), postman)
    try:
        servers = {
            "payments_port": _start(Provider(bank, faults, postman), arguments.host, arguments.payments_port),
            "control_port": _start(Control(bank, faults, timekeeper, postman), arguments.host, arguments.control_port),
            "http_port": _start(Echo(), arguments.host, arguments.http_port),
        }
    except OSError as error:
        sys.exit(f"sandbox: {error}")
    timekeeper.start()
    print(json.dumps({name: server.port for name, server in servers.items()}), flush=True)  # noqa: T201  # its answer
    stopping.wait()
    for server in servers.values():
        server.shutdown()
        server.server_close()
    timekeeper.stop()
    bank.close()


def _start(application: Application, host: str, port: int) -> Server:
    server = Server(application, host, port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A pretend outside world.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--payments-port", type=int, default=0, help="the Stripe-compatible provider (0: a free port)")
    parser.add_argument("--control-port", type=int, default=0, help="arms faults, counts calls (0: a free port)")
    parser.add_argument("--http-port", type=int, default=0, help="the faulty HTTP server (0: a free port)")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the provider's books")
    return parser.parse_args()


if __name__ == "__main__":
    main()
